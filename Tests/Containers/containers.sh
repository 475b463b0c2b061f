#!/usr/bin/env bash
# The container set of compose.yaml, as a project of its own beside whatever runs here already.
# PYTHON is an interpreter that has nats-py; without it the client that is not ours is left out.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=Tests/Containers/checks.sh
source "$here/Tests/Containers/checks.sh"

# Below the repository: engines that live in a sandbox do not see /tmp.
mkdir -p "$here/.build/test"
work=$(mktemp -d "$here/.build/test/containers.XXXXXX")
export COMPOSE_PROJECT_NAME=skos-test-$$ SKOS_IMAGE=skos:test
export SKOS_CONFIG_DIR=$work/etc SKOS_HOST_SYS=$work/sys
# What the containers see of the machine's files and tunnels is made here too.
export SKOS_HOST_DIR=$work/host SKOS_HOST_PROPAGATION=rprivate
export SKOS_WIREGUARD_DIR=$work/wireguard SKOS_WIREGUARD_SOCKETS=$work/sockets
export NODE_NAME=nova MONITOR_INTERVAL=0.2 HEARTBEAT_INTERVAL=1
NATS_PORT=$(free_port) NATS_MONITOR_PORT=$(free_port)
export NATS_PORT NATS_MONITOR_PORT
unset NATS_URL SKOS_CONFIG SKOS_AGENT_USER SKOS_BIND SKOS_MONITOR_BIND
services=(nats coordinator thermal-sentinel storage-watcher mesh-healer loop-breaker)
# Those that need no privilege of the kernel.
plain=(nats coordinator thermal-sentinel loop-breaker)
cd "$here" || exit 1

compose() { docker compose --progress quiet "$@"; }
skos() { compose exec -T coordinator skos "$@"; }
inspect() { docker inspect -f "$2" "$COMPOSE_PROJECT_NAME-$1"; }
foreign() { "$PYTHON" "$here/Tests/Containers/foreign.py" "nats://127.0.0.1:$NATS_PORT" "$@"; }

cleanup() {
    [[ -z ${tunnel_process:-} ]] || kill "$tunnel_process" 2>/dev/null
    compose down --volumes --remove-orphans >/dev/null 2>&1 || true
    umount "$SKOS_HOST_DIR/tmp" 2>/dev/null || true
    # What root of a container wrote there, only root can remove.
    rm -rf "$work" 2>/dev/null || true
}
trap cleanup EXIT
make_machine "$SKOS_HOST_SYS"
make_disk "$SKOS_HOST_DIR"
mkdir "$SKOS_CONFIG_DIR" "$SKOS_WIREGUARD_DIR" "$SKOS_WIREGUARD_SOCKETS"
# Files that a test makes are young.
sed '/^  cleanup_temp:/,/min_age/ s/min_age: 1d/min_age: 0s/' config.yaml >"$SKOS_CONFIG_DIR/config.yaml"
chmod -R a+rX "$work"

check 'compose.yaml is valid' compose config --quiet
must 'deploy.sh builds the image and brings the set up' ./deploy.sh --build

# --- What the containers may --------------------------------------------------------------------

# A line of /proc/self/status, as the main process of a container has it.
process() { docker exec "$COMPOSE_PROJECT_NAME-$1" grep "^$2:" /proc/1/status; }
is_confined() {
    [[ $(inspect "$1" '{{.HostConfig.ReadonlyRootfs}}') == true ]] || { echo 'its root can be written' && return 1; }
    process "$1" NoNewPrivs | grep -w 1 || { echo 'it can gain privileges' && return 1; }
    local set
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do
        process "$1" "$set" | grep -w 0000000000000000 || { echo "$set is not empty" && return 1; }
    done
}
runs_as() { process "$1" Uid | grep -P "^Uid:(\t$2){4}$"; }
for service in "${plain[@]}"; do
    check "$service has no capability, and a root file system that is read only" is_confined "$service"
done
# CapBnd, the capabilities it can have at most, as a sum of powers of two: capabilities(7).
may_no_more_than() {
    [[ $(inspect "$1" '{{.HostConfig.ReadonlyRootfs}}') == true ]] || { echo 'its root can be written' && return 1; }
    process "$1" NoNewPrivs | grep -w 1 || { echo 'it can gain privileges' && return 1; }
    process "$1" CapBnd | grep -wi "$2"
}
check 'storage-watcher has the five capabilities of its work, and no others' \
    may_no_more_than storage-watcher 000000001008000e
