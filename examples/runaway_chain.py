#!/usr/bin/env python3
"""Two agents that answer each other for ever, and what the loop breaker makes of it.

A writer and a critic pass a text to and fro on `synthesis.<name>`. Neither is ever content, and both
always claim to be one hop from the start, as a program does that never counts. Each run has a pair of its
own, since what an earlier one has broken stays broken for a while.

    runaway_chain.py            they just send: SKOS sees it, says so, and cannot hold them
    runaway_chain.py --ask      they ask `skos.chain.check` before each message, and stop when told to
    runaway_chain.py --relay    they send to `synthesis.in.<name>`; the relay passes on what may go on
                                (config.yaml: loop.relay)

Needs nats-py (`pip install nats-py`) and a running `skos agent loop`. NATS_URL names the server.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import uuid

import nats
from nats.errors import Error as NATSError

# Seconds without a message after which nothing more is to come.
QUIET = 3


class Agent:
    """One side of the conversation."""

    def __init__(self, client, role, peer, line, options, done):
        self.client, self.role, self.line = client, role, line
        # As a subject has it, and as SKOS knows it.
        mark = f"-{options.run}" if options.run else ""
        self.name, self.peer = role + mark, peer + mark
        self.options, self.done = options, done
        self.sent = 0

    async def start(self):
        await self.client.subscribe(f"synthesis.{self.name}", cb=self.hear)

    async def hear(self, message):
        if not self.done.done():
            await self.say()

    async def say(self):
        """Sends the next message, unless it is told not to."""
        envelope = {
            "chain_id": self.options.chain,
            "depth": 1,  # a claim that SKOS does not believe
            "from": self.name,
            "to": self.peer,
        }
        if self.options.ask and not await self.may_go_on(envelope):
            return
        if self.sent >= self.options.limit // 2:
            return self.stop(f"nobody stopped {self.role} in {self.options.limit} messages")
        self.sent += 1
        payload = json.dumps({**envelope, "text": f"{self.line} ({self.sent})"}).encode()
        if not self.options.relay:
            await self.client.publish(f"synthesis.{self.peer}", payload)
            return
        # The relay answers only when it does not pass the message on.
        await self.client.publish(
            f"synthesis.in.{self.peer}", payload, reply=f"synthesis_answers.{self.name}"
        )

    async def may_go_on(self, envelope):
        try:
            answer = await self.client.request(
                "skos.chain.check", json.dumps(envelope).encode(), timeout=5
            )
        except NATSError:
            self.stop("nobody answers on skos.chain.check: does a loop agent run?")
            return False
        verdict = json.loads(answer.data)
        if verdict["allow"]:
            return True
        reason = verdict.get("reason") or verdict.get("error")
        self.stop(f"{self.role} is told no: {reason}, until {verdict.get('until')}")
        return False

    async def refused(self, message):
        if (message.headers or {}).get("Status") == "503":
            return self.stop("nobody listens: does a loop agent run?")
        verdict = json.loads(message.data)
        self.stop(f"the relay drops it: {verdict.get('reason') or verdict.get('error')}")

    def stop(self, reason):
        if not self.done.done():
            self.done.set_result(reason)


async def run(options):
    url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
    errors = ["it does not answer"]

    async def on_error(error):
        errors.append(str(error))

    try:
        client = await asyncio.wait_for(nats.connect(url, error_cb=on_error), 5)
    except (NATSError, OSError, asyncio.TimeoutError):
        print(f"no NATS server at {url}: {errors[-1]}", file=sys.stderr)
        return 1
    done = asyncio.get_running_loop().create_future()
    events = []

    async def on_event(message):
        if message.subject != "skos.chain.check":
            events.append(json.loads(message.data))

    await client.subscribe("skos.chain.*", cb=on_event)
    writer = Agent(client, "writer", "critic", "here is a better draft", options, done)
    critic = Agent(client, "critic", "writer", "it can be better still", options, done)
    for agent in (writer, critic):
        await agent.start()
        await client.subscribe(f"synthesis_answers.{agent.name}", cb=agent.refused)
    await client.flush()
    await writer.say()
    print(await ending(done, writer, critic, options))
    # What SKOS has told meanwhile.
    for _ in range(300):
        if any(event["chain_id"] == options.chain for event in events):
            break
        await asyncio.sleep(0.1)
    print(f"messages sent: {writer.sent + critic.sent}")
    # The chain and its pair are told of one by one, and again when an action breaks them anew.
    told = []
    for event in events:
        news = f"{event['state']}: {event['reason']}"
        if event["chain_id"] == options.chain and news not in told:
            told.append(news)
            print(f"skos says: {news}, until {event['until']}")
    await client.close()
    return 0 if told else 1


async def ending(done, writer, critic, options):
    """Why the conversation is over: somebody was told to stop, or nothing is said any more."""
    end = time.monotonic() + options.seconds
    sent = 0
    while time.monotonic() < end:
        await asyncio.wait([done], timeout=QUIET)
        if done.done():
            return done.result()
        if writer.sent + critic.sent == sent:
            break
        sent = writer.sent + critic.sent
    else:
        return f"it went on for {options.seconds:g} s"
    if options.relay and critic.sent == 0:
        return "nothing came through the relay: has config.yaml a loop.relay? (examples/README.md)"
    return "the conversation has ended by itself"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--ask", action="store_true", help="ask before each message")
    way.add_argument("--relay", action="store_true", help="send through the relay")
    parser.add_argument("--chain", default=f"demo-{uuid.uuid4().hex[:8]}", help="the chain's id")
    parser.add_argument(
        "--run", default=uuid.uuid4().hex[:4], help="what sets the two apart from other pairs"
    )
    parser.add_argument("--limit", type=int, default=10_000, help="messages at most")
    parser.add_argument("--seconds", type=float, default=60, help="seconds at most")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
