#!/bin/sh
# Installs what the build needs, and with the word `test` what the tests need too. Changes nothing that is there already.
#
# The build needs Rust, a C and a C++ compiler, make, pkg-config and the headers of OpenSSL: SQLite, the TLS library, Kafka's client and
# what it compresses with are built from source, without cmake. Kafka's client takes the machine's OpenSSL; nothing else here does.
# The tests need rustfmt and clippy besides, and the senders' own libraries, which sign what tests/sdks posts: from npm and pip, as pinned there. Packages come from apt-get; elsewhere this says what to install.
set -eu

say() { printf '%s\n' "$*" >&2; }

# Whether the C compiler is there and finds the C library.
compiles_c() {
    command -v cc >/dev/null 2>&1 && printf '#include <stdio.h>\nint main(void) { return 0; }\n' | cc -x c - -o /dev/null 2>/dev/null
}

# Whether all that Kafka's client is built with is there.
builds_kafka() {
    for tool in c++ make pkg-config; do
        command -v "$tool" >/dev/null 2>&1 || return 1
    done
    pkg-config --exists openssl && printf 'int main() { return 0; }\n' | c++ -x c++ - -o /dev/null 2>/dev/null
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

if ! compiles_c || ! builds_kafka; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say 'install.sh: a C and a C++ compiler (`cc`, `c++`), make, pkg-config or the headers of OpenSSL are missing. Install them and run this again.'
        exit 1
    fi
    say 'install.sh: installing compilers and the headers of OpenSSL (gcc, g++, make, pkg-config, libc6-dev, libssl-dev)'
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        gcc g++ make pkg-config libc6-dev libssl-dev >&2
    if ! compiles_c || ! builds_kafka; then
        say 'install.sh: the compilers or the headers of OpenSSL still do not work'
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

    # The libraries are fetched whole or not at all; the pins beside them say which they are.
    sdks=target/sdks
    cd "$(dirname "$0")/.."
    if ! cmp -s tests/sdks/package-lock.json $sdks/package-lock.json || ! cmp -s tests/sdks/requirements.txt $sdks/requirements.txt; then
        if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1 || ! python3 -m pip --version >/dev/null 2>&1; then
            if ! command -v apt-get >/dev/null 2>&1; then
                say 'install.sh: Node (20 or newer), npm, or Python with pip is missing. Install them and run this again.'
                exit 1
            fi
            say "install.sh: installing what fetches the senders' libraries (nodejs, npm, python3-pip)"
            as_root apt-get update -q >&2
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nodejs npm python3-pip >&2
        fi
        say "install.sh: fetching the senders' own libraries into $sdks"
        rm -rf "$sdks.part" "$sdks"
        mkdir -p "$sdks.part"
        cp tests/sdks/package.json tests/sdks/package-lock.json "$sdks.part"
        npm ci --prefix "$sdks.part" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --disable-pip-version-check \
            --target "$sdks.part/python" -r tests/sdks/requirements.txt >&2
        cp tests/sdks/requirements.txt "$sdks.part"
        mv "$sdks.part" "$sdks"
    fi
fi