check 'mesh-healer has NET_ADMIN and NET_RAW, and no others' may_no_more_than mesh-healer 0000000000003000
check 'nats is not root' runs_as nats 10001
check 'the coordinator is not root' runs_as coordinator 10001
check 'the loop breaker is not root' runs_as loop-breaker 10001
on_loopback() {
    local addresses
    addresses=$(docker inspect -f '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}' \
        "$COMPOSE_PROJECT_NAME"-{nats,coordinator,thermal-sentinel} | xargs)
    [[ $addresses == '127.0.0.1 127.0.0.1' ]] || { echo "published on $addresses" && return 1; }
}
check 'ports are published on the loopback interface alone' on_loopback
hides_kernel() { ! docker exec "$COMPOSE_PROJECT_NAME-thermal-sentinel" ls /host/sys/kernel /host/proc; }
check 'the sentinel sees nothing of the host but sensors and knobs' hides_kernel

# --- What it does -------------------------------------------------------------------------------

heals() {
    echo 88000 >"$temperature"
    eventually holds "$knob" 1900000 || return 1
    echo 60000 >"$temperature"
    eventually holds "$knob" 3800000
}
check 'at 88 degrees the knob is halved, at 60 it has its old value' heals
if mountpoint -q "$SKOS_HOST_DIR/tmp"; then
    cleans() {
        local number
        for number in {1..14}; do
            head -c 1M /dev/zero >"$SKOS_HOST_DIR/tmp/$number" 2>/dev/null
        done
        [[ -e $SKOS_HOST_DIR/tmp/14 ]] || { echo 'the disk could not be filled' && return 1; }
        eventually is_empty "$SKOS_HOST_DIR/tmp"
    }
    is_empty() { [[ -z $(ls "$1") ]] || { skos explain nova | tail -n 30 && false; }; }
    check 'a disk that is filled is cleaned' cleans
    storage_is_resolved() { skos incidents --all | grep 'storage:/tmp' | grep resolved; }
    check 'its incident is resolved' eventually storage_is_resolved
else
    skip 'a disk that is filled is cleaned' 'only root can mount one'
fi

# A tunnel in a network that containers alone share: that of nats, which the mesh healer joins for it.
tunnel=wgskostest
in_network() { nsenter --target "$(inspect nats '{{.State.Pid}}')" --net "$@"; }
make_tunnel() {
    printf 'services: {mesh-healer: {network_mode: "service:nats", environment: {NATS_URL: "nats://127.0.0.1:4222"}}}\n' \
        >"$work/mesh.yaml"
    # Its socket is where the container looks, and nothing of it is on the machine.
    # shellcheck disable=SC2016 # the inner shell expands them
    unshare --mount bash -c 'mount -t tmpfs tmpfs /run && mkdir /run/wireguard && mount --bind "$1" /run/wireguard \
        && exec nsenter --target "$2" --net wireguard-go -f "$3"' \
        tunnel "$SKOS_WIREGUARD_SOCKETS" "$(inspect nats '{{.State.Pid}}')" "$tunnel" >"$work/tunnel.log" 2>&1 &
    tunnel_process=$!
    eventually test -S "$SKOS_WIREGUARD_SOCKETS/$tunnel.sock" || { cat "$work/tunnel.log" && return 1; }
    in_network ip link set "$tunnel" up || return 1
    COMPOSE_FILE=compose.yaml:$work/mesh.yaml compose up --detach --no-deps mesh-healer || return 1
    eventually sees_tunnel
}
sees_tunnel() { [[ $(skos nodes -o json) == *"\"$tunnel\""* ]]; }
tunnel_is_up() { [[ $(in_network ip -json link show "$tunnel") == *'"UP"'* ]]; }
mends_tunnel() {
    in_network ip link set "$tunnel" down || return 1
    eventually tunnel_is_up
}
tunnel_is_resolved() { skos incidents --all | grep "tunnel_down:$tunnel" | grep resolved; }
if ((EUID != 0)); then
    skip 'a tunnel that is switched off is switched on' 'only root can make one'
