#!/usr/bin/env bash
# `./deploy.sh --native` on this machine, with a state directory, ports and a /sys of its own.
# PYTHON is an interpreter that has nats-py; without it the client that is not ours is left out.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=Tests/Containers/checks.sh
source "$here/Tests/Containers/checks.sh"

mkdir -p "$here/.build/test"
work=$(mktemp -d "$here/.build/test/native.XXXXXX")
port=$(free_port)
export NATS_URL=nats://127.0.0.1:$port NODE_NAME=nova MONITOR_INTERVAL=0.2 HEARTBEAT_INTERVAL=1
export SKOS_STATE_DIR=$work/state SKOS_HOST_ROOT=$work/host SKOS_CONFIG=$work/config.yaml
SKOS_MONITORING_PORT=$(free_port)
export SKOS_MONITORING_PORT
foreign() { "$PYTHON" "$here/Tests/Containers/foreign.py" "$NATS_URL" "$@"; }
deploy() { "$here/deploy.sh" --native "$@"; }
skos() { "$SKOS_STATE_DIR/bin/skos" "$@"; }
pid() { cat "$SKOS_STATE_DIR/deploy.pid"; }

cleanup() {
    deploy --clean >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT
make_machine "$work/host/sys"
cp "$here/config.yaml" "$SKOS_CONFIG"

must 'deploy.sh --native brings SKOS up' deploy
check 'NATS shows its monitoring pages' \
    python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$SKOS_MONITORING_PORT/healthz')"
first=$(pid)
same_process() { deploy | grep 'runs already' && [[ $(pid) == "$first" ]]; }
check 'deploy.sh again leaves what is up to date alone' same_process

# Another version is installed, and the settings are wrong.
leaves_it_alone() {
    local bin=$SKOS_STATE_DIR/bin code=0
    cp "$bin/skos" "$work/other" && echo >>"$work/other" && mv "$work/other" "$bin/skos"
    cp "$SKOS_CONFIG" "$work/good.yaml" && echo 'thermal: {thresholds: {critical: 60}}' >"$SKOS_CONFIG"
    deploy >"$work/said" 2>&1 && code=1
    mv "$work/good.yaml" "$SKOS_CONFIG"
    grep 'is not above warning' "$work/said" && [[ $code == 0 ]] && kill -0 "$first"
}
check 'deploy.sh with wrong settings leaves what runs alone' leaves_it_alone

echo 88000 >"$temperature"
check 'at 88 degrees the processor is throttled by half' eventually holds "$knob" 1900000
echo 60000 >"$temperature"
check 'back at 60 degrees the knob has its old value' eventually holds "$knob" 3800000
check 'the audit verifies' skos audit verify
check 'skos status says how it is' skos status

if [[ -n ${PYTHON:-} ]]; then
    check 'an alert of a client that is not ours has a command, a result and audit records' foreign alert nova
    check 'the audit cannot be changed through the JetStream API' foreign tamper
else
    skip 'a client that is not ours' 'nats-py could not be installed'
fi

stops_and_goes_on() {
    deploy --stop && ! kill -0 "$first" 2>/dev/null && deploy --stop | grep 'Nothing' \
        && deploy && skos audit verify
}
check 'deploy.sh --stop ends it, and the next start goes on with its data' stops_and_goes_on

stopped() { deploy --clean && ! kill -0 "$last" 2>/dev/null && [[ ! -e $SKOS_STATE_DIR/nats ]]; }
last=$(pid)
echo mine >"$SKOS_STATE_DIR/notes.txt"
check 'deploy.sh --clean ends it and removes its state' stopped
check 'deploy.sh --clean keeps what is not of SKOS' holds "$SKOS_STATE_DIR/notes.txt" mine
[[ ${failures:-0} == 0 ]]
