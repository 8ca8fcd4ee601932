#!/usr/bin/env bash
# Copies a user's credentials out of the compose mesh, for grpcurl and ygg, and
# makes the context `compose` of them where ygg is installed.
#
#   deploy/creds.sh [DIR [USER]]        var/creds and operator where not given
#
# The pki container has run once by then (docker compose up); it need not be
# running. Repeats overwrite; the key is readable by you alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=${1:-var/creds}
user=${2:-operator}

if [ -z "$(docker compose ps --all --quiet pki)" ]; then
    echo "error: the mesh has not been started: docker compose up -d --wait" >&2
    exit 1
fi
(umask 077 && mkdir -p "$dir")
docker compose cp "pki:/pki/identities/user/$user/." "$dir" >/dev/null 2>&1 ||
    { echo "error: no user $user: docker compose run --rm pki issue user $user --dir /pki/pki --out /pki/identities/user/$user" >&2 && exit 1; }
chmod 600 "$dir/key.pem"

echo "credentials of $user in $dir"
echo "  grpcurl -cacert $dir/services.pem -cert $dir/cert.pem -key $dir/key.pem localhost:${YGG_PORT_REGISTRY:-50051} list"

ygg=.venv/bin/ygg
[ -x "$ygg" ] || ygg=$(command -v ygg || true)
if [ -z "$ygg" ]; then
    echo "  no ygg here for a context; make setup installs it into .venv"
    exit 0
fi
"$ygg" context set compose --identity "$dir" \
    --registry "127.0.0.1:${YGG_PORT_REGISTRY:-50051}" \
    --bridge "127.0.0.1:${YGG_PORT_BRIDGE:-50052}" \
    --loki "127.0.0.1:${YGG_PORT_LOKI:-50053}" \
    --ota "127.0.0.1:${YGG_PORT_OTA:-50054}" \
    --link "127.0.0.1:${YGG_PORT_LINK:-7443}" >/dev/null
echo "  $ygg --context compose status"
