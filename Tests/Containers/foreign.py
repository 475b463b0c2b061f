"""A client of SKOS that shares no code with it: nats-py, the bus and nothing else.

    foreign.py URL publish SUBJECT TEXT   publishes one message
    foreign.py URL alert NODE             publishes the alert of the README for NODE, and checks that a
                                          command, a result and audit records follow; then clears it,
                                          and checks that everything is taken back; prints all of it
    foreign.py URL heartbeats NODE COUNT  waits for that many heartbeats of NODE; prints them
    foreign.py URL chain                  asks whether a chain may go on, at depth 3 and at depth 11
    foreign.py URL runaway NODE           sends a chain of messages beyond the limit of its depth, and an honest
                                          one beside it; checks that the first is broken by a command,
                                          and the other is not
    foreign.py URL tamper                 tries to change the audit in every way that the JetStream API
                                          has; fails when one of them succeeds
"""

import asyncio
import datetime
import json
import sys

import nats
from nats.js.api import StreamConfig

AUDIT = "SKOS_AUDIT"
# How long anything may take that the machine does at once when it has nothing else to do.
PATIENCE = 30


def show(message):
    print(message.subject, message.data.decode(), flush=True)


async def quiet(_error):
    """What goes wrong on the connection shows in what does not arrive."""


def seed_alert(node, severity="critical"):
    """The alert of the message format, word for word; only the node and the time are today's."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "agent_id": f"thermal-sentinel-{node}",
        "type": "thermal",
        "severity": severity,
        "node": node,
        "message": "CPU temperature 87.5°C exceeds critical threshold",
        "details": {"sensor": "cpu", "temperature": 87.5, "threshold": 85},
        "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


async def publish(client, subject, text):
    await client.publish(subject, text.encode())
    await client.flush()


async def wait_for_all(seen, missing):
    """Shows messages until each of the named conditions has held for one of them."""
    while missing:
        try:
            message = await asyncio.wait_for(seen.get(), PATIENCE)
        except asyncio.TimeoutError:
            sys.exit(f"foreign.py: no trace of {', '.join(missing)}")
        try:
            body = json.loads(message.data)
        except ValueError:
            continue
        met = [name for name, holds in missing.items() if holds(message.subject, body)]
        if met or not message.subject.startswith("skos.heartbeat."):
            show(message)
        for name in met:
            del missing[name]


async def alert(client, node):
    seen = asyncio.Queue()
    await client.subscribe("skos.>", cb=seen.put)
    await client.subscribe(f"{AUDIT}.*", cb=seen.put)
    await client.flush()
    await publish(client, f"skos.alert.{node}", json.dumps(seed_alert(node)))

    def audited(kind):
        return lambda subject, body: subject == f"{AUDIT}.{kind}" and body["node"] == node

    def commanded(subject, body):
        return subject == f"skos.command.{node}" and body["action_type"] == "throttle_50"

    def answered(subject, body):
        return subject == f"skos.result.{node}" and body["status"] in ("done", "refused")

    await wait_for_all(
        seen,
        {
            "the command": commanded,
            "the result": answered,
            "the audit of the alert": audited("alert"),
            "the audit of the decision": audited("decision"),
            "the audit of the result": audited("result"),
        },
    )
    await publish(client, f"skos.alert.{node}", json.dumps(seed_alert(node, "ok")))
    await wait_for_all(
        seen,
        {
            "the end of the incident": lambda subject, _: subject == "skos.event.incident_resolved",
            "what was taken back": lambda subject, body: subject == f"skos.result.{node}"
            and body["status"] == "undone",
        },
    )


async def heartbeats(client, node, count):
    seen = asyncio.Queue()
    await client.subscribe(f"skos.heartbeat.{node}", cb=seen.put)
    for number in range(int(count)):
        await wait_for_all(seen, {f"heartbeat {number + 1}": lambda _, body: body["node"] == node})


async def chain(client):
    for depth, allowed in ((3, True), (11, False)):
        if await may_go_on(client, f"container-{depth}", depth) is not allowed:
            sys.exit(f"foreign.py: at depth {depth} the answer was not {allowed}")


async def may_go_on(client, chain_id, depth):
    question = json.dumps({"chain_id": chain_id, "depth": depth})
    answer = await client.request("skos.chain.check", question.encode(), timeout=PATIENCE)
    print(chain_id, depth, answer.data.decode(), flush=True)
    return json.loads(answer.data)["allow"]


async def runaway(client, node):
    seen = asyncio.Queue()
    await client.subscribe(f"skos.result.{node}", cb=seen.put)
    await client.flush()
    for depth in range(1, 15):
        for chain_id, limit in (("container-runaway", 14), ("container-honest", 5)):
            if depth <= limit:
                envelope = {"chain_id": chain_id, "depth": depth, "from": "a", "to": "b"}
                await publish(client, "synthesis.container", json.dumps(envelope))
    await wait_for_all(
        seen,
        {
            "the break": lambda _, body: body["action_type"] == "circuit_break"
            and body["status"] == "done"
        },
    )
    if await may_go_on(client, "container-runaway", 2):
        sys.exit("foreign.py: the runaway chain may go on")
    if not await may_go_on(client, "container-honest", 6):
        sys.exit("foreign.py: the honest chain may not go on")


async def tamper(client):
    # What is denied is not answered at all.
    stream = client.jetstream(timeout=1)
    reader = client.jetstream(timeout=PATIENCE)
    before = (await reader.stream_info(AUDIT)).state
    if not before.messages:
        sys.exit("foreign.py: the audit is empty, so nothing can be shown")
    shrunk = StreamConfig(name=AUDIT, subjects=[f"{AUDIT}.*"], max_msgs=1)
    attempts = {
        "deleting a record": lambda: stream.delete_msg(AUDIT, before.first_seq),
        "purging": lambda: stream.purge_stream(AUDIT),
        "shrinking": lambda: stream.update_stream(shrunk),
        "deleting the stream": lambda: stream.delete_stream(AUDIT),
    }
    succeeded = []
    for name, attempt in attempts.items():
        try:
            await attempt()
            succeeded.append(name)
        except nats.errors.Error as error:
            print(f"{name}: {error!r}")
    after = (await reader.stream_info(AUDIT)).state
    if succeeded or after.first_seq != before.first_seq or after.messages < before.messages:
        sys.exit(f"foreign.py: the audit was changed by {', '.join(succeeded) or 'somebody'}")


async def main(url, verb, *arguments):
    client = await nats.connect(url, name="foreign", error_cb=quiet, connect_timeout=5)
    verbs = {
        "publish": publish, "alert": alert, "heartbeats": heartbeats, "chain": chain,
        "runaway": runaway, "tamper": tamper,
    }
    try:
        await verbs[verb](client, *arguments)
    finally:
        await client.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
