"""Edits of config.yaml while everything runs."""

import json

from site_of_test import eventually, of_kind


async def start(site):
    await site.nats()
    await site.coordinator()
    agent = await site.agent()
    client = await site.client()
    return agent, await client.hear("skos.alert.nova")


async def fingerprint(site):
    return (await site.ask("status")).get("config", {}).get("fingerprint")


async def test_lower_threshold_counts_from_the_next_sample(site):
    agent, alerts = await start(site)
    site.machine.celsius = 72
    before = await fingerprint(site)
    await eventually(lambda: site.ask("status"), "the coordinator answers")
    assert not alerts.all, "72 °C is below all thresholds"
    site.configure(thresholds={"warning": 65, "critical": 70, "emergency": 95})

    async def is_applied():
        return await fingerprint(site) != before

    await eventually(is_applied, "the coordinator has applied the edit")
    await eventually(lambda: alerts.bodies(), "there is an alert")
    alert = alerts.bodies()[0]
    assert alert["severity"] == "critical" and alert["value"] == 72, alert
    assert alert["threshold"] == 70, alert
    await eventually(lambda: site.machine.is_throttled, "the knob is at half")
    records = await site.verify()
    assert of_kind(records, "config", change="applied"), records
    assert agent.code is None


async def test_edit_below_warning_is_refused_with_its_line(site):
    agent, alerts = await start(site)
    before = await fingerprint(site)
    site.configure(thresholds={"warning": 75, "critical": 60, "emergency": 95})
    place = None
    for number, line in enumerate(site.config.read_text().splitlines(), 1):
        if "critical" in line:
            place = f"config.yaml:{number}:"
    refusal = {}

    async def is_refused():
        refusal.update((await site.ask("status")).get("config", {}))
        return "refused" in refusal

    await eventually(is_refused, "the coordinator has refused the edit")
    assert place in refusal["refused"] and "warning (75)" in refusal["refused"], refusal
    assert refusal["fingerprint"] == before
    # Each of the two says so in its log, and people who ask hear of it.
    coordinator = next(p for p in site.processes if p.name == "coordinator")
    for process in (coordinator, agent):
        await eventually(lambda p=process: place in p.text, f"{process.name} has said so")
    code, out, err = await site.run("status")
    assert code == 0 and place in out, out + err
    # What was in force still is: 88 °C is critical, 72 °C nothing.
    site.machine.celsius = 72
    site.machine.celsius = 88
    await eventually(lambda: site.machine.is_throttled, "the knob is at half")
    await eventually(lambda: alerts.bodies(), "the alert is heard here, too")
    assert alerts.bodies()[0]["threshold"] == 85, alerts.bodies()
    records = await site.verify()
    refused = of_kind(records, "config", change="refused")
    assert len(refused) == 1 and place in refused[0]["reason"], refused
    # The next good edit applies.
    site.configure(thresholds={"warning": 75, "critical": 86, "emergency": 95})

    async def is_mended():
        config = (await site.ask("status")).get("config", {})
        return "refused" not in config and config.get("fingerprint") != before

    await eventually(is_mended, "the next edit is in force")


async def test_rubbish_in_the_file_changes_nothing(site):
    await start(site)
    before = await fingerprint(site)
    good = site.config.read_bytes()
    bombs = [
        b"\x00\xff" * 1000,
        b"thermal: {thresholds: {warning: 75, warning: 76}}\n",
        b"thermal:\n\tthresholds: {}\n",
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"a%d: &a%d [*a%s]\n" % (n, n, b",*a" * 9 if n == 0 else b"%d,*a%d" % (n - 1, n - 1))
            for n in range(1, 9)),
        b"x" * (5 << 20),
        b"",
    ]
    for bomb in bombs[:-1]:
        site.config.write_bytes(bomb)

        async def is_refused():
            return "refused" in (await site.ask("status")).get("config", {})

        await eventually(is_refused, f"{bomb[:40]} is refused")
        assert await fingerprint(site) == before
        site.config.write_bytes(good)

        async def is_good():
            return "refused" not in (await site.ask("status")).get("config", {})

        await eventually(is_good, "the good file is in force again")
    site.machine.celsius = 88
    await eventually(lambda: site.machine.is_throttled, "the knob is at half")
    json.dumps(await site.verify())
