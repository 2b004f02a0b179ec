#!/usr/bin/env bash
# Runs the fuzz targets, each for a while, and keeps what they find.
#
# usage: fuzz.sh run [TARGET…]   runs them for FUZZ_SECONDS each, from fixtures/fuzz and what earlier runs found here
#        fuzz.sh keep [TARGET…]  puts the smallest set of inputs that reaches as much into fixtures/fuzz
#        fuzz.sh lock            takes the versions of the package's Cargo.lock over
set -euo pipefail
cd "$(dirname "$0")/../.."

# Pinned: what runs here as a tool is chosen, not found.
CARGO_FUZZ=0.13.2
TOOLS=$PWD/.cache/fuzz-tools
# What runs find grows here; only `keep` touches the fixtures.
GROWN=$PWD/target/fuzz-corpus
CRASHES=$PWD/target/fuzz-crashes
SECONDS_EACH=${FUZZ_SECONDS:-60}
# Longer inputs find what shorter ones do, later. A reader of a 4 KiB text is done in a millisecond; ten seconds is a hang.
# The stacks of the SQL readers are large and hardly touched, so the limit is of memory that is really used.
LIMITS=(-max_len=4096 -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512)
# What fixtures may hold of each target; `tests/hostile_bytes.rs` checks it.
KEPT_FILES=100
KEPT_BYTES=2048

say() { printf 'fuzz: %s\n' "$*"; }

setup() {
    export PATH=$TOOLS/bin:$PATH
    [ "$(cargo-fuzz --version 2>/dev/null)" = "cargo-fuzz $CARGO_FUZZ" ] || {
        say "installing cargo-fuzz $CARGO_FUZZ into .cache/fuzz-tools"
        cargo install cargo-fuzz --version "=$CARGO_FUZZ" --locked --quiet --root "$TOOLS"
    }
}

# No sanitizer, so the toolchain that builds the product builds this too; see README.md.
fuzz() {
    local command=$1
    shift
    cargo fuzz "$command" --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none --codegen-units 16 \
        --no-cfg-fuzzing "$@"
}

all_targets() { sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"/\1/p' tests/fuzz/Cargo.toml; }

dictionary() { case $1 in guard) echo -dict=tests/fuzz/sql.dict ;; policy) echo -dict=tests/fuzz/cedar.dict ;; esac; }

run() {
    local target log failed=0 before after
    for target in "$@"; do
        mkdir -p "$GROWN/$target" "$CRASHES/$target" "fixtures/fuzz/$target" target/fuzz-logs
        log=target/fuzz-logs/$target.log
        before=$(find "$GROWN/$target" -type f | wc -l)
        # shellcheck disable=SC2046
        if fuzz run "$target" "$GROWN/$target" "fixtures/fuzz/$target" -- "${LIMITS[@]}" $(dictionary "$target") \
            -max_total_time="$SECONDS_EACH" -print_final_stats=1 -artifact_prefix="$CRASHES/$target/" >"$log" 2>&1; then
            after=$(find "$GROWN/$target" -type f | wc -l)
            printf 'fuzz: %-9s %10s executions, %5s new inputs, coverage %s\n' "$target" \
                "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$((after - before))" \
                "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)"
        else
            failed=1
            say "$target FAILED; the end of $log:"
            grep -aE 'panicked|assertion|left:|right:|ERROR|Test unit written|SUMMARY' "$log" | tail -n 12 >&2 || tail -n 12 "$log" >&2
        fi
    done
    [ "$failed" = 0 ] || { say "inputs that fail stand in target/fuzz-crashes; put one that is fixed into fixtures/fuzz" >&2; exit 1; }
}

# libFuzzer's set cover takes as few inputs as reach every edge, the small ones first. An input that was put there by hand
# because it once failed reaches nothing more and stays all the same: its name begins with `fixed-`.
keep() {
    local target work folder room most
    for target in "$@"; do
        work=$(mktemp -d)
        mkdir -p "$GROWN/$target" "$work/all" "$work/kept" "fixtures/fuzz/$target"
        for folder in "$GROWN/$target" "fixtures/fuzz/$target"; do
            find "$folder" -type f -size -"$((KEPT_BYTES + 1))"c -exec cp -t "$work/all" {} +
        done
        fuzz run "$target" "$work/kept" "$work/all" -- -set_cover_merge=1 -use_counters=0 -max_len="$KEPT_BYTES" \
            -rss_limit_mb=2048 -timeout=10 >"target/fuzz-logs/$target.keep.log" 2>&1
        find "fixtures/fuzz/$target" -type f ! -name 'fixed-*' -delete
        # Rules take a tenth of a second to load in a build for tests.
        [ "$target" = policy ] && most=40 || most=$KEPT_FILES
        room=$((most - $(find "fixtures/fuzz/$target" -type f | wc -l)))
        # Where there are too many, some of every size: the shortest reach least.
        find "$work/kept" -type f -printf '%s %p\n' | sort -n | cut -d ' ' -f 2 >"$work/list"
        awk -v room="$room" -v all="$(wc -l <"$work/list")" \
            'all <= room || int(NR * room / all) > int((NR - 1) * room / all)' "$work/list" |
            xargs -r cp -t "fixtures/fuzz/$target"
        say "$target: $(find "fixtures/fuzz/$target" -type f | wc -l) inputs, $(du -sb "fixtures/fuzz/$target" | cut -f 1) bytes"
        rm -rf "$work"
    done
}

# The package's lock file without the package; cargo then takes out what the parts do not need.
lock() {
    awk 'BEGIN { RS = ""; ORS = "\n\n" } !/\nname = "hansard"\n/' Cargo.lock >tests/fuzz/Cargo.lock
    cargo update --manifest-path tests/fuzz/Cargo.toml --workspace --quiet
}

command=${1:-run}
shift || true
[ $# -gt 0 ] || mapfile -t targets < <(all_targets)
[ $# -eq 0 ] || targets=("$@")
for target in "${targets[@]}"; do
    [ -e "tests/fuzz/fuzz_targets/$target.rs" ] || { say "there is no target '$target'; these are: $(all_targets | xargs)" >&2; exit 2; }
done
case $command in
    run | keep)
        setup
        say "building; the first time takes a quarter of an hour"
        fuzz build
        mkdir -p target/fuzz-logs
        "$command" "${targets[@]}"
        ;;
    lock) lock ;;
    *)
        sed -n '4,6s/^# //p' "$0" >&2
        exit 2
        ;;
esac
