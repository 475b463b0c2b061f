#!/usr/bin/env bash
# Deploys SKOS on this machine, or upgrades what an earlier run deployed. `./deploy.sh --help`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"

usage() {
    cat <<'TEXT'
Deploys SKOS on this machine, waits until it is healthy, and says what to open and type next. Run it
again to upgrade: what is up to date and healthy is left alone.

  ./deploy.sh             containers where Docker and Compose answer, else as with --native
  ./deploy.sh --native    without containers: installs the C libraries, builds, runs `skos up` in the
                          background
  ./deploy.sh --build     build even when nothing has changed
  ./deploy.sh --clean     stop and remove what was deployed, WITH its data: streams, audit, journals.
                          Together with --build: deploy anew afterwards

Environment, also from a file .env beside this script: NODE_NAME, NATS_URL, WARNING_TEMP and the others
of the README. A NATS_URL on another machine makes this one a node of that fleet: only its agent runs here.
For --native also SKOS_STATE_DIR (default /var/lib/skos; without root ~/.local/state/skos) and
SKOS_MONITORING_PORT (default 8222) and
SKOS_CONFIG (default config.yaml beside this script).

Exit codes: 0 it runs and is healthy, 1 it does not, 2 wrong arguments.
TEXT
}

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
fail() {
    printf 'deploy.sh: %s\n' "$*" >&2
    exit 1
}

build=no clean=no native=no
for argument in "$@"; do
    case $argument in
        --build) build=yes ;;
        --clean) clean=yes ;;
        --native) native=yes ;;
        -h | --help) usage && exit 0 ;;
        *)
            printf 'deploy.sh: unknown argument %s\n\n' "$argument" >&2
            usage >&2
            exit 2
            ;;
    esac
done

# What Compose reads by itself, for --native too. Only plain NAME=value lines; the environment wins.
read_dotenv() {
    [[ -f .env ]] || return 0
    local line name value
    while IFS= read -r line || [[ -n $line ]]; do
        [[ $line =~ ^[[:space:]]*([A-Za-z_][A-Za-z_0-9]*)=(.*)$ ]] || continue
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]%$'\r'}
        value=${value#[\"\']} value=${value%[\"\']}
        [[ -n ${!name:-} ]] || export "$name=$value"
    done <.env
}
read_dotenv

# Whether NATS_URL names this machine, or nothing.
nats_is_here() {
    case ${NATS_URL:-} in
        '' | *://localhost* | *://127.* | *@localhost* | *@127.* | localhost* | 127.*) true ;;
        *'://[::1]'* | *://nats:* | *://nats) true ;;
        *) false ;;
    esac
}

