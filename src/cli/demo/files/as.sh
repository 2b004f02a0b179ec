#!/bin/sh
# psql as {name} ({role}) through Hansard, written by `hansard demo`. Arguments go on to psql.
# The password is a token of 15 minutes, fetched anew from the demo's issuer, which gives one to whoever asks.
set -eu
issuer={issuer}
form='grant_type=client_credentials&client_id={id}'
if command -v curl >/dev/null; then
    answer=$(curl -fsS --noproxy '*' -d "$form" "$issuer/token") || answer=
elif command -v wget >/dev/null; then
    answer=$(wget -q --no-proxy -O - --post-data "$form" "$issuer/token") || answer=
else
    echo "neither curl nor wget is here to fetch a token with; install one of them" >&2
    exit 1
fi
PGPASSWORD=$(printf '%s' "$answer" | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')
if [ -z "$PGPASSWORD" ]; then
    echo "the demo's issuer gave no token; is the demo still running?" >&2
    exit 1
fi
export PGPASSWORD
exec {psql} "host=localhost hostaddr={host} port={port} dbname=demo user={id} sslmode=require" "$@"
