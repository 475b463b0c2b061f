"""Chains of messages that run away: stopped at their limit, and by the coordinator's own commands."""

import asyncio
import itertools
import json
import pathlib
import sys

from site_of_test import eventually, nats_servers, of_kind

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples/runaway_chain.py"
RUNAWAY = 10_000
# Messages that may pass beyond a limit.
SLACK = 20
DEPTH, ITERATIONS = 10, 100


class Chains:
    """A site with a coordinator and a loop agent, and everything that is said there."""

    def __init__(self, site):
        self.site = site

    @classmethod
    async def start(cls, site, cooldown, binary=None, relay=False, repeats=0):
        """`cooldown` is long where something must be found broken, short where its end is awaited."""
        chains = cls(site)
        # The like said again would be found before the limits that are tried here.
        loop = {
            "cooldown": cooldown, "stay_clear": "200ms",
            "limits": {"depth": DEPTH, "iterations": ITERATIONS, "repeats": repeats},
            # On a machine that stood still an incident ends before its command is executed; the next
            # one's comes soon.
            "actions": {
                "depth_exceeded": {"actions": ["circuit_break"], "cooldown": "1s"},
                "iterations_exceeded": ["reset_chain"],
            },
        }
        if relay:
            loop["relay"] = {"from": "synthesis.in.>", "to": "synthesis.>"}
        site.configure(top={"loop": json.dumps(loop)})
        await site.nats(binary)
        await site.coordinator()
        chains.client = await site.client()
        heartbeats = await chains.client.hear("skos.heartbeat.nova")
        chains.results = await chains.client.hear("skos.result.nova")
        chains.events = await chains.client.hear("skos.chain.*")
        chains.messages = await chains.client.hear("synthesis.*")
        agent = site.skos("agent", "loop", "--config", site.config)

        def listens():
            assert agent.code is None, f"the agent ended with {agent.code}"
            return any(
                beat["metadata"].get("shared") and beat["metadata"].get("watched")
                for beat in heartbeats.bodies())

        await eventually(listens, "the agent listens, and shares what is broken")
        return chains

    async def ask(self, chain, sender=None, to=None, **more):
        """Whether a message may be sent."""
        question = {"chain_id": chain, **more}
        if sender:
            question.update({"from": sender, "to": to})
        answer = await self.client.connection.request(
            "skos.chain.check", json.dumps(question).encode(), timeout=30)
        return json.loads(answer.data)

    async def say(self, chain, sender, to, subject=None, text="and so on"):
        body = {"chain_id": chain, "depth": 1, "from": sender, "to": to, "text": text}
        await self.client.publish(subject or f"synthesis.{to}", body)

    async def run_away(self, chain, ways, limit=RUNAWAY, pause=0):
        """Sends along the ways in turn, asks before each message, and stops when told to."""
        for number, (sender, to) in zip(range(limit), itertools.cycle(ways)):
            answer = await self.ask(chain, sender, to, depth=1)
            if not answer["allow"]:
                return number, answer
            await self.say(chain, sender, to)
            # An answer takes a while, in which what was said is heard.
            await asyncio.sleep(pause)
        raise AssertionError(f"nobody stopped {chain} in {limit} messages")

    def passed(self, chain):
        return [body for body in self.messages.bodies() if body.get("chain_id") == chain]

    async def counted(self, chain, least):
        """How many messages have passed, once those that were sent until now are here."""
        await eventually(
            lambda: len(self.passed(chain)) >= least, f"{least} messages of {chain} have passed")
        await self.client.connection.flush()
        # What has been read waits for its callback.
        await asyncio.sleep(0.01)
        return len(self.passed(chain))

    def told(self, chain):
        """State and reason of what was told of a chain, not of its pairs, oldest first."""
        return [
            (body["state"], body["reason"])
            for message, body in zip(self.events.all, map(read, self.events.all))
            if message.subject != "skos.chain.check" and body.get("chain_id") == chain
            and "pair" not in body
        ]

    async def acted(self, verdict, action, chain):
        """Waits for the coordinator's own command and for its end; gives the recorded decision."""

        async def is_done():
            decisions = of_kind(
                await self.site.audit(), "decision", verdict="dispatch", action=action)
            done = {
                result["action_id"]: result for result in self.results.bodies()
                if result["status"] == "done"
            }
            return next(
                (
                    (decision, done[decision["action_id"]]) for decision in decisions
                    if f":{chain}:" in decision["incident"] and decision["action_id"] in done
                ), None)

        decision, result = await eventually(is_done, f"{action} of {chain} is commanded and done")
        assert result["outcome"] == "succeeded", result
        alerts = [
            record["alert"] for record in of_kind(await self.site.audit(), "alert")
            if record.get("incident") == decision["incident"]
        ]
        assert alerts and alerts[0]["type"] == verdict, alerts
        assert alerts[0]["resource"] == chain, alerts
        assert all(guard["passed"] for guard in decision["guards"]), decision
        return decision

    async def recorded(self, decision):
        """Waits until the result of an action is in the audit, while its incident lasts."""

        async def is_recorded():
            return of_kind(
                await self.site.audit(), "result", action_id=decision["action_id"],
                status="done", outcome="succeeded")

        await eventually(is_recorded, f"the result of {decision['action_id']} is recorded")

    async def resolved(self):
        """Waits until every incident there was is resolved."""

        async def all_are():
            records = await self.site.audit()
            opened = {r["incident"] for r in of_kind(records, "alert", effect="opened")}
            closed = {r["incident"] for r in of_kind(records, "incident", change="resolved")}
            return opened and opened <= closed

        await eventually(all_are, "all incidents are resolved")


