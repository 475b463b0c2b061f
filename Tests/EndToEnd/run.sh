#!/usr/bin/env bash
# The program as users run it, against real NATS servers and machines made of files. One line for each test:
# "ok - NAME", "not ok - NAME" or "skip - NAME: WHY"; at the end "N passed, N failed, N skipped".
#
#   Tests/EndToEnd/run.sh [NAME …]     only tests whose name contains one of these
#
# SKOS_BINARY        the skos to test; default: the newest build in .build
# SKOS_NATS_SERVERS  nats-servers, joined by colons; default: the installed one. Most tests use the first.
# PYTHON             an interpreter that has nats-py; default: python3
# SKOS_TEST_JOBS     how many tests run at once; default: the number of processors
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
python=${PYTHON:-python3}

if [[ -z ${SKOS_BINARY:-} ]]; then
    for build in release debug; do
        found=$root/.build/$build/skos
        if [[ -x $found && (-z ${SKOS_BINARY:-} || $found -nt $SKOS_BINARY) ]]; then
            SKOS_BINARY=$found
        fi
    done
fi
if [[ ! -x ${SKOS_BINARY:-} ]]; then
    echo 'not ok - there is no skos to test: swift build -c release, or set SKOS_BINARY'
    echo '0 passed, 1 failed, 0 skipped'
    exit 1
fi
if ! "$python" -c 'import nats' 2>/dev/null; then
    echo "skip - everything: $python has no nats-py"
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
export SKOS_BINARY
# Nothing here may reach a fleet that the user's environment names.
unset NATS_URL NATS_CREDENTIALS NODE_NAME HEARTBEAT_INTERVAL HEARTBEAT_TIMEOUT MONITOR_INTERVAL \
    WARNING_TEMP CRITICAL_TEMP EMERGENCY_TEMP LOG_LEVEL LOG_FORMAT SKOS_CONFIG SKOS_STATE_DIR \
    SKOS_HOST_ROOT SKOS_NATS_SERVER SKOS_MONITORING_PORT
exec "$python" "$here/runner.py" "$@"
