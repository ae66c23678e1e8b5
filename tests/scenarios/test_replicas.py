"""Several runners on one store: they share the rules, replace each other, and write every alert once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from runner.clock import FakeClock
from runner.search.files.file_search import FileSearch
from runner.store.leases import EveryRule, Leases, SharedLeases
from runner.store.memory import MemoryStore
from tests.paths import ROOT
from tests.scenarios.test_guarantees import Gate
from tests.scenarios.test_processes import PATIENT, lines_until, process
from tests.scenarios.timeline import at, document_of, ndjson, rule_text
from tests.scenarios.world import World
from tests.store.memory_board import MemoryBoard

LEASE = timedelta(seconds=30)
NC = 'process where process.name == "nc"'
PYTHON = sys.executable
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "RUNNER_LISTEN": "off"}
NAMES = [f"nc-{number:02}" for number in range(24)]


class Site:
    """Runners in one folder, with one store and one board; each has a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore()
        self.board = MemoryBoard()
        self.runners: list[World] = []

    def start(self, moment: datetime, leases: Leases | None = None) -> World:
        clock = FakeClock(moment)
        name = f"runner-{len(self.runners)}"
        shared = leases or SharedLeases(self.board, name, duration=LEASE, elapsed=clock.elapsed)
        world = World(self.folder, self.store, clock, leases=shared)
        self.runners.append(world)
        return world

    def add_rules(self, *names: str) -> None:
        for name in names:
            (self.folder / "rules" / f"{name}.toml").write_text(rule_text(name, {"query": NC}))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    for runner in made.runners:
        await runner.restart()


async def tick_all(runners: list[World], by: timedelta) -> None:
    for runner in runners:
        runner.clock.advance(by)
        await runner.tick()


async def test_two_runners_share_the_rules_and_find_every_alert_once(site: Site) -> None:
    first = site.start(at("10:00:00"))
    site.add_rules(*NAMES)
    await first.tick()
    assert first.service().held == set(NAMES)
    second = site.start(at("10:00:00"))
    runners = [first, second]
    for _ in range(4):
        await tick_all(runners, timedelta(seconds=10))
    held = [runner.service().held for runner in runners]
    assert held[0] | held[1] == set(NAMES)
    assert not held[0] & held[1]
    assert 8 <= len(held[0]) <= 16
    first.append(ndjson(["one exec 10:03:00.000 name=nc"]))
    for runner in runners:
        runner.runs.clear()
        runner.go_to(at("10:05:00"))
        await runner.tick()
    ran = [{run.rule_id for run in runner.runs} for runner in runners]
    assert ran == held
    assert Counter((await first.heads()).values()) == Counter(f"{name}: one" for name in NAMES)


async def test_a_runner_that_dies_is_replaced_within_an_interval_and_its_windows_are_searched(site: Site) -> None:
    first, second = site.start(at("10:00:00")), site.start(at("10:00:00"))
    site.add_rules(*NAMES)
    for _ in range(4):
        await tick_all([first, second], timedelta(seconds=10))
    theirs = first.service().held
    assert theirs
    second.append(ndjson(["one exec 10:04:00.000 name=nc"]))
    # The first is never heard of again.
    for _ in range(33):
        await tick_all([second], timedelta(seconds=10))
    assert second.clock.now() < at("10:10:00")
    assert second.service().held == set(NAMES)
    assert Counter((await second.heads()).values()) == Counter(f"{name}: one" for name in NAMES)
    states = await site.store.read()
    assert {state.searched[-1].end for state in states.values()} == {at("10:05:00")}
    assert all(len(state.searched) == 1 for state in states.values())


async def test_a_frozen_runner_that_wakes_up_goes_by_the_ledger_of_the_others(site: Site) -> None:
    first, second = site.start(at("10:00:00")), site.start(at("10:00:00"))
    site.add_rules(*NAMES)
    for _ in range(4):
        await tick_all([first, second], timedelta(seconds=10))
    for _ in range(60):
        await tick_all([second], timedelta(seconds=10))
    assert second.service().held == set(NAMES)
    first.runs.clear()
    first.go_to(second.clock.now())
    for _ in range(3):
        await tick_all([first, second], timedelta(seconds=10))
    held = [runner.service().held for runner in (first, second)]
    assert held[0] | held[1] == set(NAMES) and not held[0] & held[1] and held[0]
    assert first.runs == []  # what it takes over was searched by the other meanwhile


