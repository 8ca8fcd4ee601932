#!/bin/sh
# The posix agent as a process against openssl's own TLS server: accepted and rejected peers, and its messages.
#
#   smoke.sh AGENT DIR      AGENT is the program, DIR is recreated for keys and logs
set -eu

agent=$1
dir=$2
passed=0
failed=0
server=
rm -rf "$dir"
mkdir -p "$dir"
trap 'stop_server' EXIT

stop_server() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}

# --- keys: ca NAME; leaf NAME CA URI USAGE ------------------------------------------------------------------------

key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$dir/$1.key" 2>/dev/null
    chmod 600 "$dir/$1.key"
}

ca() {
    key "$1"
    openssl req -x509 -new -key "$dir/$1.key" -subj "/CN=$1" -days 2 -out "$dir/$1.pem" \
        -addext basicConstraints=critical,CA:TRUE
}

leaf() {
    key "$1"
    printf 'subjectAltName=URI:%s\nextendedKeyUsage=%s\n' "$3" "$4" >"$dir/$1.ext"
    openssl req -new -key "$dir/$1.key" -subj "/CN=$1" |
        openssl x509 -req -CA "$dir/$2.pem" -CAkey "$dir/$2.key" -CAcreateserial -days 2 \
            -extfile "$dir/$1.ext" -out "$dir/$1.pem" 2>/dev/null
}

ca service-ca
ca device-ca
ca other-ca
leaf bridge service-ca ygg://main/service/jotunheim_bridge serverAuth
leaf loki service-ca ygg://main/service/loki serverAuth
leaf elsewhere service-ca ygg://other/service/jotunheim_bridge serverAuth
leaf impostor other-ca ygg://main/service/jotunheim_bridge serverAuth
leaf nameless service-ca https://example.org/ serverAuth
leaf posing service-ca ygg://main/device/porch-1 serverAuth
leaf porch-1 device-ca ygg://main/device/porch-1 clientAuth
leaf stranger other-ca ygg://main/device/porch-1 clientAuth

# --- helpers ------------------------------------------------------------------------------------------------------

# Waits up to ten seconds for a line in a file.
await() {
    tries=0
    until grep -aq -- "$2" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || return 1
        sleep 0.1
    done
}

# serve CERT OPTIONS…: a TLS server on a free port, in $port.
serve() {
    stop_server
    cert=$1
    shift
    : >"$dir/server.log"
    # Its input stays open: at its end s_server would exit.
    [ -p "$dir/input" ] || mkfifo "$dir/input"
    openssl s_server -accept 127.0.0.1:0 -cert "$dir/$cert.pem" -key "$dir/$cert.key" -CAfile "$dir/device-ca.pem" \
        "$@" <"$dir/input" >"$dir/server.log" 2>&1 &
    server=$!
    exec 3>"$dir/input"
    await "$dir/server.log" '^ACCEPT 127' || { cat "$dir/server.log"; exit 1; }
    port=$(sed -n 's/^ACCEPT 127.0.0.1:\([0-9]*\).*/\1/p' "$dir/server.log" | head -n 1)
}

start_agent() {
    identity=${1:-porch-1}
    : >"$dir/agent.log" # Before any search in the log of this agent.
    "$agent" --id porch-1 --connect "127.0.0.1:$port" --ca "$dir/service-ca.pem" --cert "$dir/$identity.pem" \
        --key "$dir/$identity.key" --backoff-max-ms 300 2>"$dir/agent.log" &
    agent_pid=$!
}

# SIGTERM; the exit status is left in $status.
stop_agent() {
    kill -TERM "$agent_pid" 2>/dev/null || true
    status=0
    wait "$agent_pid" || status=$?
}

verdict() {
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $1"
        sed 's/^/    /' "$dir/agent.log"
    fi
}

# refuses NAME TEXT CERT OPTIONS…: against that server the agent logs TEXT and sends no Hello; SIGTERM ends it with 0.
refuses() {
    name=$1
    text=$2
    shift 2
    serve "$@"
    start_agent
    wrong=0
    await "$dir/agent.log" "$text" || wrong=1
    stop_agent
    [ "$status" -eq 0 ] || wrong=1
    ! grep -aq sim-board "$dir/server.log" || wrong=1
    verdict "$name" "$wrong"
}

# exits NAME STATUS TEXT OPTIONS…: the agent exits immediately with that status and prints TEXT.
exits() {
    name=$1
    expected=$2
    text=$3
    shift 3
    status=0
    "$agent" "$@" >"$dir/agent.log" 2>&1 || status=$?
    wrong=0
    [ "$status" -eq "$expected" ] && grep -q -- "$text" "$dir/agent.log" || wrong=1
    verdict "$name" "$wrong"
}

einherjar="-tls1_3 -alpn einherjar/1 -Verify 3 -verify_return_error"

# --- accepted and rejected peers ---------------------------------------------------------------------------------------------

# shellcheck disable=SC2086 # the options are words
serve bridge $einherjar
start_agent
wrong=0
await "$dir/server.log" sim-board || wrong=1
stop_agent
[ "$status" -eq 0 ] && grep -q 'event=stopped' "$dir/agent.log" || wrong=1
verdict "sends Hello to the bridge, and exits 0 on SIGTERM" "$wrong"

