"""What a test needs: a directory, a machine made of files, servers, the program, and a foreign client."""

import asyncio
import ctypes
import datetime
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import nats

SKOS = os.environ["SKOS_BINARY"]
# Seconds that anything may take which takes milliseconds on an idle machine.
PATIENCE = 180
GENESIS = "0" * 64


class Skip(Exception):
    """A test cannot run here, for this reason."""


def nats_servers():
    """The servers to test against, the first of them for most tests."""
    named = [path for path in os.environ.get("SKOS_NATS_SERVERS", "").split(":") if path]
    found = shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin")
    servers = named or ([found] if found else [])
    if not servers:
        raise Skip("there is no nats-server")
    return servers


# A port is not given twice, and those that the system gives to clients (from 32768 on) are left alone.
_next_port = 12000 + os.getpid() * 53 % 18000


def free_port():
    """A port of the loopback interface that nobody listens on."""
    global _next_port
    while True:
        _next_port = _next_port + 1 if _next_port < 31000 else 12000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", _next_port))
                return _next_port
            except OSError:
                continue


def die_with_parent():
    """The kernel ends the process when this one dies, whatever it dies of."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


async def eventually(condition, what):
    """Waits until a condition is true, and gives its value; fails with `what` is missing."""
    deadline = time.monotonic() + PATIENCE
    pause = 0.005
    while True:
        value = condition()
        if inspect_awaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"it did not come true that {what}"
        # Asking takes time from those who are asked.
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def inspect_awaitable(value):
    return asyncio.iscoroutine(value) or asyncio.isfuture(value)


def now_text(offset=0):
    """The present time as messages carry it."""
    time_ = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset)
    return time_.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Machine:
    """A machine at 60 °C with one processor's sensor and one frequency policy, as files below /sys."""

    FREE = b"3800000\n"

    def __init__(self, root):
        self.root = root
        sys = root / "sys"
        sensor = sys / "devices/platform/coretemp.0/hwmon/hwmon3"
        policy = sys / "devices/system/cpu/cpufreq/policy0"
        for folder in (
            sensor, policy, sys / "class/hwmon", sys / "class/thermal", sys / "devices/virtual",
            sys / "fs/cgroup",
        ):
            folder.mkdir(parents=True)
        (sys / "class/hwmon/hwmon3").symlink_to("../../devices/platform/coretemp.0/hwmon/hwmon3")
        (sensor / "device").symlink_to("../../../coretemp.0")
        (sensor / "name").write_text("coretemp\n")
        (sensor / "temp1_label").write_text("Package id 0\n")
        (sensor / "temp1_crit").write_text("100000\n")
        (policy / "cpuinfo_max_freq").write_text("3800000\n")
        (policy / "cpuinfo_min_freq").write_text("800000\n")
        (sys / "devices/system/cpu/online").write_text("0-3\n")
        self.sensor = sensor / "temp1_input"
        self.knob = policy / "scaling_max_freq"
        self.knob.write_bytes(self.FREE)
        self.celsius = 60

    @property
    def celsius(self):
        return int(self.sensor.read_text()) / 1000

    @celsius.setter
    def celsius(self, value):
        # In one step, as a sensor's file changes.
        fresh = self.sensor.with_name(".fresh")
        fresh.write_text(f"{int(value * 1000)}\n")
        fresh.rename(self.sensor)

    @property
    def is_throttled(self):
        return self.knob.read_bytes().strip() == b"1900000"

    @property
    def is_free(self):
        return self.knob.read_bytes() == self.FREE


class Process:
    """A process of the site, with what it has written."""

    def __init__(self, site, name, words, environment):
        self.name = name
        self.log = site.path / f"{name}.log"
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, cwd=site.path, preexec_fn=die_with_parent)

    @property
    def pid(self):
        return self.popen.pid

    @property
    def code(self):
        """The exit code; None while it runs."""
        return self.popen.poll()

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        """Ends it at once, with no chance to say anything."""
        self.popen.kill()
        self.popen.wait()

    def freeze(self):
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.popen.send_signal(signal.SIGCONT)

    async def stop(self):
        """Asks it to end, and waits for it; gives the exit code."""
        self.popen.terminate()
        await eventually(lambda: self.code is not None, f"{self.name} ends after SIGTERM")
        return self.code


