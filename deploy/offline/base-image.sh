#!/usr/bin/env bash
# Provides the one external image: YGG_BASE, such as debian:trixie-slim@sha256:…, by default debian:trixie-slim.
#
# In order: the local image, the image registry, and, where neither has it, an
# image of the same name made from the package archives that this machine's apt
# already uses. The Dockerfile cannot tell the difference. The machine's own
# certificate authorities, apt options and pip configuration go into a made
# image, since a machine without an image registry is often one with a mirror.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

readonly MADE=debian:trixie-slim # the name of one that is made here
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
    [ "$IMAGE" = "$MADE" ] || die "$IMAGE cannot be pulled; unset YGG_BASE to build on one that is made here"
    say "no image registry answers: making $IMAGE from the Debian archive (a minute)"
    make_image
}

make_image() {
    local mirror security
    apt_install mmdebstrap
    mirror=$(archive_for main)
    security=$(archive_for security)
    [ -n "$mirror" ] || die "cannot tell which Debian archive this machine uses: run 'docker pull $IMAGE' by hand"

    work=$(mktemp -d)
    # The tree belongs to root, and mktemp's directory may too by then.
    trap 'as_root rm -rf "$work"' EXIT
    write_sources "$mirror" "$security" >"$work/debian.sources"
    host_apt_options >"$work/apt.conf"
    write_pip_conf >"$work/pip.conf"
    bootstrap
    docker import --change 'CMD ["bash"]' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        "$work/base.tar" "$IMAGE" >/dev/null
    say "made $IMAGE"
}

bootstrap() {
    # shellcheck disable=SC2016  # $1 is mmdebstrap's: the new root
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

# The sources of the made image, in the form and place of the official one.
write_sources() {
    local mirror=$1 security=$2
    sources_stanza "$mirror" "$SUITE $SUITE-updates"
    [ -z "$security" ] || { echo && sources_stanza "$security" "$SUITE-security"; }
}

sources_stanza() {
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "$2"
    printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n'
}

# The host's apt options that decide whether an archive can be reached or used.
host_apt_options() {
    apt-config dump |
        grep -E '^Acquire::(http|https|ftp|Check-Valid-Until|Check-Date|Retries|ForceIPv4)\b.* ".+";$' || true
}

# The host's pip configuration as one [global] section: index and proxy, and the
# bundle of authorities. Indexes that are folders of this machine stay behind.
write_pip_conf() {
    echo '[global]'
    if [ -f "$CA_BUNDLE" ]; then echo "cert = $CA_BUNDLE"; fi
    have python3 || return 0
    python3 "$here/pip_settings.py"
}

main "$@"
