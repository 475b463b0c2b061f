"""The main job: a processor gets hot, is throttled, cools down, and everything is as before."""

from site_of_test import ForeignAgent, eventually, nats_servers, now_text, of_kind


async def heal(site):
    """88 °C, throttled; 60 °C, free; then the whole story as the audit and the verbs tell it."""
    machine = site.machine
    machine.celsius = 88
    await eventually(lambda: machine.is_throttled, "the knob is at half")

    async def count(kind, number, **fields):
        return len(of_kind(await site.audit(), kind, **fields)) >= number

    await eventually(lambda: count("result", 1), "the result is in the audit")
    machine.celsius = 60
    await eventually(lambda: machine.is_free, "the knob has its old bytes")
    await eventually(lambda: count("result", 2), "the undo is in the audit")
    records = await site.verify()
    story = [
        " ".join(
            record[name]
            for name in ("kind", "effect", "verdict", "change", "status", "outcome")
            if record.get(name)
        )
        for record in records
        if record["kind"] != "coordinator"
    ]
    assert story == [
        "alert opened", "decision dispatch", "result done succeeded", "alert cleared",
        "incident resolved", "decision undo", "result undone",
    ] or story == [
        "alert opened", "decision dispatch", "result done succeeded", "alert cleared",
        "incident resolved", "decision undo", "result undone succeeded",
    ], story
    alert = of_kind(records, "alert")[0]
    assert alert["alert"]["severity"] == "critical" and alert["alert"]["value"] == 88
    assert alert["actor"] == alert["alert"]["agent_id"]
    decision = of_kind(records, "decision")[0]
    assert decision["action"] == "throttle_50" and all(g["passed"] for g in decision["guards"])
    assert len({record["incident"] for record in records if "incident" in record}) == 1
    await explain(site, decision, alert)


async def explain(site, decision, alert):
    """The story can be had from each of its ends, and names what was done and why."""
    for identifier in (decision["incident"], decision["action_id"], alert["alert"]["id"], "nova"):
        code, out, err = await site.run("explain", identifier)
        assert code == 0, f"explain {identifier}: {code} {err}"
        assert "throttle_50" in out, out
        assert "88" in out, out
        assert "resolved" in out, out


async def test_hot_processor_is_throttled_and_freed(site):
    await site.nats()
    await site.coordinator()
    await site.agent()
    await heal(site)


async def test_skos_up_does_it_all(site):
    await up(site)
    await heal(site)


async def up(site):
    process = site.skos("up", "--config", site.config)

    def is_heard():
        assert process.code is None, f"skos up ended with {process.code}"
        return site.ask("nodes")

    async def knows():
        answer = await is_heard()
        return any(node["agents"] for node in answer.get("nodes", []))

    await eventually(knows, "the coordinator has heard of the agent")
    return process


async def test_newest_server_does_it_too(site):
    await site.nats(nats_servers()[-1])
    await site.coordinator()
    await site.agent()
    await heal(site)


async def test_foreign_client_sees_it_all(site):
    """The alert of the message format, published by hand; only its time is today's."""
    await site.nats()
    await site.coordinator()
    await site.agent()
    client = await site.client()
    commands = await client.hear("skos.command.nova")
    results = await client.hear("skos.result.nova")
    records = await client.hear("SKOS_AUDIT.*")
    await client.publish(
        "skos.alert.nova",
        {
            "agent_id": "thermal-sentinel-nova",
            "type": "thermal",
            "severity": "critical",
            "node": "nova",
            "message": "CPU temperature 87.5°C exceeds critical threshold",
            "details": {"sensor": "cpu", "temperature": 87.5, "threshold": 85},
            "timestamp": now_text(),
        })
    await eventually(lambda: results.bodies(), "there is a result")
    await eventually(lambda: commands.bodies(), "the command is heard here, too")
    command = commands.bodies()[0]
    assert command["action_type"] == "throttle_50" and command["node"] == "nova"
    await eventually(
        lambda: any(r.get("status") == "done" for r in results.bodies()), "the result is final")
    done = next(r for r in results.bodies() if r.get("status") == "done")
    assert done["action_id"] == command["action_id"] and done["outcome"] == "succeeded"
    await eventually(
        lambda: {r["kind"] for r in records.bodies()} >= {"alert", "decision", "result"},
        "each step has its record")
    await eventually(lambda: site.machine.is_throttled, "the knob is at half")
    await site.verify()


async def test_inject_is_the_same_as_by_hand(site):
    await site.nats()
    await site.coordinator()
    await site.agent()
    client = await site.client()
    commands = await client.hear("skos.command.nova")
    code, out, err = await site.run(
        "inject", "nova", "--type", "thermal", "--severity", "critical", "--dry-run")
    assert code == 0, f"{code} {out} {err}"
    await eventually(lambda: commands.bodies(), "there is a command")
    assert commands.bodies()[0]["dry_run"] is True
    assert site.machine.is_free


async def test_burst_of_2000_nodes_is_healed_once_each(site):
    await site.nats()
    await site.coordinator(LOG_LEVEL="warning")
    agent = await ForeignAgent.start(await site.client())
    client = await site.client()
    count = 2000
    for index in range(count):
        await client.publish(
            f"skos.alert.n-{index}", b'{"type":"thermal","severity":"critical"}')
        if index % 200 == 199:
            await client.connection.flush()
    await eventually(lambda: len(agent.executions) == count, "all are executed")

    async def recorded():
        # The server counts; reading so many records again and again takes time from the coordinator.
        info = await client.connection.jetstream(timeout=30).stream_info(
            "SKOS_AUDIT", subjects_filter="SKOS_AUDIT.result")
        return (info.state.subjects or {}).get("SKOS_AUDIT.result") == count

    await eventually(recorded, "all results are recorded")
    assert {identifier.split(":")[0] for identifier in agent.executions} == {
        f"n-{index}" for index in range(count)}
    records = await site.verify()
    assert len(of_kind(records, "decision", verdict="dispatch")) == count
    assert len(of_kind(records, "result", status="done")) == count
    nodes = (await site.json("incidents"))["incidents"]
    assert len(nodes) == count, len(nodes)
