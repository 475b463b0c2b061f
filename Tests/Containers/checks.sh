# shellcheck shell=bash
# Helpers of the scripted test layers. One line of output per check, which test.sh counts:
#     ok - what holds
#     not ok - what does not
#     skip - what was not tried: why

# How long anything may take that the machine does at once when it has nothing else to do, in tries of
# half a second each.
PATIENCE=120

# Runs a command; what it says is shown only when it fails.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok - %s\n' "$name"
    else
        printf 'not ok - %s\n' "$name"
        printf '    command: %s\n' "$*"
        printf '%s\n' "$output" | tail -n 40 | sed 's/^/    /'
        failures=$((${failures:-0} + 1))
        return 1
    fi
}

# As check, for what the rest cannot do without.
must() {
    check "$@" || {
        printf 'not ok - the rest of this layer, which needs that\n'
        exit 1
    }
}

skip() { printf 'skip - %s: %s\n' "$1" "$2"; }

# Waits until a command succeeds.
eventually() {
    local try
    for ((try = 0; try < PATIENCE; try++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.5
    done
    echo "did not come true: $*"
    "$@"
}

# Whether a file holds exactly this line.
holds() { [[ $(<"$1") == "$2" ]] || { echo "$1 holds $(<"$1"), not $2" && false; }; }

# A port of the loopback interface that nobody listens on at the moment.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A machine at 60 degrees with one processor's sensor and one frequency policy, as /sys below $1.
# Everybody may write it: the tests that change it and the agent that throttles it may be different users.
make_machine() {
    local sys=$1 sensor policy
    sensor=$sys/devices/platform/coretemp.0/hwmon/hwmon3
    policy=$sys/devices/system/cpu/cpufreq/policy0
    mkdir -p "$sensor" "$policy" "$sys"/class/{hwmon,thermal} "$sys"/devices/virtual "$sys/fs/cgroup"
    ln -s ../../devices/platform/coretemp.0/hwmon/hwmon3 "$sys/class/hwmon/hwmon3"
    ln -s ../../../coretemp.0 "$sensor/device"
    echo coretemp >"$sensor/name"
    echo 'Package id 0' >"$sensor/temp1_label"
    echo 60000 >"$sensor/temp1_input"
    echo 100000 >"$sensor/temp1_crit"
    echo 3800000 >"$policy/cpuinfo_max_freq"
    echo 800000 >"$policy/cpuinfo_min_freq"
    echo 3800000 >"$policy/scaling_max_freq"
    echo 0-3 >"$sys/devices/system/cpu/online"
    chmod -R a+rwX "$sys"
    # shellcheck disable=SC2034 # for the scripts that source this
    temperature=$sensor/temp1_input
    # shellcheck disable=SC2034
    knob=$policy/scaling_max_freq
}

# A machine's files below $1, for what watches and cleans disks: /tmp is a file system of its own, of 16 MiB,
# where this may be mounted. The table of mounts names it as the machine would.
make_disk() {
    local host=$1 device
    mkdir -p "$host"/{tmp,var/tmp,var/log,proc/1/fd}
    if ((EUID == 0)) && mount -t tmpfs -o size=16m,mode=1777 tmpfs "$host/tmp" 2>/dev/null; then
        device=$(mountpoint -d "$host/tmp")
        printf '31 22 %s / /tmp rw,relatime shared:1 - tmpfs tmpfs rw,size=16384k\n' "$device" >"$host/proc/1/mountinfo"
    else
        : >"$host/proc/1/mountinfo"
    fi
    printf 'Name:\tinit\nUid:\t0\t0\t0\t0\n' >"$host/proc/1/status"
}