class Site:
    """Everything of one test. What it has started ends with it."""

    def __init__(self, name):
        self.name = name
        self.path = None
        self.processes = []
        self.clients = []
        self.port = free_port()
        self.is_kept = False

    async def __aenter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="skos-e2e-"))
        self.machine = Machine(self.path / "host")
        self.config = self.path / "config.yaml"
        self.configure()
        return self

    async def __aexit__(self, *_):
        for client in self.clients:
            try:
                await asyncio.wait_for(client.close(), 5)
            except Exception:
                pass
        for process in self.processes:
            if process.code is None:
                process.kill()
        if not self.is_kept:
            shutil.rmtree(self.path, ignore_errors=True)

    def keep(self):
        """Leaves the directory for whoever looks for the fault."""
        self.is_kept = True

    def story(self):
        """The end of what each process has written."""
        text = f"kept: {self.path}\n"
        for process in self.processes:
            if process.log.exists():
                lines = process.text.splitlines()[-40:]
                text += f"--- {process.name} ({process.code})\n" + "\n".join(lines) + "\n"
        return text

    # --- Configuration ---------------------------------------------------------------------------

    SETTINGS = {
        "thresholds": {"warning": 75, "critical": 85, "emergency": 95},
        "cooldown": "100ms", "deadline": "30s", "verify": "60s", "stay_clear": "200ms",
        "lease": "60s",
    }

    def configure(self, top=None, **thermal):
        """Writes config.yaml; the arguments replace settings of the thermal section."""
        settings = {**self.SETTINGS, **thermal}
        lines = ["version: 1", *(f"{name}: {value}" for name, value in (top or {}).items())]
        lines += ["thermal:"]
        for name, value in settings.items():
            if isinstance(value, dict):
                lines.append(f"  {name}:")
                lines += [f"    {inner}: {json.dumps(item)}" for inner, item in value.items()]
            else:
                lines.append(f"  {name}: {value}")
        fresh = self.path / "config.yaml.fresh"
        fresh.write_text("\n".join(lines) + "\n")
        fresh.rename(self.config)

    # --- Processes -------------------------------------------------------------------------------

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def environment(self, **more):
        environment = {
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin", "HOME": str(self.path),
            "NATS_URL": self.url, "NODE_NAME": "nova", "MONITOR_INTERVAL": "0.1",
            "HEARTBEAT_INTERVAL": "0.5", "SKOS_HOST_ROOT": str(self.machine.root),
            "SKOS_STATE_DIR": str(self.path / "state"), "SKOS_CONFIG": str(self.config),
            "SKOS_NATS_SERVER": nats_servers()[0], "SKOS_MONITORING_PORT": "0",
        }
        environment.update(more)
        return environment

    def start(self, name, *words, **environment):
        process = Process(self, name, words, self.environment(**environment))
        self.processes.append(process)
        return process

    def skos(self, *words, name=None, **environment):
        """Starts the program."""
        return self.start(name or words[0], SKOS, *words, **environment)

    async def nats(self, binary=None, name="nats-server"):
        """Starts a server on this site's port and store, and waits until it takes clients."""
        conf = self.path / "nats.conf"
        conf.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.path}/store", max_mem: 256M, max_file: 4G }}\n')
        process = self.start(name, binary or nats_servers()[0], "-c", conf)
        await eventually(lambda: self.is_greeted(process), "nats-server takes clients")
        return process

    def is_greeted(self, process):
        assert process.code is None, f"nats-server ended: {process.text}"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                return probe.recv(1) == b"I"
        except OSError:
            return False

    async def coordinator(self, name="coordinator", **environment):
        """Starts a coordinator and waits until it acts."""
        before = await self.term()
        process = self.skos("coordinator", "--config", self.config, name=name, **environment)
        await self.acts(process, before)
        return process

    async def acts(self, process, before):
        """Waits until a later term than `before` has begun."""

        async def is_acting():
            assert process.code is None, f"{process.name} ended with {process.code}"
            return await self.term() > before

        await eventually(is_acting, f"{process.name} acts")

    async def term(self):
        """The term of the coordinator that answers; 0 when nobody does."""
        return (await self.ask("status", timeout=1)).get("epoch") or 0

    async def agent(self, name="agent", **environment):
        """Starts the thermal agent and waits for its first heartbeat."""
        client = await self.client()
        heartbeats = await client.hear("skos.heartbeat.nova")
        process = self.skos("agent", "thermal", "--config", self.config, name=name, **environment)
        await eventually(lambda: heartbeats.all, "the agent's heart beats")
        return process

    async def run(self, *words, **environment):
        """Runs the program to its end: exit code, what it says, what it complains about."""
        process = await asyncio.create_subprocess_exec(
            SKOS, *map(str, words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.environment(**environment), cwd=self.path,
            preexec_fn=die_with_parent)
        try:
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        except asyncio.TimeoutError:
            process.kill()
            raise AssertionError(f"skos {' '.join(map(str, words))} does not end")
        return process.returncode, out.decode(), err.decode()

    async def json(self, *words):
        """Runs an operator's verb and reads its JSON."""
        code, out, err = await self.run(*words, "-o", "json")
        assert code == 0, f"skos {words}: {code} {err}"
        return json.loads(out)

    # --- The foreign client ----------------------------------------------------------------------

    async def client(self, port=None):
        client = await Client.connect(f"nats://127.0.0.1:{port or self.port}")
        self.clients.append(client)
        return client

    async def ask(self, verb, parameters=None, timeout=5):
        """Asks skos.api.<verb>; nothing when nobody answers."""
        try:
            client = await self.client()
            try:
                return await client.ask(verb, parameters, timeout)
            finally:
                self.clients.remove(client)
                await client.close()
        except Exception:
            return {}

    async def audit(self):
        """All records of the audit, its chain checked by hand: nothing of SKOS has a part in that."""
        client = await self.client()
        try:
            return await client.audit()
        finally:
            self.clients.remove(client)
            await client.close()

    async def verify(self):
        """Expects that the chain holds, by `skos audit verify` and by hand; gives the records."""
        code, out, err = await self.run("audit", "verify")
        assert code == 0, f"skos audit verify: {code} {out} {err}"
        return await self.audit()


class Heard:
    """Messages of one subscription, oldest first."""

    def __init__(self):
        self.all = []

    def bodies(self):
        found = []
        for message in self.all:
            try:
                found.append(json.loads(message.data))
            except ValueError:
                pass
        return found


class Client:
    """nats-py, which shares no code with SKOS."""

    def __init__(self, connection):
        self.connection = connection

    @classmethod
    async def connect(cls, url):
        async def quiet(_error):
            pass

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return cls(
                    await nats.connect(
                        url, error_cb=quiet, max_reconnect_attempts=-1, reconnect_time_wait=0.1,
                        connect_timeout=2))
            except Exception:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def close(self):
        await self.connection.close()

    async def hear(self, subject):
        """Collects the messages of a subject from now on."""
        heard = Heard()

        async def keep(message):
            heard.all.append(message)

        subscription = await self.connection.subscribe(subject, cb=keep)
        # A burst is not to be lost here.
        subscription._pending_msgs_limit = subscription._pending_bytes_limit = 0
        await self.connection.flush()
        return heard

    async def publish(self, subject, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.connection.publish(subject, data)

    async def alert(self, node="nova", severity="critical", **more):
        body = {"type": "thermal", "severity": severity, "details": {"sensor": "cpu"}, **more}
        await self.publish(f"skos.alert.{node}", body)
        await self.connection.flush()

    async def stored_alert(self, identifier, node="nova", severity="critical", **more):
        """Publishes an alert until the stream says that it has it, as an agent does.

        A server tells of a stream that is being made a moment before the stream listens to its subjects,
        so that what is published without asking for an answer may be lost, although the stream exists.
        """
        body = {
            "type": "thermal", "severity": severity, "id": identifier,
            "details": {"sensor": "cpu"}, **more,
        }
        jetstream = self.connection.jetstream(timeout=2)

        async def is_stored():
            try:
                return await jetstream.publish(
                    f"skos.alert.{node}", json.dumps(body).encode(),
                    headers={"Nats-Msg-Id": identifier})
            except nats.errors.Error:
                return None

        await eventually(is_stored, f"the alert {identifier} is stored")

    async def ask(self, verb, parameters=None, timeout=5):
        data = json.dumps(parameters).encode() if parameters else b""
        answer = await self.connection.request(f"skos.api.{verb}", data, timeout=timeout)
        return json.loads(answer.data)

    async def audit(self):
        jetstream = self.connection.jetstream(timeout=30)
        info = await jetstream.stream_info("SKOS_AUDIT")
        last = info.state.last_seq
        if not last:
            return []
        records, previous = [], GENESIS
        subscription = await jetstream.subscribe("SKOS_AUDIT.*", ordered_consumer=True)
        while len(records) < last:
            message = await subscription.next_msg(timeout=PATIENCE)
            place = message.metadata.sequence.stream
            assert place == len(records) + 1, f"record {place} after {len(records)}"
            headers = message.headers or {}
            digest = hashlib.sha256(previous.encode() + message.data).hexdigest()
            assert headers.get("Skos-Prev") == previous, f"record {place} does not follow"
            assert headers.get("Skos-Hash") == digest, f"record {place} is not what was hashed"
            previous = digest
            record = json.loads(message.data)
            assert message.subject == f"SKOS_AUDIT.{record['kind']}"
            records.append({"place": place, **record})
        await subscription.unsubscribe()
        return records


class ForeignAgent:
    """An agent in Python: executes every action once, says so, and takes it back when asked."""

    def __init__(self, client):
        self.client = client
        self.executions = {}
        self.undone = {}
        self.commands = []

    @classmethod
    async def start(cls, client, subject="skos.command.*"):
        agent = cls(client)
        subscription = await client.connection.subscribe(subject, cb=agent.obey)
        subscription._pending_msgs_limit = subscription._pending_bytes_limit = 0
        await client.connection.flush()
        return agent

    async def obey(self, message):
        command = json.loads(message.data)
        self.commands.append(command)
        identifier, node = command["action_id"], command["node"]
        answer = {"action_id": identifier, "action_type": command["action_type"], "node": node}
        operation = command.get("operation", "execute")
        if operation == "renew":
            return
        if operation == "undo":
            self.undone[identifier] = self.undone.get(identifier, 0) + 1
            answer["status"] = "undone"
        else:
            self.executions.setdefault(identifier, 0)
            # A repeat of a command is answered, and not executed again.
            if not self.executions[identifier]:
                self.executions[identifier] += 1
            answer.update(status="done", outcome="succeeded", undo={"knob": "as it was"})
        await self.client.publish(f"skos.result.{node}", answer)


def of_kind(records, kind, **fields):
    """The records of a kind that have these fields."""
    return [
        record
        for record in records
        if record["kind"] == kind
        and all(record.get(name) == value for name, value in fields.items())
    ]