def read(message):
    try:
        return json.loads(message.data)
    except ValueError:
        return {}


async def example(chains, *words):
    """Runs examples/runaway_chain.py to its end; gives what it says."""
    process = chains.site.start(
        "example", sys.executable, EXAMPLE, "--limit", RUNAWAY, "--chain", "bad", "--run",
        "", *words)
    await eventually(lambda: process.code is not None, "the example has ended")
    assert process.code == 0, f"{process.code} {process.text}"
    return process.text


async def honest(chains, allowed, said):
    """A chain between the very agents that run away, from before that until after it."""
    for number in range(said, said + 4):
        answer = await chains.ask("honest", "writer", "critic")
        assert answer == allowed, answer
        await chains.say("honest", "writer", "critic", text=f"part {number} of the book")
        # Its messages are on the way for as long as the runaway's.
        await asyncio.sleep(0.05)


async def stop_asking(site, binary=None):
    chains = await Chains.start(site, "60s", binary)
    await honest(chains, {"allow": True}, 0)
    beside = asyncio.create_task(honest(chains, {"allow": True}, 4))
    text = await example(chains, "--ask")
    await beside
    assert f"is told no: depth {DEPTH + 1} is over {DEPTH}, until 2" in text, text
    assert f"skos says: open: depth {DEPTH + 1} is over {DEPTH}" in text, text
    # Its first message has depth 1.
    passed = await chains.counted("bad", DEPTH)
    assert DEPTH <= passed <= DEPTH + SLACK, passed
    await chains.recorded(await chains.acted("depth_exceeded", "circuit_break", "bad"))
    # It stays stopped, by its name and between its agents under any other.
    for sender, to in (("writer", "critic"), ("critic", "writer")):
        answer = await chains.ask("bad", sender, to)
        assert answer["allow"] is False and "until" in answer, answer
        answer = await chains.ask("bad-2", sender, to)
        assert "the pair critic–writer is broken" in answer.get("reason", ""), answer
    # Who was there before, and who is somewhere else, goes on.
    await honest(chains, {"allow": True}, 8)
    assert await chains.ask("other", "reader", "printer") == {"allow": True}
    assert await chains.counted("honest", 12) == 12 and not chains.told("honest")
    await site.verify()


async def test_runaway_that_asks_is_stopped_at_its_limit(site):
    await stop_asking(site)


async def test_newest_server_stops_a_runaway_that_asks_too(site):
    await stop_asking(site, nats_servers()[-1])


async def test_runaway_that_does_not_ask_is_stopped_by_the_relay(site):
    chains = await Chains.start(site, "60s", relay=True)
    text = await example(chains, "--relay")
    assert f"the relay drops it: depth {DEPTH + 1} is over {DEPTH}" in text, text
    passed = await chains.counted("bad", DEPTH)
    assert DEPTH <= passed <= DEPTH + SLACK, passed
    await chains.recorded(await chains.acted("depth_exceeded", "circuit_break", "bad"))

    # One that is told nothing and never looks: nobody answers, so there is no hop to count.
    for number in range(RUNAWAY):
        await chains.say("flood", "poller", "worker", "synthesis.in.worker")
        if number % 1000 == 0:
            await chains.say(
                "honest", "reader", "worker", "synthesis.in.worker", text=f"page {number}")
            await chains.client.connection.flush()
    await eventually(lambda: len(chains.passed("honest")) == 10, "the honest chain has passed")
    passed = await chains.counted("flood", ITERATIONS)
    assert ITERATIONS <= passed <= ITERATIONS + SLACK, passed
    await chains.recorded(await chains.acted("iterations_exceeded", "reset_chain", "flood"))
    # What came behind the end of the flood has passed the relay, and nothing of the flood since.
    await chains.say("honest", "reader", "worker", "synthesis.in.worker", text="the end")
    await eventually(lambda: len(chains.passed("honest")) == 11, "the last page has passed")
    assert len(chains.passed("flood")) == passed
    await eventually(lambda: chains.told("flood"), "it is told that the flood is stopped")
    assert chains.told("flood")[0] == (
        "open", f"iteration {ITERATIONS + 1} is over {ITERATIONS}"), chains.told("flood")
    assert {state for state, _ in chains.told("flood")} == {"open"}
    assert not chains.told("honest")
    await site.verify()


