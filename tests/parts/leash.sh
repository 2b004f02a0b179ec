#!/bin/sh
# Runs a program for as long as whoever started this keeps its standard input open, then stops it and removes its
# folder. So a part never outlives the test that started it, even if that test is killed.
#
# usage: leash.sh FOLDER PIDFILE SIGNAL COMMAND [ARGUMENT…]      (FOLDER `-` removes nothing)
set -u
folder=$1 pidfile=$2 signal=$3
shift 3
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
echo "$child" >"$pidfile"
# Traps keep the leash alive through Ctrl-C, which reaches the child as well.
trap : INT TERM HUP
(
    cat <&3 >/dev/null
    kill -s "$signal" "$child" 2>/dev/null
    # One that was stopped in its tracks hears nothing before it goes on.
    kill -s CONT "$child" 2>/dev/null
) &
watcher=$!
exec 3<&-
code=
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
[ -n "$code" ] || { wait "$child"; code=$?; }
kill "$watcher" 2>/dev/null
[ "$folder" = - ] || rm -rf -- "$folder"
exit "$code"