# shellcheck disable=SC2086
{
    refuses "a bridge of another CA" 'does not lead to --ca' impostor $einherjar
    refuses "another service of the mesh" 'is not a bridge' loki $einherjar
    refuses "a bridge of another tenant" 'another tenant' elsewhere $einherjar
    refuses "a server without an identity" 'has no ygg:// identity' nameless $einherjar
    refuses "a device that poses as a bridge" 'is not a bridge' posing $einherjar
    refuses "a server that speaks another protocol" 'einherjar/1' bridge -tls1_3 -alpn http/1.1 -Verify 3
    refuses "a server without ALPN" 'einherjar/1' bridge -tls1_3 -Verify 3
    refuses "a server with TLS 1.2 only" 'event=connection_failed' bridge -tls1_2 -alpn einherjar/1 -Verify 3
}

# handshakes OPTION COUNT NAME: of two connections, the first of which is interrupted, the server resumed COUNT.
handshakes() {
    : >"$dir/agent.log"
    # shellcheck disable=SC2086
    serve bridge $einherjar
    # shellcheck disable=SC2086
    "$agent" --id porch-1 --connect "127.0.0.1:$port" --ca "$dir/service-ca.pem" --cert "$dir/porch-1.pem" \
        --key "$dir/porch-1.key" --backoff-max-ms 300 $1 2>"$dir/agent.log" &
    agent_pid=$!
    wrong=0
    await "$dir/server.log" sim-board || wrong=1
    echo q >&3
    await "$dir/agent.log" event=disconnected || wrong=1
    tries=0
    until [ "$(grep -ac sim-board "$dir/server.log")" -ge 2 ] || [ "$tries" -ge 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    [ "$(grep -ac sim-board "$dir/server.log")" -eq 2 ] || wrong=1
    [ "$(grep -ac '^Reused session-id' "$dir/server.log")" -eq "$2" ] || wrong=1
    stop_agent
    verdict "$3" "$wrong"
}
handshakes "" 1 "resumes its TLS session after an interruption"
handshakes --no-resume 0 "makes a full handshake each time with --no-resume"

# shellcheck disable=SC2086
serve bridge $einherjar
start_agent stranger
wrong=0
await "$dir/agent.log" "does not know the CA of this device's certificate" || wrong=1
stop_agent
verdict "explains that its certificate has the wrong CA" "$wrong"

# shellcheck disable=SC2086
serve bridge $einherjar
start_agent
await "$dir/server.log" sim-board || true
wrong=0
head -c 9000 /dev/zero | tr '\0' 'x' >&3
await "$dir/agent.log" "TLS record longer than this device's limit" || wrong=1
stop_agent
verdict "drops a bridge whose TLS record is too long for the device" "$wrong"

stop_server
start_agent
wrong=0
await "$dir/agent.log" 'connection refused or network down' || wrong=1
stop_agent
[ "$status" -eq 0 ] || wrong=1
verdict "retries if the connection is refused, and exits 0 on SIGTERM" "$wrong"

# --- errors of files and options ---------------------------------------------------------------------

set -- --id porch-1 --connect 127.0.0.1:1 --ca "$dir/service-ca.pem"
exits "no options: all missing ones" 2 'missing --key FILE'
exits "an invalid id" 2 'must be \[a-z0-9\]' --id Porch_1
exits "an address without a port" 2 'must be HOST:PORT' --connect localhost
exits "--help" 0 'Stop it with SIGTERM' --help
exits "a missing certificate" 1 'No such file' "$@" --cert "$dir/none.pem" --key "$dir/porch-1.key"
exits "the key of another certificate" 1 'is not the key of' "$@" --cert "$dir/porch-1.pem" --key "$dir/stranger.key"
exits "an invalid CA file" 1 'cannot use --ca' --id porch-1 --connect 127.0.0.1:1 --ca "$dir/porch-1.key" \
    --cert "$dir/porch-1.pem" --key "$dir/porch-1.key"
cp "$dir/porch-1.key" "$dir/open.key"
chmod 644 "$dir/open.key"
exits "a key that other users can read" 1 'chmod 600' "$@" --cert "$dir/porch-1.pem" --key "$dir/open.key"

# It has the identity of another device: it warns and leaves the decision to the bridge.
"$agent" --id porch-2 --connect 127.0.0.1:1 --ca "$dir/service-ca.pem" --cert "$dir/porch-1.pem" \
    --key "$dir/porch-1.key" 2>"$dir/agent.log" &
agent_pid=$!
wrong=0
await "$dir/agent.log" 'not for device porch-2' || wrong=1
stop_agent
verdict "warns of a certificate of another device" "$wrong"

# --- many in one process ------------------------------------------------------------------------------------------

for id in fleet-1 fleet-2 fleet-3; do
    mkdir -p "$dir/fleet/$id"
    leaf "$id" device-ca "ygg://main/device/$id" clientAuth
    cp "$dir/$id.pem" "$dir/fleet/$id/cert.pem"
    cp "$dir/$id.key" "$dir/fleet/$id/key.pem"
done
# s_server serves one connection at a time; the next one starts when it ends.
# shellcheck disable=SC2086
serve bridge $einherjar
"$agent" --id fleet --count 3 --identities "$dir/fleet" --connect "127.0.0.1:$port" --ca "$dir/service-ca.pem" \
    --control "$dir/control" 2>"$dir/agent.log" &
agent_pid=$!
wrong=0
await "$dir/agent.log" 'device=fleet-3 event=connecting' || wrong=1
[ "$(grep -c 'event=connecting address' "$dir/agent.log")" -eq 3 ] || wrong=1
[ "$(stat -c %a "$dir/control" 2>/dev/null)" = 600 ] || wrong=1
stop_agent
[ "$status" -eq 0 ] && [ ! -e "$dir/control" ] || wrong=1
verdict "hosts three devices in one process" "$wrong"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
