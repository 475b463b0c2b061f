"""Kills the coordinator at every message between it and NATS, one run for each.

A proxy between the two counts protocol messages in both directions and kills the coordinator with
signal 9 at the n-th, before it is passed on; then the coordinator is started again, without the proxy's
interference. After every run there is exactly one execution, everything is taken back, and the chain holds.
"""

import asyncio
import re

from site_of_test import ForeignAgent, Site, Skip, eventually, free_port, nats_servers, of_kind

# Messages of the protocol that carry something; INFO, CONNECT, SUB, PING and the like are not counted.
LINE = re.compile(rb"^(PUB|HPUB|MSG|HMSG) ([^\r\n]*)\r\n", re.IGNORECASE)
# Runs at once. Each has a nats-server and a coordinator.
WIDTH = 6
# A walk that goes on longer than this does not end.
POINTS = 400


class Counter:
    """Counts the messages of all connections, and calls `reached` once: at the n-th, or at the first with a
    subject."""

    def __init__(self, point, reached):
        self.point = point
        self.reached = reached
        self.is_reached = False
        self.count = 0
        self.last = b""

    def see(self, line):
        if self.is_reached:
            return False
        self.count += 1
        self.last = line
        self.is_reached = self.point == self.count or (
            isinstance(self.point, str) and self.point.encode() in line)
        if self.is_reached:
            self.reached()
        return self.is_reached


class Direction:
    """Cuts one direction of a connection into lines and payloads."""

    def __init__(self, counter):
        self.counter = counter
        self.buffer = b""

    def feed(self, data):
        """What may pass; None when the coordinator has been killed instead."""
        self.buffer += data
        passed = b""
        while True:
            end = self.buffer.find(b"\r\n")
            if end < 0:
                return passed
            line = self.buffer[: end + 2]
            size = 0
            match = LINE.match(line)
            if match:
                # The last number is the size of all that follows: headers and payload.
                size = int(line.split()[-1]) + 2
            if len(self.buffer) < end + 2 + size:
                return passed
            if match and self.counter.see(line):
                return None
            passed += self.buffer[: end + 2 + size]
            self.buffer = self.buffer[end + 2 + size :]


class Proxy:
    """Passes connections on to NATS, until the counter says otherwise."""

    def __init__(self, target, counter):
        self.target = target
        self.counter = counter
        self.port = free_port()
        self.writers = []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()

    def cut(self):
        for writer in self.writers:
            writer.close()
        self.writers = []

    async def accept(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self.writers += [writer, far_writer]
        await asyncio.gather(
            self.pump(reader, far_writer), self.pump(far_reader, writer), return_exceptions=True)

    async def pump(self, reader, writer):
        direction = Direction(self.counter)
        try:
            while data := await reader.read(1 << 16):
                passed = direction.feed(data)
                if passed is None:
                    self.cut()
                    return
                writer.write(passed)
                await writer.drain()
        except (OSError, ConnectionError):
            pass
        finally:
            writer.close()


async def scenario(site, client, agent):
    """Alert, command, result, ok, undo: whoever asks again and again sees it come true."""
    await client.stored_alert("hot-1")
    await eventually(lambda: agent.executions, "the action is executed")

    async def is_verifying():
        return of_kind(await client.audit(), "result", status="done")

    await eventually(is_verifying, "the result is recorded")
    await client.stored_alert("cool-1", severity="ok")
    await eventually(lambda: agent.undone, "it is taken back")

    async def is_over():
        return of_kind(await client.audit(), "result", status="undone")

    await eventually(is_over, "the undo is recorded")


async def walk(point, server):
    """One run with a kill at a message, given by its number or subject; says at which, or None when it ended
    before."""
    site = Site(f"point {point}")
    async with site:
        try:
            return await attempt(site, point, server)
        except BaseException:
            site.keep()
            print(f"    kill at message {point}:\n{site.story()}", flush=True)
            raise


async def attempt(site, point, server):
    await site.nats(server)
    client = await site.client()
    agent = await ForeignAgent.start(client)
    victim = None
    killed = asyncio.Event()

    def kill():
        victim.kill()
        killed.set()

    counter = Counter(point, kill)
    async with Proxy(site.port, counter) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        victim = site.skos(
            "coordinator", "--config", site.config, name="victim", NATS_URL=url)

        async def revive():
            await killed.wait()
            site.skos("coordinator", "--config", site.config, name="successor")

        reviving = asyncio.create_task(revive())
        try:
            await scenario(site, client, agent)
        finally:
            reviving.cancel()
    assert list(agent.executions.values()) == [1], agent.executions
    assert set(agent.undone) == set(agent.executions)
    actions = {command["action_id"] for command in agent.commands}
    assert len(actions) == 1, actions
    records = await site.verify()
    for kind, fields in (
        ("alert", {"effect": "opened"}), ("alert", {"effect": "cleared"}),
        ("decision", {"verdict": "dispatch"}), ("decision", {"verdict": "undo"}),
        ("result", {"status": "done"}), ("result", {"status": "undone"}),
        ("incident", {"change": "resolved"}),
    ):
        found = of_kind(records, kind, **fields)
        assert len(found) == 1, f"{len(found)} records of {kind} {fields}"
    assert len(of_kind(records, "coordinator")) <= (2 if killed.is_set() else 1)
    return counter.last.decode(errors="replace").strip() if killed.is_set() else None


# Where a kill matters most.
SUBJECTS = (
    "SKOS_AUDIT.coordinator", "SKOS_AUDIT.alert", "SKOS_AUDIT.decision", "SKOS_AUDIT.result",
    "SKOS_AUDIT.incident", "skos.command.nova", "skos.result.nova", "skos.alert.nova",
    "PUB $JS.ACK.SKOS_ALERTS", "STREAM.CREATE.SKOS_AUDIT",
)


async def walk_some(points, server):
    """Several runs at once; what each was killed at."""
    results = await asyncio.gather(*(walk(p, server) for p in points), return_exceptions=True)
    for p, result in zip(points, results):
        if isinstance(result, BaseException):
            raise AssertionError(f"killed at message {p}: {result}") from result
    return results


async def walk_all(server):
    """Goes through all points."""
    killed = []
    for first in range(1, POINTS, WIDTH):
        results = await walk_some(range(first, first + WIDTH), server)
        killed += [result for result in results if result is not None]
        if results[-1] is None:
            break
    else:
        raise AssertionError("the walk does not end")
    # The order of messages differs a little from run to run, so that one of them may have been missed.
    seen = "\n".join(killed)
    missed = [subject for subject in SUBJECTS if subject not in seen]
    for subject, result in zip(missed, await walk_some(missed, server)):
        assert result and subject in result, f"no run was killed at {subject}:\n{seen}"


async def test_kill_at_every_message(_site):
    await walk_all(nats_servers()[0])


async def test_kill_at_every_message_on_the_newest_server(_site):
    servers = nats_servers()
    if len(servers) < 2:
        raise Skip("there is only one nats-server")
    await walk_all(servers[-1])


test_kill_at_every_message.weight = 2
test_kill_at_every_message_on_the_newest_server.weight = 1