async def test_runners_that_all_believe_they_lead_write_every_alert_once(site: Site) -> None:
    runners = [site.start(at("10:05:00"), EveryRule()) for _ in range(3)]
    site.add_rules(*NAMES[:4])
    runners[0].append(ndjson([f"e{number} exec 10:01:{number:02}.000 name=nc" for number in range(40)]))
    await asyncio.gather(*(runner.tick() for runner in runners))
    for runner in runners:
        runner.go_to(at("10:10:00"))
    await asyncio.gather(*(runner.tick() for runner in runners))
    heads = Counter((await runners[0].heads()).values())
    assert heads == Counter(f"{name}: e{number}" for name in NAMES[:4] for number in range(40))
    assert sum(run.created for runner in runners for run in runner.runs) == 160


async def test_a_runner_that_loses_its_lease_in_the_middle_finishes_without_harm(site: Site) -> None:
    slow, quick = site.start(at("10:05:00")), site.start(at("10:05:00"))
    site.add_rules(*NAMES[:6])
    slow.append(ndjson(["one exec 10:01:00.000 name=nc"]))
    gate = Gate(FileSearch([slow.events], live=True))
    working = asyncio.create_task(slow.service(gate).tick())
    await gate.asked.wait()
    for _ in range(5):
        await tick_all([quick], timedelta(seconds=10))
    assert quick.service().held == set(NAMES[:6])
    gate.open.set()
    await working
    assert len(slow.runs) == len(quick.runs) == 6
    assert sum(run.created for run in (*slow.runs, *quick.runs)) == 6
    assert slow.troubles == quick.troubles == []
    states = await site.store.read()
    assert all(state.searched == (quick.runs[0].window,) for state in states.values())
    assert len(await slow.heads()) == 6
    await gate.close()


async def test_clocks_of_runners_that_differ_cost_no_alert(site: Site) -> None:
    """One runner's clock is two minutes ahead; its rules pass to one whose clock is right."""
    ahead, right = site.start(at("10:07:00")), site.start(at("10:05:00"))
    site.add_rules(*NAMES[:3])
    await ahead.tick()
    ahead.clock.advance(timedelta(minutes=5))
    await ahead.tick()  # by its clock it is 10:12, in truth 10:10
    right.append(ndjson(["after exec 10:10:30.000 name=nc"]))
    right.go_to(at("10:10:40"))
    for _ in range(40):
        await tick_all([right], timedelta(seconds=10))
    assert Counter((await right.heads()).values()) == Counter(f"{name}: after" for name in NAMES[:3])
    states = await site.store.read()
    assert {state.searched[-1].end for state in states.values()} == {at("10:15:00")}
    assert all(len(state.searched) == 1 for state in states.values())


async def test_a_runner_that_ends_in_order_gives_its_rules_back_at_once(site: Site) -> None:
    first, second = site.start(at("10:00:00")), site.start(at("10:00:00"))
    site.add_rules(*NAMES)
    for _ in range(4):
        await tick_all([first, second], timedelta(seconds=10))
    first.service().stop()
    await first.service().run()
    await second.tick()
    assert second.service().held == set(NAMES)


# Processes


@pytest.fixture
def cluster(elasticsearch_url: str, namespace: str) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(
            index=f"logs-{namespace}",
            mappings={
                "dynamic": "false",
                "properties": {
                    "@timestamp": {"type": "date"},
                    "event": {"properties": {"category": {"type": "keyword"}, "id": {"type": "keyword"}}},
                    "process": {"properties": {"name": {"type": "keyword"}}},
                },
            },
        )
        yield client


def write_event(client: Elasticsearch, namespace: str, name: str) -> None:
    document = document_of(f"{name} exec 00:00:00.000 name=nc") | {"@timestamp": datetime.now(UTC).isoformat()}
    client.index(index=f"logs-{namespace}", id=name, document=document, refresh=True)


def heads_in(client: Elasticsearch, namespace: str) -> Counter[str]:
    """How many alerts there are of each event."""
    if not client.indices.exists(index=f"{namespace}-alerts"):
        return Counter()
    client.indices.refresh(index=f"{namespace}-alerts")
    found = client.search(index=f"{namespace}-alerts", size=1_000, query={"match_all": {}})
    return Counter(str(hit["_source"]["kibana.alert.ancestors"][0]["id"]) for hit in found["hits"]["hits"])


def read_until(started: subprocess.Popen[str], holds: Callable[[], bool]) -> None:
    """Read the process's lines until something holds; every line is a reason to look again."""
    assert started.stdout is not None
    for _ in started.stdout:
        if holds():
            return
    raise AssertionError("the process ended before it held")


def leads(line: str) -> tuple[int, int] | None:
    """How many rules of how many a line of the log says that its runner leads."""
    if "this runner leads" not in line:
        return None
    words = str(json.loads(line)["message"]).split()
    return int(words[3]), int(words[5])


