#!/usr/bin/env bash
# Make `docker compose` work on a Debian machine: engine, compose plugin, daemon.
#
# Installs missing parts, printing one line for each, and leaves working ones
# unchanged, so it is idempotent. Root (or sudo) is used only for changes, and a
# running engine is never restarted.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

readonly COMPOSE_SUITE=trixie # the first Debian with version 2 of docker-compose
readonly DAEMON_LOG=/var/log/dockerd.log
readonly DAEMON_TIMEOUT_S=60

main() {
    engine_answers || provide_engine
    compose_works || provide_compose
}

engine_answers() { docker info >/dev/null 2>&1; }
compose_works() { docker compose version >/dev/null 2>&1; }
dockerd_path() { PATH=$PATH:/usr/sbin:/sbin command -v dockerd; }

provide_engine() {
    case "${DOCKER_HOST:-unix:}" in
    unix:*) ;;
    *) die "no docker engine at DOCKER_HOST=$DOCKER_HOST; start it, or unset DOCKER_HOST" ;;
    esac
    dockerd_path >/dev/null || apt_install docker.io iptables ca-certificates
    have docker || apt_install docker-cli
    as_root docker info >/dev/null 2>&1 || start_daemon
    engine_answers ||
        die "docker is accessible to root only; run: sudo usermod -aG docker $(id -un) && newgrp docker   then try again"
}

start_daemon() {
    if [ -d /run/systemd/system ]; then
        say "starting the docker service"
        as_root systemctl start docker
    else
        # No init system (a container, a minimal VM): start it in a separate
        # session, so that it outlives this shell.
        say "starting dockerd in the background, log in $DAEMON_LOG"
        # shellcheck disable=SC2016  # expanded by the inner shell
        as_root sh -c 'setsid "$1" >>"$2" 2>&1 </dev/null &' sh "$(dockerd_path)" "$DAEMON_LOG"
    fi
    local waited=0
    until as_root docker info >/dev/null 2>&1; do
        [ "$waited" -lt "$DAEMON_TIMEOUT_S" ] || die "dockerd did not start within $DAEMON_TIMEOUT_S s; see $DAEMON_LOG"
        sleep 1
        waited=$((waited + 1))
    done
}

provide_compose() {
    compose_candidate_is_v2 || add_compose_suite
    compose_candidate_is_v2 || die "no package of docker compose 2 in the apt sources of this machine"
    apt_install docker-compose
    compose_works || die "docker compose does not start; run 'docker compose version' for the reason"
}

compose_candidate_is_v2() {
    # Not grep -q: it stops reading early, which pipefail treats as a failure.
    apt-cache policy docker-compose 2>/dev/null | grep -E '^ *Candidate: ([2-9]|[0-9]{2,})\.' >/dev/null
}

# Add a newer Debian release for this package only: the low pin prevents apt from
# installing other packages from it, and the libc of Debian 12 is sufficient.
add_compose_suite() {
    local archive
    archive=$(archive_for main)
    [ -n "$archive" ] || die "no Debian archive in the apt sources of this machine; install docker compose 2 manually"
    say "adding Debian $COMPOSE_SUITE to apt at low priority, for docker-compose only"
    as_root tee /etc/apt/sources.list.d/yggdrasil-compose.sources >/dev/null <<EOF
Types: deb
URIs: $archive
Suites: $COMPOSE_SUITE
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
    as_root tee /etc/apt/preferences.d/yggdrasil-compose >/dev/null <<EOF
Package: *
Pin: release n=$COMPOSE_SUITE
Pin-Priority: 50

Package: docker-compose
Pin: release n=$COMPOSE_SUITE
Pin-Priority: 600
EOF
    apt_refresh
}

main "$@"