# Waits until a command succeeds; $1 tries, half a second apart.
wait_for() {
    local tries=$1
    shift
    for ((; tries > 0; tries--)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.5
    done
    return 1
}

# --- Containers ---------------------------------------------------------------------------------

docker_answers() { docker version >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

why_no_docker() {
    if ! command -v docker >/dev/null; then
        say "no docker command"
    elif ! docker version >/dev/null 2>&1; then
        say "the Docker engine does not answer (is it running, and may $(id -un) use it?)"
    else
        say "docker has no compose plugin"
    fi
}

# What the image is built from, in one word.
sources_hash() {
    find Package.swift Sources docker/Dockerfile -type f -print0 | LC_ALL=C sort -z \
        | xargs -0 sha256sum | sha256sum | cut -c1-16
}

build_image() {
    local image=$1 has='' wants
    wants=$(sources_hash)
    has=$(docker image inspect -f '{{index .Config.Labels "skos.sources"}}' "$image" 2>/dev/null) || has=none
    if [[ $build == no && ($has == "$wants" || ($has != none && -n ${SKOS_IMAGE:-})) ]]; then
        return
    fi
    step "building the image $image (some minutes)"
    # The agent's service has the same image, so one build does.
    SKOS_SOURCES=$wants docker compose build --quiet coordinator \
        || fail "the image was not built; docker compose build coordinator tells more"
}

container_health() {
    docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$1"
}

all_healthy() {
    local service id
    for service in "$@"; do
        id=$(docker compose ps -q "$service")
        [[ -n $id && $(container_health "$id") == healthy ]] || return 1
    done
}

deploy_containers() {
    local agents=(thermal-sentinel storage-watcher mesh-healer loop-breaker) services=() up=(up --detach --remove-orphans)
    if nats_is_here; then
        # As a container sees it, localhost is the container.
        export NATS_URL=
        services=(nats coordinator "${agents[@]}")
    else
        say "NATS_URL is on another machine: only this node's agents run here."
        services=("${agents[@]}")
        up+=(--no-deps "${agents[@]}")
    fi
    build_image "${SKOS_IMAGE:-skos:local}"
    step "starting the containers"
    docker compose --progress quiet "${up[@]}" \
        || fail "the containers did not start; docker compose ps -a and docker compose logs tell more"
    step "waiting until they are healthy"
    if ! wait_for 180 all_healthy "${services[@]}"; then
        docker compose ps -a
        docker compose logs --no-color --tail 20 "${services[@]}"
        fail "not healthy within 90 s; the logs are above"
    fi
    docker compose ps --format 'table {{.Name}}\t{{.Status}}\t{{.Ports}}'
    local agent='docker compose exec thermal-sentinel skos' skos='docker compose exec coordinator skos'
    nats_is_here || skos=$agent
    welcome "$skos" "$agent" "$(docker compose port nats 8222 2>/dev/null || true)" 'docker compose logs -f'
}

clean_containers() {
    step "removing the containers of SKOS, their network and volumes: streams, audit and journals"
    docker compose --progress quiet down --volumes --remove-orphans
    say "Removed. The image stays: docker image rm ${SKOS_IMAGE:-skos:local}"
}

# --- Without containers -------------------------------------------------------------------------

native_paths() {
    state=${SKOS_STATE_DIR:-}
    # What was named for this run has to be named for the next ones too.
    asked=${SKOS_STATE_DIR:+SKOS_STATE_DIR=$SKOS_STATE_DIR }
    if [[ -z $state ]]; then
        state=/var/lib/skos
        if ((EUID != 0)) && ! { [[ -d $state && -w $state ]]; }; then
            state=${XDG_STATE_HOME:-$HOME/.local/state}/skos
        fi
    fi
    program=$state/bin/skos pidfile=$state/deploy.pid log=$state/skos.log
    export SKOS_STATE_DIR=$state
}

# The process of an earlier run, if it is still ours: a pid alone may be anybody's by now.
running_pid() {
    local pid exe
    [[ -r $pidfile ]] && pid=$(<"$pidfile") && [[ $pid =~ ^[0-9]+$ ]] || return 1
    exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
    [[ ${exe% (deleted)} == "$(readlink -f "$program")" ]] && printf '%s\n' "$pid"
}

install_packages() {
    local wanted=(ca-certificates libcurl4-openssl-dev libnats-dev libsensors-dev libsodium-dev
        libyaml-dev pkg-config)
    nats_is_here && [[ -z ${SKOS_NATS_SERVER:-} ]] && ! command -v nats-server >/dev/null \
        && wanted+=(nats-server)
    local missing=() package sudo=()
    if ! command -v apt-get >/dev/null; then
        say "No apt here: the C libraries cnats, libcurl, libsensors, libsodium and libyaml must be installed."
        return
    fi
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null \
            || fail "as root, install: apt-get install ${missing[*]}"
        sudo=(sudo)
        [[ -t 0 ]] || sudo=(sudo -n)
    fi
    step "installing ${missing[*]}"
    "${sudo[@]}" apt-get update -q >/dev/null || say "apt-get update failed; trying with what is known"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        "${missing[@]}" >/dev/null || fail "apt-get install ${missing[*]} failed"
}

build_native() {
    command -v swift >/dev/null || fail "there is no Swift here. Install Swift 6.2 or newer from" \
        "https://www.swift.org/install/linux and put it on PATH, or deploy with Docker, which brings its own."
    step "building (some minutes the first time)"
    local flags=(-c release --product skos)
    [[ $build == yes ]] && rm -rf .build/release/skos
    swift build "${flags[@]}" >"$state/build.log" 2>&1 || {
        tail -n 30 "$state/build.log" >&2
        fail "the build failed; all of it is in $state/build.log"
    }
}

# Stops what runs; a stop takes back every throttle. $1: what to say.
stop_native() {
    local pid
    pid=$(running_pid) || return 0
    step "$1"
    kill -TERM "$pid"
    for ((i = 0; i < 60; i++)); do
        [[ -d /proc/$pid ]] || break
        sleep 0.25
    done
    if [[ -d /proc/$pid ]]; then
        fail "process $pid does not end within 15 s; look at $log, then end it with kill -9 $pid." \
            "A node that was throttled is restored at the next start."
    fi
    rm -f "$pidfile"
}

# The coordinator answers, and has heard from the agents of this node.
native_healthy() { "$program" nodes --here "${config[@]}"; }

start_native() {
    local what=(up)
    nats_is_here || what=(agent thermal storage mesh loop)
    [[ -f $log && $(stat -c %s "$log") -gt 10485760 ]] && mv "$log" "$log.1"
    step "starting skos ${what[*]}"
    # Of a session of its own, so that it outlives this terminal.
    setsid "$program" "${what[@]}" "${config[@]}" </dev/null >>"$log" 2>&1 &
    local pid=$!
    printf '%s\n' "$pid" >"$pidfile"
    step "waiting until it is healthy"
    for ((i = 0; i < 120; i++)); do
        if [[ ! -d /proc/$pid ]]; then
            tail -n 10 "$log" >&2
            rm -f "$pidfile"
            fail "skos ${what[*]} ended; its last lines are above, all of them in $log"
        fi
        native_healthy >/dev/null 2>&1 && return
        sleep 0.25
    done
    tail -n 10 "$log" >&2
    fail "not healthy within 30 s; skos ${what[*]} goes on trying, its last lines are above ($log)"
}

deploy_native() {
    native_paths
    (umask 077 && mkdir -p "$state/bin") || fail "cannot make $state; SKOS_STATE_DIR names another directory"
    config=(--config "${SKOS_CONFIG:-$here/config.yaml}")
    install_packages
    build_native
    local new=.build/release/skos
    if running_pid >/dev/null && cmp -s "$new" "$program" && native_healthy >/dev/null 2>&1; then
        step "this version runs already and is healthy"
    else
        stop_native "stopping the version that runs"
        install -m 755 "$new" "$program.new" && mv "$program.new" "$program"
        start_native
    fi
    say "Process $(running_pid), log $log"
    local port=${SKOS_MONITORING_PORT:-8222} monitoring=''
    if nats_is_here && [[ $port != 0 ]]; then monitoring=127.0.0.1:$port; fi
    local skos=${NATS_URL:+NATS_URL=$NATS_URL }$program
    welcome "$skos" "$skos" "$monitoring" "tail -f $log"
}

# Removes only what SKOS made: the directory may have been chosen for more than that.
clean_native() {
    native_paths
    step "stopping SKOS and removing its state in $state: streams, audit and journals"
    stop_native "stopping the process"
    [[ -d $state ]] || {
        say "Nothing there."
        return
    }
    rm -rf "${state:?}"/{bin,nats,build.log,skos.log,skos.log.1,deploy.pid} "$state"/*.{journal,lock}
    rmdir "$state" 2>/dev/null || say "Kept what SKOS did not make: $(find "$state" -mindepth 1 -maxdepth 1 | head -5 | xargs)"
    say "Removed."
}

# --- What next ----------------------------------------------------------------------------------

# $1 how to call skos, $2 the same where the agent runs, $3 address of NATS' monitoring or nothing,
# $4 how to follow the log
welcome() {
    say ''
    say 'SKOS is up.'
    [[ -z $3 ]] || say "  open    http://$3/   NATS' own monitoring: jsz shows the streams, connz who is there"
    say "  type    $1 status"
    say "          $1 nodes"
    say "          $2 doctor   (what this node has: sensors, knobs, permissions)"
    say "  follow  $4"
    say "  edit    config.yaml; a saved edit applies within a second"
    say "  test    ./test.sh;  remove  ${asked:-}./deploy.sh --clean${native_flag:-}"
}

if [[ $native == no ]] && ! docker_answers; then
    say "Without containers: $(why_no_docker)."
    native=yes
fi
[[ $native == no ]] || native_flag=' --native'

if [[ $clean == yes ]]; then
    if [[ $native == yes ]]; then clean_native; else clean_containers; fi
    [[ $build == yes ]] || exit 0
fi
if [[ $native == yes ]]; then deploy_native; else deploy_containers; fi
