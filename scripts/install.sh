#!/bin/sh
# Installs what the build needs, and with the word `test` what the tests need too. Changes nothing that is there already.
#
# The build needs Rust and a C compiler: SQLite and the TLS library are built from source, neither needs cmake or pkg-config.
# The tests need rustfmt and clippy besides. Packages come from apt-get; elsewhere this says what to install.
set -eu

say() { printf '%s\n' "$*" >&2; }

# Whether the C compiler is there and finds the C library.
compiles_c() {
    command -v cc >/dev/null 2>&1 && printf '#include <stdio.h>\nint main(void) { return 0; }\n' | cc -x c - -o /dev/null 2>/dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        say "install.sh: needs root to run: $*"
        return 1
    fi
}

if ! command -v cargo >/dev/null 2>&1; then
    say 'install.sh: no cargo here. Install Rust 1.95 or newer by rustup, open a new shell and run this again.'
    exit 1
fi

if ! compiles_c; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say 'install.sh: no C compiler here. Install one (gcc or clang, with the C library headers) as `cc` and run this again.'
        exit 1
    fi
    say 'install.sh: installing a C compiler (gcc, libc6-dev)'
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev >&2
    if ! compiles_c; then
        say 'install.sh: the C compiler still does not work'
        exit 1
    fi
fi

if [ "${1:-}" = test ]; then
    for component in rustfmt clippy; do
        case $component in
            rustfmt) tool=fmt ;;
            *) tool=$component ;;
        esac
        if ! cargo "$tool" --version >/dev/null 2>&1; then
            if ! command -v rustup >/dev/null 2>&1; then
                say "install.sh: cargo $tool is missing and there is no rustup to add it. Install $component and run this again."
                exit 1
            fi
            say "install.sh: adding $component"
            rustup component add "$component" >&2
        fi
    done
fi