async def test_ping_pong_across_two_pairs_stays_broken(site):
    chains = await Chains.start(site, "60s")
    ways = [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")]
    await chains.say("old", "a", "b", text="begun in time")

    passed, answer = await chains.run_away("bad", ways)
    assert DEPTH <= passed <= DEPTH + SLACK, passed
    assert answer["reason"] == f"depth {DEPTH + 1} is over {DEPTH}", answer
    await chains.recorded(await chains.acted("depth_exceeded", "circuit_break", "bad"))
    for sender, to in ways:
        assert (await chains.ask("bad", sender, to))["allow"] is False
        answer = await chains.ask(f"bad-{sender}-{to}", sender, to)
        assert answer["allow"] is False and "the pair a–" in answer["reason"], answer
    assert await chains.ask("old", "a", "b") == {"allow": True}
    assert await chains.ask("new", "d", "e") == {"allow": True}
    await site.verify()


async def test_cycle_that_asks_under_new_names_is_stopped_between_its_agents(site):
    """No action is set up for a cycle; the loop agent does this by itself."""
    chains = await Chains.start(site, "60s", repeats=3)
    ways = [("a", "b"), ("b", "a")]
    await chains.say("old", "a", "b", text="begun in time")
    passed, _ = await chains.run_away("bad", ways, pause=0.05)
    assert passed <= SLACK, passed
    await eventually(lambda: chains.told("bad"), "it is told that the cycle is stopped")

    # Whoever is told no begins again under a new name, without end.
    sent = [(await chains.run_away(f"run-{number}", ways, pause=0.05))[0] for number in range(20)]
    assert sum(sent) <= SLACK and sent[-5:] == [0] * 5, sent
    answer = await chains.ask("run-20", "a", "b")
    assert "the pair a–b is broken because of chain" in answer["reason"], answer
    assert await chains.ask("old", "a", "b") == {"allow": True}
    assert await chains.ask("new", "b", "a", text="here is the bill") == {"allow": True}
    await site.verify()


async def test_question_says_it_in_headers_too(site):
    chains = await Chains.start(site, "60s")
    for payload, headers in (
        (b"", {"Skos-Chain-Id": "h", "Skos-Depth": str(DEPTH + 1)}),
        (b'{"chain_id":"j"}', {"Skos-Depth": str(DEPTH + 1)}),
    ):
        answer = await chains.client.connection.request(
            "skos.chain.check", payload, timeout=30, headers=headers)
        assert json.loads(answer.data)["reason"] == f"depth {DEPTH + 1} is over {DEPTH}", answer
    # What comes after an empty header cannot be read.
    answer = await chains.client.connection.request(
        "skos.chain.check", b'{"chain_id":"e"}', timeout=30, headers={"A": "", "Skos-Depth": "99"})
    assert "leave that header out" in json.loads(answer.data)["error"], answer


async def test_broken_chain_closes_after_one_calm_trial(site):
    chains = await Chains.start(site, "2s")
    ways = [("writer", "critic"), ("critic", "writer")]
    await chains.run_away("bad", ways)
    await chains.acted("depth_exceeded", "circuit_break", "bad")
    answers = []

    async def passes():
        answers.append(await chains.ask("bad", "writer", "critic"))
        return answers[-1]["allow"]

    await eventually(passes, "the trial passes")
    assert answers[-1] == {"allow": True, "trial": True}, answers
    assert all(answer["until"] for answer in answers[:-1]), answers
    await chains.say("bad", "writer", "critic")
    await eventually(lambda: chains.told("bad")[-1][0] == "closed", "the chain is closed")
    states = [state for state, _ in chains.told("bad")]
    # Found open, broken by the coordinator, tried once, closed.
    assert set(states[:-2]) == {"open"} and states[-2:] == ["half_open", "closed"], states
    await chains.resolved()
    # It begins anew, with all of its hops.
    passed, _ = await chains.run_away("bad", ways)
    assert passed >= DEPTH, passed
    await site.verify()


async def test_broken_chain_that_runs_on_is_opened_again(site):
    """It never stops sending to the relay; of each trial one message comes through."""
    chains = await Chains.start(site, "2s", relay=True)

    async def runs_on():
        for number in itertools.count():
            sender, to = ("critic", "writer") if number % 2 else ("writer", "critic")
            await chains.say("bad", sender, to, f"synthesis.in.{to}")
            await asyncio.sleep(0.01)

    running = asyncio.create_task(runs_on())
    try:
        await chains.acted("depth_exceeded", "circuit_break", "bad")

        def reopened():
            return chains.told("bad").count(
                ("open", "the trial failed: the chain ran on at once")) >= 2

        await eventually(reopened, "two trials have failed")
    finally:
        running.cancel()
    states = [state for state, _ in chains.told("bad")]
    passed = len(chains.passed("bad"))
    # On a machine that stood still for the time of a trial it was calm, and the chain began anew.
    most = DEPTH * (1 + states.count("closed")) + states.count("half_open") + SLACK
    assert passed <= most, f"{passed} passed, {most} at most: {states}"
    # Nobody sends any more, so it calms down.
    await chains.resolved()
    await site.verify()
