#!/usr/bin/env bash
# Provide the only external image: YGG_BASE, such as debian:trixie-slim@sha256:…, by default debian:trixie-slim.
#
# Uses the local image, else the image registry, else builds an image of the same
# name from the package archives in this machine's apt sources. All are equivalent
# for the Dockerfile. A local build includes the machine's certificate
# authorities, apt options and pip configuration, since a machine without an image
# registry often has a mirror.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

readonly MADE=debian:trixie-slim # name of a locally built image
readonly IMAGE=${YGG_BASE:-$MADE}
readonly SUITE=trixie
readonly PULL_TIMEOUT_S=120
readonly CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt

main() {
    docker image inspect "$IMAGE" >/dev/null 2>&1 && return
    if timeout "$PULL_TIMEOUT_S" docker pull --quiet "$IMAGE" >/dev/null 2>&1; then
        say "pulled $(docker image inspect --format '{{or (index .RepoDigests 0) .Id}}' "$IMAGE")"
        return
    fi
    [ "$IMAGE" = "$MADE" ] || die "cannot pull $IMAGE; unset YGG_BASE to use a locally built image"
    say "image registry unreachable; building $IMAGE from the Debian archive (about a minute)"
    make_image
}

make_image() {
    local mirror security
    apt_install mmdebstrap
    mirror=$(archive_for main)
    security=$(archive_for security)
    [ -n "$mirror" ] || die "no Debian archive in the apt sources of this machine; run: docker pull $IMAGE"

    work=$(mktemp -d)
    # Owned by root, possibly including mktemp's directory.
    trap 'as_root rm -rf "$work"' EXIT
    write_sources "$mirror" "$security" >"$work/debian.sources"
    host_apt_options >"$work/apt.conf"
    write_pip_conf >"$work/pip.conf"
    bootstrap
    docker import --change 'CMD ["bash"]' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        "$work/base.tar" "$IMAGE" >/dev/null
    say "built $IMAGE"
}

bootstrap() {
    # shellcheck disable=SC2016  # $1 is set by mmdebstrap: the new root
    as_root mmdebstrap --quiet --variant=minbase --format=tar \
        --include=ca-certificates \
        --aptopt="$work/apt.conf" \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook='mkdir -p "$1/usr/local/share/ca-certificates"' \
        --essential-hook='cp -r /usr/local/share/ca-certificates/. "$1/usr/local/share/ca-certificates/"' \
        --customize-hook="copy-in $work/pip.conf /etc" \
        --customize-hook="copy-in $here/docker-clean /etc/apt/apt.conf.d" \
        --customize-hook='rm -f "$1/var/cache/apt/pkgcache.bin" "$1/var/cache/apt/srcpkgcache.bin"' \
        --customize-hook='mv "$1/etc/apt/sources.list.d/0000main.sources" "$1/etc/apt/sources.list.d/debian.sources"' \
        "$SUITE" "$work/base.tar" - <"$work/debian.sources"
    as_root chmod 644 "$work/base.tar"
}

# apt sources of the built image, in the format and location of the official one.
write_sources() {
    local mirror=$1 security=$2
    sources_stanza "$mirror" "$SUITE $SUITE-updates"
    [ -z "$security" ] || { echo && sources_stanza "$security" "$SUITE-security"; }
}

sources_stanza() {
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "$2"
    printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n'
}

# The host's apt options that affect access to archives.
host_apt_options() {
    apt-config dump |
        grep -E '^Acquire::(http|https|ftp|Check-Valid-Until|Check-Date|Retries|ForceIPv4)\b.* ".+";$' || true
}

# The host's pip configuration as one [global] section: index, proxy and CA bundle.
# Indexes in local folders are omitted.
write_pip_conf() {
    echo '[global]'
    if [ -f "$CA_BUNDLE" ]; then echo "cert = $CA_BUNDLE"; fi
    have python3 || return 0
    python3 "$here/pip_settings.py"
}

main "$@"