elif ! command -v wireguard-go >/dev/null || [[ ! -c /dev/net/tun ]]; then
    skip 'a tunnel that is switched off is switched on' 'no wireguard-go, or no /dev/net/tun'
elif check 'the mesh healer sees a tunnel' make_tunnel; then
    check 'a tunnel that is switched off is switched on' mends_tunnel
    check 'its incident is resolved as well' eventually tunnel_is_resolved
fi
check 'the audit verifies' skos audit verify
if [[ -n ${PYTHON:-} ]]; then
    check 'an alert of a client that is not ours has a command, a result and audit records' foreign alert nova
    check 'the loop breaker answers whether a chain may go on' foreign chain
    check 'a runaway chain is broken, an honest one is not' foreign runaway nova
    check 'the audit cannot be changed through the JetStream API' foreign tamper
else
    skip 'a client that is not ours' 'nats-py could not be installed'
fi

# As most editors save: a new file takes the old one's place.
edit() {
    sed "$1" "$SKOS_CONFIG_DIR/config.yaml" >"$SKOS_CONFIG_DIR/new"
    chmod a+r "$SKOS_CONFIG_DIR/new"
    mv "$SKOS_CONFIG_DIR/new" "$SKOS_CONFIG_DIR/config.yaml"
}
lower() {
    edit 's/^    critical: 85/    critical: 79/'
    echo 80000 >"$temperature"
    eventually holds "$knob" 1900000 || return 1
    echo 60000 >"$temperature"
    eventually holds "$knob" 3800000
}
# The cooldown of a minute after the attempts above would only slow this down.
edit '/^thermal:/,/^storage:/ s/^  cooldown: 1m/  cooldown: 0s/'
check 'a threshold edited on the host applies in the containers' lower
refusal_shows() { skos status | grep 'config.yaml:.*thermal.thresholds.critical'; }
edit 's/^    critical: 79/    critical: 60/'
check 'an edit with a mistake is refused, and skos status says where' eventually refusal_shows
leaves_it_alone() {
    ! ./deploy.sh >"$work/said" 2>&1 && grep 'is not above warning' "$work/said" && skos status
}
check 'deploy.sh with that mistake says where, and leaves what runs alone' leaves_it_alone
edit 's/^    critical: 60/    critical: 79/'

restarted() { [[ $(inspect coordinator '{{.RestartCount}}') -gt 0 ]] && skos status && skos audit verify; }
if ((EUID == 0)); then
    # As a crash would: the engine itself does not start again what it was told to kill.
    kill -9 "$(inspect coordinator '{{.State.Pid}}')"
    check 'a coordinator that is killed comes back, and the audit verifies' eventually restarted
else
    skip 'a coordinator that is killed comes back' 'only root can kill it from here'
fi

# --- How it ends --------------------------------------------------------------------------------

# 137 would be the kill after the time limit.
stops() {
    compose stop --timeout 5 || return 1
    local service code
    for service in "${services[@]}"; do
        code=$(inspect "$service" '{{.State.ExitCode}}')
        [[ $code == 0 ]] || { echo "$service ended with $code" && return 1; }
    done
}
# Once more if this machine has slept for those seconds; a service that cannot do it fails again.
stops_in_time() { stops || { compose up --detach --wait && stops; }; }
check 'every container stops by itself within 5 s' stops_in_time

stops_and_goes_on() {
    ./deploy.sh --stop || return 1
    [[ -z $(docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME") ]] || return 1
    ./deploy.sh && skos audit verify
}
check 'deploy.sh --stop ends the set, and the next start goes on with its data' stops_and_goes_on

# The whole set as users without rights, for those who give the agent its knobs.
export SKOS_AGENT_USER=10001:10001
compose down --volumes >/dev/null 2>&1
check 'the set starts with docker compose up, the sentinel as a user too' compose up --detach
check 'the sentinel is not root then' runs_as thermal-sentinel 10001
agents_are_online() { [[ $(skos nodes | grep -cw online) == 4 ]]; }
check 'the agents report' eventually agents_are_online
check 'it throttles and restores without being root' heals
gone() {
    ./deploy.sh --clean || return 1
    [[ -z $(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME") ]] \
        && [[ -z $(docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME") ]]
}
check 'deploy.sh --clean leaves no container and no volume' gone
[[ ${failures:-0} == 0 ]]
