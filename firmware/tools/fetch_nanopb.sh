#!/bin/sh
# Fetches nanopb's C runtime: Debian's source tarball, pinned by version and SHA-256, unpacked under DIR.
#
#   fetch_nanopb.sh DIR
#
# Works as any user and does not change the system: apt uses its own lists and caches under DIR. The archive is that of
# the machine's apt sources. NANOPB_TARBALL=FILE uses an existing file.
set -eu

VERSION=0.4.9.1
SHA256=4575944a468718ef25f05eb01d994364650b581563089a9841986bb1e460eac3
SUITE=trixie
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "fetch_nanopb: $1" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: fetch_nanopb.sh DIR"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
tarball=$dir/nanopb_$VERSION.orig.tar.gz
unpacked=$dir/nanopb-$VERSION

checked() {
    [ -f "$1" ] && echo "$SHA256  $1" | sha256sum --check --status
}

# Prints the machine's archive of Debian's main component, except security updates.
archive_uri() {
    apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "main" && $1 !~ /security/ { print $1; exit }'
}

download() {
    uri=$(archive_uri)
    [ -n "$uri" ] || fail "no apt source with component main; add one, or set NANOPB_TARBALL"
    mkdir -p "$dir/apt/parts" "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
    printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$uri" "$SUITE" "$KEYRING" >"$dir/apt/parts/source.sources"
    set -- -q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$dir/apt/parts" \
        -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt/cache" -o APT::Sandbox::User=
    apt-get "$@" update >"$dir/apt/log" 2>&1 &&
        (cd "$dir" && apt-get "$@" source --download-only --tar-only nanopb) >>"$dir/apt/log" 2>&1 || {
        cat "$dir/apt/log" >&2
        fail "download failed; without a network: NANOPB_TARBALL=nanopb_$VERSION.orig.tar.gz"
    }
    rm -rf "$dir/apt"
}

if [ -n "${NANOPB_TARBALL:-}" ]; then
    [ "$NANOPB_TARBALL" -ef "$tarball" ] || cp "$NANOPB_TARBALL" "$tarball"
elif ! checked "$tarball"; then
    download
fi
checked "$tarball" || fail "$tarball is not nanopb $VERSION: its SHA-256 is not $SHA256"
rm -rf "$unpacked"
tar -xzf "$tarball" -C "$dir" "nanopb-$VERSION/pb.h" "nanopb-$VERSION/pb_common.h" "nanopb-$VERSION/pb_common.c" \
    "nanopb-$VERSION/pb_encode.h" "nanopb-$VERSION/pb_encode.c" "nanopb-$VERSION/pb_decode.h" \
    "nanopb-$VERSION/pb_decode.c" "nanopb-$VERSION/LICENSE.txt"
