#!/usr/bin/env bash
# Writes deploy/locks: every Python package that is installed, with its version and the SHA-256 of its archives, for
# every platform and for Python 3.11 and later. What `make lock` runs; needs the network and nothing installed.
#
#   deploy/lock.sh [--upgrade]     versions stay as they are locked, unless pyproject.toml or --upgrade wants others
#
# dev.txt has everything but benchmarks' packages; the others have parts of it in the same versions, for images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly LOCKS=deploy/locks UV=0.13.9
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

main() {
    mkdir -p "$LOCKS"
    python3 -m venv "$tools/uv"
    "$tools/uv/bin/pip" install -q --disable-pip-version-check "uv==$UV"
    # Beside dev.txt, so that what bench adds meets the same versions.
    lock bench build runtime servers dev docs bench -- "$@"
    sed -E -n 's/^([A-Za-z0-9._-]+==[^\\]+).*/\1/p' "$LOCKS/bench.txt" >"$tools/constraints.txt"
    lock dev build runtime servers dev docs -- --constraint "$tools/constraints.txt"
    lock runtime runtime -- --constraint "$tools/constraints.txt"
    lock build build -- --constraint "$tools/constraints.txt"
    lock servers servers -- --constraint "$tools/constraints.txt"
    lock firmware firmware -- --constraint "$tools/constraints.txt"
    # What installs the others, and builds those that come as source.
    printf 'pip>=26\nsetuptools\n' >"$tools/tools.in"
    compile tools "$tools/tools.in" --constraint "$tools/constraints.txt"
}

# lock NAME GROUP... -- OPTION...: NAME.txt from groups of pyproject.toml.
lock() {
    local name=$1 groups=()
    shift
    while [ "$1" != -- ]; do groups+=("$1") && shift; done
    shift
    python3 deploy/requirements.py pyproject.toml "${groups[@]}" >"$tools/$name.in"
    compile "$name" "$tools/$name.in" "$@"
}

compile() {
    local name=$1 input=$2
    shift 2
    "$tools/uv/bin/uv" pip compile --quiet "$input" --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --output-file "$LOCKS/$name.txt" "$@"
    echo "  $LOCKS/$name.txt: $(grep -c == "$LOCKS/$name.txt") packages"
}

main "$@"
