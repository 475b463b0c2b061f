"""Kills a throttled agent with signal 9: what it did ends with its lease, as soon as an agent is there."""

import asyncio

from site_of_test import eventually, of_kind

# Seconds of a lease: long enough that a busy machine renews it in time.
LEASE = 5


async def throttled(site):
    """A node that has been throttled, with its coordinator and its agent."""
    site.configure(lease=f"{LEASE}s")
    await site.nats()
    coordinator = await site.coordinator()
    agent = await site.agent()
    site.machine.celsius = 88
    await eventually(lambda: site.machine.is_throttled, "the knob is at half")

    async def is_recorded():
        return of_kind(await site.audit(), "result", status="done")

    await eventually(is_recorded, "the result is recorded")
    return coordinator, agent


async def test_killed_agent_starts_after_the_lease_and_frees_the_node(site):
    coordinator, agent = await throttled(site)
    # Nobody commands, and no server is there: what follows is the node's own doing.
    coordinator.kill()
    agent.kill()
    for process in site.processes:
        if process.name == "nats-server":
            process.kill()
    await asyncio.sleep(LEASE + 0.5)
    # Without a process nothing can be taken back: that is what a supervisor is for.
    assert site.machine.is_throttled
    site.skos("agent", "thermal", "--config", site.config, name="restarted")
    await eventually(lambda: site.machine.is_free, "the knob has its old bytes")


async def test_killed_agent_starts_at_once_and_frees_the_node_with_the_lease(site):
    coordinator, agent = await throttled(site)
    coordinator.kill()
    agent.kill()
    restarted = site.skos("agent", "thermal", "--config", site.config, name="restarted")
    await eventually(lambda: site.machine.is_free, "the knob has its old bytes")
    assert restarted.code is None
    # Once, and it stays so although the processor is still hot: nobody asks for more.
    await asyncio.sleep(0.5)
    assert site.machine.is_free


async def test_killed_agent_goes_on_under_its_coordinator(site):
    """The agent is away for longer than its lease, while its coordinator is there all the time."""
    _, agent = await throttled(site)
    agent.kill()
    await asyncio.sleep(LEASE + 0.5)
    assert site.machine.is_throttled
    # The symptom has gone meanwhile.
    site.machine.celsius = 60
    site.skos("agent", "thermal", "--config", site.config, name="restarted")
    await eventually(lambda: site.machine.is_free, "the knob has its old bytes")

    async def is_over():
        records = await site.audit()
        return of_kind(records, "incident", change="resolved") and of_kind(
            records, "result", status="undone")

    await eventually(is_over, "the incident is resolved, and the undo on record")
    records = await site.verify()
    assert len(of_kind(records, "decision", verdict="dispatch")) == 1, records
    assert site.machine.is_free
