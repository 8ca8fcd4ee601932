#!/usr/bin/env bash
# Copy a user's credentials from the compose mesh, for grpcurl and ygg, and
# create the context `compose` if ygg is installed.
#
#   deploy/creds.sh [DIR [USER]]        default: var/creds, operator
#
# Requires that the pki container has run once (docker compose up). Existing
# files are overwritten; the key is readable by its owner only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=${1:-var/creds}
user=${2:-operator}

if [ -z "$(docker compose ps --all --quiet pki)" ]; then
    echo "error: the mesh was never started; run: docker compose up -d --wait" >&2
    exit 1
fi
(umask 077 && mkdir -p "$dir")
docker compose cp "pki:/pki/identities/user/$user/." "$dir" >/dev/null 2>&1 ||
    { echo "error: unknown user $user; create it: docker compose run --rm pki issue user $user --dir /pki/pki --out /pki/identities/user/$user" >&2 && exit 1; }
chmod 600 "$dir/key.pem"

echo "credentials of $user in $dir"
echo "  grpcurl -cacert $dir/services.pem -cert $dir/cert.pem -key $dir/key.pem localhost:${YGG_PORT_REGISTRY:-50051} list"

ygg=.venv/bin/ygg
[ -x "$ygg" ] || ygg=$(command -v ygg || true)
if [ -z "$ygg" ]; then
    echo "  ygg is not installed, so no context was created; install it: make setup"
    exit 0
fi
"$ygg" context set compose --identity "$dir" \
    --registry "127.0.0.1:${YGG_PORT_REGISTRY:-50051}" \
    --bridge "127.0.0.1:${YGG_PORT_BRIDGE:-50052}" \
    --loki "127.0.0.1:${YGG_PORT_LOKI:-50053}" \
    --ota "127.0.0.1:${YGG_PORT_OTA:-50054}" \
    --link "127.0.0.1:${YGG_PORT_LINK:-7443}" >/dev/null
echo "  $ygg --context compose status"
