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
  ./deploy.sh --stop      stop what was deployed, and keep its data; the same without --stop starts it again
  ./deploy.sh --clean     stop and remove what was deployed, WITH its data: streams, audit, journals.
                          Together with --build: deploy anew afterwards
  --stop and --clean mean the containers, or with --native what runs without them.

Environment, also from a file .env beside this script: NODE_NAME, NATS_URL, WARNING_TEMP and the others
of the README. A NATS_URL on another machine makes this one a node of that fleet: only its agents run here.
For --native also SKOS_STATE_DIR (default /var/lib/skos; without root ~/.local/state/skos),
SKOS_MONITORING_PORT (default 8222) and SKOS_CONFIG (default config.yaml beside this script).

Exit codes: 0 it runs and is healthy, 1 it does not, 2 wrong arguments.
TEXT
}

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
fail() {
    printf 'deploy.sh: %s\n' "$*" >&2
    exit 1
}

build=no clean=no native=no stop=no
for argument in "$@"; do
    case $argument in
        --build) build=yes ;;
        --clean) clean=yes ;;
        --native) native=yes ;;
        --stop) stop=yes ;;
        -h | --help) usage && exit 0 ;;
        *)
            printf 'deploy.sh: unknown argument %s\n\n' "$argument" >&2
            usage >&2
            exit 2
            ;;
    esac
done

if [[ $stop == yes && ($clean == yes || $build == yes) ]]; then
    printf 'deploy.sh: --stop goes with neither --build nor --clean\n' >&2
    exit 2
fi

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

# Says how far a build is, from the end of its log: on a terminal in place, else twice a minute.
watch_build() {
    local line last='' seconds=0
    while sleep 1 && kill -0 "$$" 2>/dev/null; do
        ((++seconds % 30 == 0)) || [[ -t 1 ]] || continue
        line=$(tail -n 1 "$1" 2>/dev/null | cut -c 1-72)
        [[ -n $line && $line != "$last" ]] || continue
        last=$line
        if [[ -t 1 ]]; then printf '\r\033[K    %s' "$line"; else printf '    %s\n' "$line"; fi
    done
}

# Runs a build whose output goes to a file, and says how far it is. $1 the file, then the command.
watched_build() {
    local log=$1 watcher built=0
    shift
    : >"$log"
    watch_build "$log" &
    watcher=$!
    "$@" >"$log" 2>&1 || built=$?
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    [[ ! -t 1 ]] || printf '\r\033[K'
    [[ $built == 0 ]] || tail -n 30 "$log" >&2
    return "$built"
}

# Whether something of this machine listens at a port.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

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
    local log
    log=$(mktemp "${TMPDIR:-/tmp}/skos-build.XXXXXX")
    step "building the image $image (five to ten minutes the first time; $log has all of it)"
    # The agents' services have the same image, so one build does.
    SKOS_SOURCES=$wants watched_build "$log" docker compose --progress plain build coordinator \
        || fail "the image was not built; all of it is in $log"
    rm -f "$log"
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

# Before the long build: what listens at the ports that the containers are to have.
ports_are_free() {
    # Elsewhere nobody can tell from here, and what runs already has them by right.
    [[ -z ${DOCKER_HOST:-} && -z ${SKOS_BIND:-} && -z $(docker compose ps -q nats 2>/dev/null) ]] || return 0
    local port other
    for port in "${NATS_PORT:-4222}" "${NATS_MONITOR_PORT:-8222}"; do
        listens "$port" || continue
        other=$(native_paths && running_pid) || other=''
        [[ -z $other ]] || fail "SKOS runs here without containers (process $other) and has port $port;" \
            "first: ${asked:-}./deploy.sh --stop --native"
        fail "something listens at port $port already; NATS_PORT and NATS_MONITOR_PORT name others"
    done
}

# The storage watcher is shown what is mounted later, which needs a root that is not private.
private_root() {
    [[ -z ${SKOS_HOST_DIR:-} ]] && awk '$5 == "/" { kept = $7 } END { exit kept != "-" }' /proc/self/mountinfo
}

# Mistakes are better told before what runs is stopped. $@: how to call skos with the new settings.
settings_are_right() {
    local said
    said=$("$@" policy validate 2>&1) || {
        printf '%s\n' "$said" >&2
        fail "the settings are not valid, so nothing was started or stopped; what is wrong is above"
    }
}

