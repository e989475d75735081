#!/bin/sh
# The second command of the README: installs what the tests need and runs all of them. Says how long each step took.
#
# After the tests proper the real daemon under load is killed, loses power, meets a bad disk, is stopped, reloaded, surrounded by bad outputs and
# stuck sockets, and buried under a backlog; long runs are `cargo xtask torture --help`.
# All of it uses the dev profile, so that dependencies are built once.
set -eu
cd "$(dirname "$0")/.."

begin=$(date +%s)
times=''

step() {
    name=$1
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    from=$(date +%s)
    if ! "$@"; then
        printf '\n%s\nFAILED: %s (%s)\n' "$times" "$name" "$*" >&2
        exit 1
    fi
    times="$times$(printf '%6d s  %s' $(($(date +%s) - from)) "$name")
"
}

step 'what the tests need' scripts/install.sh test
step 'format' cargo fmt --all --check
step 'lints' cargo clippy --locked --workspace --all-targets -- -D warnings
step 'lints of the kill points' cargo clippy --locked --features torture -- -D warnings
step 'the servers that tests speak to' cargo xtask services install
step 'tests' cargo test --locked --workspace
step 'the time of comparisons' cargo xtask timing --samples 100000
step 'simulation' cargo xtask sim --seeds 20000
step 'a crash at every call' cargo xtask sim --crash-everywhere --scenarios 6
step 'kill' cargo xtask torture kill --cycles 60
step 'the shim itself' cargo xtask torture power --self-check --cycles 60
step 'power' cargo xtask torture power --cycles 40
step 'power, control' cargo xtask torture power --cycles 20 --synchronous normal
step 'a failing and a full disk' cargo xtask torture io --cycles 20
step 'stop' cargo xtask torture stop --cycles 10
step 'reload' cargo xtask torture reload --cycles 20
step 'a clock that somebody sets' cargo xtask torture clock --jumps 40
step 'bad outputs' cargo xtask torture outputs --seconds 6
step 'bad outputs, control' cargo xtask torture outputs --seconds 4 --slow
step 'hostile networks' cargo xtask torture network --seconds 5
step 'hostile networks, control' cargo xtask torture network --seconds 3 --unbounded
step 'bombs' cargo xtask torture bombs --seconds 4
step 'a backlog' cargo xtask torture backlog --profile dev --waiting 100000
step 'a backlog, control' cargo xtask torture backlog --profile dev --waiting 4000 --forget

printf '\n%s%6d s  in all\nAll is well.\n' "$times" $(($(date +%s) - begin))
