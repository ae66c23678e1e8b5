"""Campaign on notifications: each alert is delivered, whatever the target does and whenever the runner is killed.

    python benchmarks/notify.py --alerts 10000 --kills 100

Kills real `rule-runner run` processes with SIGKILL at random moments while events come in. Each alert is owed to four
targets: a webhook that takes everything, one that answers 429 and 500, hangs, closes the connection before it answers
and goes away for a while, one that gets digests, and a stream. At the end the targets behave, a last process runs until
nothing is owed, and then each alert must have been delivered to each target under one id, again only where a kill fell
between the first time and the second. Exits with 1 if anything differs. docs/guarantees.md lists what it shows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiohttp import web

from tests.elasticsearch.node import Node
from tests.scenarios.starter import ENVIRONMENT, Started, Starter

TARGETS = ("steady", "fickle", "digested")
DELIVERED_WITHIN_S = 300.0
RULE = """\
[metadata]
creation_date = "2026/01/01"
updated_date = "2026/01/01"
maturity = "production"
integration = ["endpoint"]

[rule]
author = ["rule-runner"]
description = "Every process called found."
from = "now-1m"
interval = "1s"
index = ["logs-endpoint.events.*"]
language = "eql"
license = "Apache-2.0"
max_signals = 1000
name = "Found"
risk_score = 47
rule_id = "6b1c8a5e-7c0b-4c53-9b52-2a2b8d0f6b10"
severity = "medium"
tags = ["Campaign"]
type = "eql"
query = '''
process where process.name == "found"
'''
"""


@dataclass(slots=True)
class Deliveries:
    """What a target has taken: the times at which a message of that id was answered with 200, and its alerts."""

    times: dict[str, list[float]] = field(default_factory=dict)
    ids: dict[str, set[str]] = field(default_factory=dict)
    """The ids of the messages that an alert was in."""

    def take(self, message: Mapping[str, Any]) -> None:
        self.times.setdefault(message["id"], []).append(time.time())
        for alert in message["alerts"]:
            self.ids.setdefault(alert["id"], set()).add(message["id"])


class Receiver:
    """An HTTP server on a thread of its own, whose answers may be bad."""

    def __init__(self, seed: int) -> None:
        self.taken = {name: Deliveries() for name in TARGETS}
        self.answers: Counter[str] = Counter()
        self.is_calm = False
        self.port = 0
        self._random = Random(seed)
        self._away_until = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *arguments: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/{target}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["target"]
        message = await request.json()
        if request.headers["Idempotency-Key"] != message["id"]:
            return web.Response(status=400, text="two ids")
        outcome = "taken" if self.is_calm or name != "fickle" else self._outcome()
        self.answers[outcome] += 1
        match outcome:
            case "taken":
                self.taken[name].take(message)
                return web.json_response({"ok": True})
            case "429":
                return web.Response(status=429, headers={"Retry-After": "1"})
            case "hangs":
                await asyncio.sleep(60)
            case "500":
                return web.Response(status=500)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _outcome(self) -> str:
        now = time.time()
        if now < self._away_until:
            return "away"
        outcome = self._random.choices(("taken", "429", "500", "hangs", "closes", "away"), (80, 5, 5, 2, 6, 2))[0]
        if outcome == "away":
            self._away_until = now + 1.5
        return outcome


@dataclass(frozen=True, slots=True)
class Report:
    """One campaign."""

    alerts: int
    kills: int
    duplicates: int
    """Messages that a webhook has taken again."""
    repeated: int
    """Lines that the stream has again."""
    faults: tuple[str, ...]

    @property
    def line(self) -> str:
        return (
            f"{self.alerts:,} alerts, {self.kills} kills, {self.duplicates} messages delivered again, "
            f"{self.repeated} lines written again, {len(self.faults)} differences"
        )


class Campaign:
    """A folder with a rule, events, targets, and a state in a file or in a cluster."""

    def __init__(self, folder: Path, receiver: Receiver, *, seed: int, node: Node | None) -> None:
        self.folder, self.receiver, self.random = folder, receiver, Random(seed)
        self.killed: list[float] = []
        self._written = 0
        (folder / "events").mkdir()
        (folder / "rules").mkdir()
        (folder / "rules" / "found.toml").write_text(RULE, encoding="utf-8")
        self.stream = folder / "alerts.ndjson"
        (folder / "notifications.toml").write_text(self._targets(), encoding="utf-8")
        self.flags: list[object] = ["--rules", folder / "rules", "--notifications", folder / "notifications.toml"]
        self.env = {"RUNNER_LOG_FORMAT": "text", "RUNNER_LISTEN": "off", "RUNNER_TICK": "1s", "RUNNER_LEASE": "3s"}
        # In a cluster a process has to wait until the lease of the killed one has expired.
        self.life = (0.2, 2.5) if node is None else (2.0, 20.0)
        if node is None:
            self.flags += ["--state", folder / "state.db"]
        else:
            space = f"notify{seed}-{int(time.time())}"
            self.env |= {"ELASTICSEARCH_HOSTS": node.url, "RUNNER_SPACE": space}

    def _targets(self) -> str:
        lines = []
        for name in TARGETS:
            lines += ["[[target]]", f'name = "{name}"', 'type = "webhook"', 'timeout = "3s"']
            lines += [f'url = "http://127.0.0.1:{self.receiver.port}/{name}"', "documents = false"]
        return "\n".join([*lines, 'group_by = ["host.name"]', ""])

    def write(self, count: int) -> None:
        """Append events that become an alert each."""
        now = datetime.now(UTC)
        with (self.folder / "events" / "events.ndjson").open("a", encoding="utf-8") as file:
            for number in range(self._written, self._written + count):
                at = now + timedelta(microseconds=number - self._written)
                event = {
                    "@timestamp": at.isoformat(),
                    "event": {"category": ["process"], "type": ["start"], "id": f"e{number}"},
                    "process": {"name": "found", "entity_id": f"p{number}"},
                    "host": {"name": f"host-{number % 7}", "id": f"host-{number % 7}"},
                }
                file.write(json.dumps(event) + "\n")
        self._written += count

    def start(self, starter: Starter) -> Started:
        events = ["--events", self.folder / "events", "--alerts-to", self.stream]
        return starter.start("run", *events, *self.flags, env=self.env)

    def asked(self, *arguments: object) -> str:
        """What a command prints."""
        command = [sys.executable, "-m", "runner", *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=ENVIRONMENT | self.env, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr.decode()}")
        return done.stdout.decode()

    def alerts(self) -> set[str]:
        """The ids of all alerts that are stored."""
        place = self.flags[4:]
        lines = self.asked("alerts", "export", *place).splitlines()
        return {json.loads(line)["kibana.alert.uuid"] for line in lines}

    def owed(self) -> dict[str, int]:
        """How many alerts each target is owed."""
        place = self.flags[2:]
        found = json.loads(self.asked("notify", "status", *place, "--alerts-to", self.stream, "--output", "json"))
        return {one["target"]: one["pending"] for one in found}


def run_campaign(campaign: Campaign, starter: Starter, *, alerts: int, kills: int) -> Report:
    """Kill processes while events come, then let one run until nothing is owed, and compare."""
    left = alerts
    for number in range(kills):
        count = left // (kills - number)
        campaign.write(count)
        left -= count
        started = campaign.start(starter)
        started.ended(within=campaign.random.uniform(*campaign.life))
        if not started.kill():
            return Report(alerts, number, 0, 0, (f"a process has ended by itself: {started.text()}",))
        campaign.killed.append(time.time())
    last = campaign.start(starter)
    last.ended(within=min(60.0, alerts / 100))
    campaign.receiver.is_calm = True
    deadline = time.monotonic() + DELIVERED_WITHIN_S
    faults = []
    while True:
        last.ended(within=2.0)
        stored, owed = len(campaign.alerts()), campaign.owed()
        if stored == alerts and not any(owed.values()):
            break
        if time.monotonic() > deadline:
            faults.append(f"after {DELIVERED_WITHIN_S:.0f} s {stored} alerts are stored and {owed} are owed")
            break
    last.kill()
    found, duplicates, repeated = compared(campaign, campaign.alerts())
    if "Traceback" in last.text():
        faults.append(last.text()[-2_000:])
    return Report(alerts, kills, duplicates, repeated, (*faults, *found))


def compared(campaign: Campaign, stored: set[str]) -> tuple[list[str], int, int]:
    """What is wrong, how many messages were delivered again, and how many lines were written again."""
    faults: list[str] = []
    again = 0
    for name, taken in campaign.receiver.taken.items():
        if missing := stored - taken.ids.keys():
            faults.append(f"{name}: {len(missing)} alerts were not delivered, such as {min(missing)}")
        if strange := taken.ids.keys() - stored:
            faults.append(f"{name}: {len(strange)} alerts that are not stored, such as {min(strange)}")
        several = [id_ for id_, ids in taken.ids.items() if len(ids) > 1]
        if several:
            faults.append(f"{name}: {len(several)} alerts under more than one id, such as {min(several)}")
        for id_, times in taken.times.items():
            for first, second in pairwise(times):
                again += 1
                if not any(first < killed < second for killed in campaign.killed):
                    faults.append(f"{name}: message {id_} was delivered twice with no kill in between")
    lines = campaign.stream.read_bytes().splitlines(keepends=True)
    torn = [line for line in lines[:-1] if not is_whole(line)]
    counts = Counter(json.loads(line)["kibana.alert.uuid"] for line in lines if is_whole(line))
    if torn:
        faults.append(f"stream: {len(torn)} broken lines, such as {torn[0][:100]!r}")
    if counts.keys() != stored:
        faults.append(f"stream: {len(stored - counts.keys())} alerts are missing")
    return faults, again, sum(count - 1 for count in counts.values())


def is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n")


@contextmanager
def campaign_in(seed: int, node: Node | None) -> Iterator[tuple[Campaign, Starter]]:
    """A campaign in a folder of its own, with what starts its processes."""
    with (
        tempfile.TemporaryDirectory(prefix="rule-runner-notify-") as name,
        Receiver(seed) as receiver,
        Starter(Path(name)) as starter,
    ):
        yield Campaign(Path(name), receiver, seed=seed, node=node), starter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign on each store, and print what came of it."""
    options = _options(arguments)
    stores = ("sqlite", "elasticsearch") if options.store == "both" else (options.store,)
    failed = False
    with ExitStack() as stack:
        for store in stores:
            node = stack.enter_context(Node()) if store == "elasticsearch" else None
            begun = time.monotonic()
            with campaign_in(options.seed, node) as (campaign, starter):
                report = run_campaign(campaign, starter, alerts=options.alerts, kills=options.kills)
                answers = ", ".join(f"{what} {count:,}" for what, count in campaign.receiver.answers.most_common())
            failed = failed or bool(report.faults)
            print(f"{store}: {report.line}; answers: {answers}; {time.monotonic() - begun:.0f} s", flush=True)
            for fault in report.faults[:20]:
                print(f"    {fault}", flush=True)
    return int(failed)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--store", choices=("sqlite", "elasticsearch", "both"), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a short one: 200 alerts, 4 kills")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.alerts, options.kills = 200, 4
    return options


if __name__ == "__main__":
    sys.exit(main())