deploy_containers() {
    local agents=(thermal-sentinel storage-watcher mesh-healer loop-breaker) services=() up=(up --detach --remove-orphans)
    if nats_is_here; then
        # As a container sees it, localhost is the container.
        export NATS_URL=
        services=(nats coordinator "${agents[@]}")
        ports_are_free
    else
        say "NATS_URL is on another machine: only this node's agents run here."
        services=("${agents[@]}")
        up+=(--no-deps "${agents[@]}")
    fi
    private_root && [[ -z ${DOCKER_HOST:-} && -z $(docker compose ps -q storage-watcher 2>/dev/null) ]] \
        && say "/ is mounted as private here, and Docker may refuse the storage watcher; if so:" \
            "\`mount --make-rshared /\` as root"
    build_image "${SKOS_IMAGE:-skos:local}"
    settings_are_right docker compose --progress quiet run --rm --no-deps -T coordinator
    step "starting the containers"
    docker compose --progress quiet "${up[@]}" || {
        private_root && say "/ is mounted as private here, and the storage watcher needs it shared:" \
            "\`mount --make-rshared /\` as root, and again after each boot; then ./deploy.sh once more."
        fail "the containers did not start; docker compose ps -a and docker compose logs tell more"
    }
    step "waiting until they are healthy"
    local began=$SECONDS
    if ! wait_for 180 all_healthy "${services[@]}"; then
        docker compose ps -a
        docker compose logs --no-color --tail 20 "${services[@]}"
        fail "not healthy within $((SECONDS - began)) s; the logs are above"
    fi
    docker compose ps --format 'table {{.Name}}\t{{.Status}}\t{{.Ports}}'
    local name=${COMPOSE_PROJECT_NAME:-skos} speaker=coordinator
    nats_is_here || speaker=thermal-sentinel
    node=$(docker exec "$name-thermal-sentinel" skos nodes --here | node_of) || true
    welcome "docker exec -i $name-$speaker skos" "$(docker compose port nats 8222 2>/dev/null || true)" \
        'docker compose logs -f'
}

# Says so and ends when there are no containers to stop or to remove.
containers_exist() {
    [[ -z $(docker compose ps -aq 2>/dev/null) ]] || return 0
    native_paths
    local other
    other=$(running_pid) && fail "SKOS runs here without containers (process $other):" \
        "${asked:-}./deploy.sh --$1 --native"
    say "There are no containers of SKOS here."
    return 1
}

stop_containers() {
    containers_exist stop || return 0
    step "stopping the containers of SKOS; what was throttled is restored, and all data stays"
    docker compose --progress quiet stop || fail "they did not stop; docker compose ps -a tells more"
    say "Stopped. ./deploy.sh starts it again."
}

clean_containers() {
    containers_exist clean || say "What they have left is removed all the same."
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
    step "building (five to ten minutes the first time; $state/build.log has all of it)"
    [[ $build == yes ]] && rm -rf .build/release/skos
    watched_build "$state/build.log" swift build -c release --product skos \
        || fail "the build failed; all of it is in $state/build.log"
}

# Stops what runs; a stop takes back every throttle. $1: what to say.
end_native() {
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
    # What it says is told from what an earlier one has said.
    local said=0 alive=0
    [[ ! -f $log ]] || said=$(stat -c %s "$log")
    step "starting skos ${what[*]}"
    # Of a session of its own, so that it outlives this terminal.
    setsid "$program" "${what[@]}" "${config[@]}" </dev/null >>"$log" 2>&1 &
    local pid=$!
    printf '%s\n' "$pid" >"$pidfile"
    step "waiting until it is healthy"
    for ((i = 0; i < 120; i++)); do
        if [[ ! -d /proc/$pid ]]; then
            tail -c "+$((said + 1))" "$log" | tail -n 10 >&2
            rm -f "$pidfile"
            fail "skos ${what[*]} ended; its last lines are above, all of them in $log"
        fi
        # Another NATS at the port might answer in its place, and it would be about to end.
        if native_healthy >/dev/null 2>&1 && ((++alive > 8)); then return; fi
        sleep 0.25
    done
    tail -c "+$((said + 1))" "$log" | tail -n 10 >&2
    fail "not healthy within 30 s; skos ${what[*]} goes on trying, its last lines are above ($log)"
}

