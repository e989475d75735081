#!/bin/sh
# The first command of the README: installs what the build needs, builds, and starts the daemon with the shipped routes.yaml.
#
# Built with the profile `fast`: optimised, but linked in seconds; a few percent slower than `cargo build --release`.
# Arguments go to `switchyard run` in place of routes.yaml.
set -eu
cd "$(dirname "$0")/.."

scripts/install.sh
echo 'Building Switchyard. The first time this takes some minutes.' >&2
cargo build --locked --profile fast --bin switchyard
switchyard="${CARGO_TARGET_DIR:-target}/fast/switchyard"
if [ $# != 0 ]; then
    exec "$switchyard" run "$@"
fi
# The far side of the shipped file's output `partner`; ends with the daemon.
"$switchyard" echo &
echo=$!
"$switchyard" run routes.yaml &
daemon=$!
# An interrupt from the keyboard reaches the daemon by itself; a second signal would end it at once.
trap : INT
trap 'kill "$daemon"' TERM
trap 'kill "$echo" 2>/dev/null' EXIT
while kill -0 "$daemon" 2>/dev/null; do
    wait "$daemon" && status=0 || status=$?
done
exit "$status"
