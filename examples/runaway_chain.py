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
import uuid

import nats
from nats.errors import Error as NATSError


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
            return self.stop(
                "nobody listens on synthesis.in.>: config.yaml has no loop.relay (see examples/README.md)"
            )
        verdict = json.loads(message.data)
        self.stop(f"the relay drops it: {verdict.get('reason') or verdict.get('error')}")

    def stop(self, reason):
        if not self.done.done():
            self.done.set_result(reason)


async def run(options):
    url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
    try:
        client = await nats.connect(url, allow_reconnect=False)
    except (NATSError, OSError) as error:
        print(f"no NATS server at {url}: {error}", file=sys.stderr)
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
    try:
        print(await asyncio.wait_for(done, options.seconds))
    except asyncio.TimeoutError:
        print("the conversation has ended by itself")
    # What SKOS has told meanwhile.
    for _ in range(20):
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