def read_until_it_leads(
    started: subprocess.Popen[str], fits: Callable[[int], bool], *, seen: Sequence[str] = ()
) -> None:
    """Read the process's lines until it leads what it should, if it does not by the last that was `seen` of it."""
    assert started.stdout is not None
    before = [led for line in seen if (led := leads(line)) is not None][-1:]
    if before and fits(before[0][0]):
        return
    for line in started.stdout:
        if (said := leads(line)) is not None and fits(said[0]):
            return
    raise AssertionError("the process ended before it led what it should")


@pytest.mark.slow
def test_of_two_processes_one_is_killed_and_the_other_takes_over(
    tmp_path: Path, elasticsearch_url: str, namespace: str, cluster: Elasticsearch
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    fields: Mapping[str, Any] = {"query": NC, "interval": "1s", "from": "now-2m", "index": [f"logs-{namespace}"]}
    for name in NAMES[:8]:
        (rules / f"{name}.toml").write_text(rule_text(name, dict(fields)))
    env = {
        "ELASTICSEARCH_HOSTS": elasticsearch_url,
        "RUNNER_ALERTS_ALIAS": f"{namespace}-alerts",
        "RUNNER_RUNS_INDEX": f"{namespace}-runs",
        "RUNNER_STATE_INDEX": f"{namespace}-state",
        "RUNNER_LEASE": "3s",
        "RUNNER_LISTEN": "off",
        "RUNNER_LOG_FORMAT": "json",
    }
    arguments = [*PATIENT, "run", "--rules", str(rules), "--tick", "1s"]
    with ExitStack() as stack:
        runners: list[subprocess.Popen[str]] = []
        for number in range(2):
            own = {"TMPDIR": str(tmp_path / str(number)), "RUNNER_INSTANCE": f"runner-{number}"}
            (tmp_path / str(number)).mkdir()
            runners.append(stack.enter_context(process(*arguments, folder=ROOT, env=env | own)))
            if number == 0:
                read_until_it_leads(runners[0], lambda led: led == 8)
        first, second = runners
        read_until_it_leads(second, lambda led: 0 < led < 8)
        read_until_it_leads(first, lambda led: 0 < led < 8)
        write_event(cluster, namespace, "before")
        seen = lines_until(second, "1 created")
        first.send_signal(signal.SIGKILL)
        first.wait()
        write_event(cluster, namespace, "after")
        read_until_it_leads(second, lambda led: led == 8, seen=seen)
        read_until(second, lambda: heads_in(cluster, namespace) == Counter(before=8, after=8))
        second.terminate()
        assert second.stdout is not None
        rest = second.stdout.read()
        assert second.wait() == 0
        assert "Traceback" not in rest
    assert heads_in(cluster, namespace) == Counter(before=8, after=8)
    left = cluster.search(index=f"{namespace}-state", size=100, query={"match_all": {}})["hits"]["hits"]
    given_back = not [hit["_id"] for hit in left if hit["_id"].startswith("lease:runner:runner-1")]
    assert given_back or "could not be given back in time" in rest


@pytest.mark.slow
def test_a_second_service_on_a_state_file_is_told_of_the_first(tmp_path: Path) -> None:
    rules, events = tmp_path / "rules", tmp_path / "events"
    rules.mkdir()
    events.mkdir()
    (events / "earlier.ndjson").write_text(ndjson(["earlier exec 00:00:00 day=2026-02-01"]))
    (rules / "nc.toml").write_text(rule_text("nc", {"query": NC}))
    places = ["--rules", str(rules), "--state", str(tmp_path / "state.db")]
    reading = ["--events", str(events), *places]

    def runner(*arguments: str) -> tuple[int, str, str]:
        started = subprocess.run(
            [PYTHON, "-m", "runner", *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in started.stderr
        return started.returncode, started.stdout, started.stderr

    with process("-m", "runner", "run", *reading, "--tick", "1s", folder=tmp_path, env=ENVIRONMENT) as started:
        lines_until(started, "1 rule found nothing")
        for command in (["run", *reading], ["once", *reading]):
            code, _, said = runner(*command)
            assert code == 3
            assert f" run` (process {started.pid} on " in said
        assert runner("status", "--check", *places)[0] == 0  # the one that was refused has taken nothing away
        assert runner("alerts", "list", "--state", str(tmp_path / "state.db"))[0] == 0
        assert runner("replay", *reading, "--from", "now-1h", "--to", "now")[0] == 0
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert runner("once", *reading)[0] == 0