deploy_native() {
    native_paths
    (umask 077 && mkdir -p "$state/bin") || fail "cannot make $state; SKOS_STATE_DIR names another directory"
    config=(--config "${SKOS_CONFIG:-$here/config.yaml}")
    if [[ -z ${NATS_URL:-} ]] && docker_answers && [[ -n $(docker compose ps -q nats 2>/dev/null) ]]; then
        fail "SKOS runs here in containers; first: ./deploy.sh --stop"
    fi
    install_packages
    build_native
    local new=.build/release/skos
    if running_pid >/dev/null && cmp -s "$new" "$program" && native_healthy >/dev/null 2>&1; then
        step "this version runs already and is healthy"
    else
        [[ ! -e ${config[1]} ]] || settings_are_right "$new" "${config[@]}"
        end_native "stopping the version that runs"
        install -m 755 "$new" "$program.new" && mv "$program.new" "$program"
        start_native
    fi
    say "Process $(running_pid), log $log"
    local port=${SKOS_MONITORING_PORT:-8222} monitoring=''
    if nats_is_here && [[ $port != 0 ]]; then monitoring=127.0.0.1:$port; fi
    node=$("$program" nodes --here "${config[@]}" | node_of) || true
    # What it was started with, so that `skos doctor` looks at the same.
    local skos="SKOS_CONFIG=${config[1]} SKOS_STATE_DIR=$state ${NATS_URL:+NATS_URL=$NATS_URL }$program"
    # The directory belongs to whoever deployed it.
    [[ $EUID != 0 || -z ${SUDO_USER:-} ]] || skos="sudo env $skos"
    welcome "$skos" "$monitoring" "tail -f $log"
}

stop_native() {
    native_paths
    running_pid >/dev/null || {
        say "Nothing of $state runs."
        return
    }
    end_native "stopping SKOS; what was throttled is restored, and all data stays in $state"
    say "Stopped. ${asked:-}./deploy.sh --native starts it again."
}

# Removes only what SKOS made: the directory may have been chosen for more than that.
clean_native() {
    native_paths
    step "stopping SKOS and removing its state in $state: streams, audit and journals"
    end_native "stopping the process"
    [[ -d $state ]] || {
        say "Nothing there."
        return
    }
    rm -rf "${state:?}"/{bin,nats,build.log,skos.log,skos.log.1,deploy.pid} "$state"/*.{journal,lock}
    rmdir "$state" 2>/dev/null || say "Kept what SKOS did not make: $(find "$state" -mindepth 1 -maxdepth 1 | head -5 | xargs)"
    say "Removed."
}

# --- What next ----------------------------------------------------------------------------------

# The node's name, from the table of `skos nodes`.
node_of() { awk 'NR == 2 { print $1 }'; }

# $1 how to call skos, $2 address of NATS' monitoring or nothing, $3 how to follow the log
welcome() {
    local again=${asked:-}./deploy.sh flag=${native_flag:-}
    cat <<TEXT

SKOS is up. Type:

  alias skos='$1'
  skos status
  skos doctor
  skos inject ${node:-NODE} --type storage --severity warning --value 85 --dry-run --wait

TEXT
    [[ -z $2 ]] || say "  open    http://$2/   NATS' own monitoring: jsz shows the streams, connz who is there"
    say "  follow  $3"
    say "  edit    ${config[1]:-${SKOS_CONFIG_DIR:-.}/config.yaml}; a saved edit applies within a second. local: says what it may delete"
    say "  stop    $again --stop$flag     (the data stays)"
    say "  remove  $again --clean$flag    (the audit goes, too)"
}

if [[ $native == no ]] && ! docker_answers; then
    say "Without containers: $(why_no_docker)."
    native=yes
fi
[[ $native == no ]] || native_flag=' --native'

if [[ $stop == yes ]]; then
    if [[ $native == yes ]]; then stop_native; else stop_containers; fi
    exit 0
fi
if [[ $clean == yes ]]; then
    if [[ $native == yes ]]; then clean_native; else clean_containers; fi
    [[ $build == yes ]] || exit 0
fi
if [[ $native == yes ]]; then deploy_native; else deploy_containers; fi
