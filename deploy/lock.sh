#!/usr/bin/env bash
# Write deploy/locks: every installed Python package with its version and the SHA-256 of its archives, for every
# platform and Python 3.11 or later. Run by `make lock`; needs the network, but no installed package.
#
#   deploy/lock.sh [--upgrade]     locked versions are kept unless pyproject.toml or --upgrade requires others
#
# dev.txt has everything except the packages of benchmarks; the others are subsets with the same versions, for images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly LOCKS=deploy/locks UV=0.13.9
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

main() {
    mkdir -p "$LOCKS"
    python3 -m venv "$tools/uv"
    "$tools/uv/bin/pip" install -q --disable-pip-version-check "uv==$UV"
    # Together with dev, so that the packages of bench resolve to the same versions.
    lock bench build runtime servers dev docs bench -- "$@"
    sed -E -n 's/^([A-Za-z0-9._-]+==[^\\]+).*/\1/p' "$LOCKS/bench.txt" >"$tools/constraints.txt"
    lock dev build runtime servers dev docs -- --constraint "$tools/constraints.txt"
    lock runtime runtime -- --constraint "$tools/constraints.txt"
    lock build build -- --constraint "$tools/constraints.txt"
    lock servers servers -- --constraint "$tools/constraints.txt"
    lock firmware firmware -- --constraint "$tools/constraints.txt"
    # Installs the others, and builds those that are distributed as source.
    printf 'pip>=26\nsetuptools\n' >"$tools/tools.in"
    compile tools "$tools/tools.in" --constraint "$tools/constraints.txt"
}

# lock NAME GROUP... -- OPTION...: write NAME.txt from groups of pyproject.toml.
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
