#!/bin/sh
# Install the Debian packages that the project needs to build and run, printing each.
#
#   deploy/setup.sh [--check]      --check only prints missing packages; exit status 1 if any
#
# Installing needs root or sudo; without them it prints the exact command and exits.
set -eu

missing=""

# need PACKAGE COMMAND...: PACKAGE is missing if the command fails.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

includes() { echo "#include <$1>" | ${CC:-cc} -E -x c - ; }

python_is_new() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

if ! command -v apt-get >/dev/null 2>&1; then
    # Not Debian: package names differ, so only print the missing tools.
    for tool in python3 gcc make guile; do
        command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
    done
    [ -z "$missing" ] && exit 0
    echo "  missing:$missing (and the headers of OpenSSL 3). Install them with the package manager of this system." >&2
    exit 1
fi

need python3 python_is_new
need python3-venv python3 -c 'import ensurepip, venv'
# detools is distributed as source with C and C++ modules.
need g++ c++ --version
need python3-dev python3 -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
need gcc cc --version
need libc6-dev includes stdio.h
need make make --version
need libssl-dev includes openssl/ssl.h
need guile-3.0 sh -c 'guile --version || guile-3.0 --version'
need libseccomp2 sh -c 'ldconfig -p | grep -q libseccomp.so.2'
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt

[ -z "$missing" ] && exit 0

if [ "${1:-}" = --check ]; then
    echo "  missing:$missing" >&2
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=sudo
else
    echo "  missing:$missing. Run as root, then try again:" >&2
    echo "      apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
quietly apt-get update
for package in $missing; do
    echo "  installing $package"
    quietly apt-get install -y --no-install-recommends "$package"
done

if ! python_is_new; then
    echo "  found $(python3 --version), but Python 3.11 or later is required (Debian 12 and later have it)." >&2
    exit 1
fi
