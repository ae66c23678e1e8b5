"""Every scenario of `specs/scenarios`: rules, events over time, and the runs and alerts that must come of them.

A step moves the clock to `at`, changes files (`rename`, `pack`, `copy` and `truncate` are what happens to logs, `write`
appends events, `rules` writes rule files, `delete` removes some), then lets the runner work (`do`: `tick`, `once`, or
`restart`, which is a new service's first tick). `runs` are the runs in their order, `new` the alerts that are there
after the step and were not before, earliest event first, `counted` what the alerts of alert suppression stand for, with
`closes` an alert is closed before the work, `says` is text that the messages of the runs or the problems
of the rules hold, `remarks` what the service says of late events.
"""

from __future__ import annotations

import gzip
import tomllib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.clock import FakeClock
from runner.store.memory import MemoryStore
from runner.store.sqlite.sqlite_store import SqliteStore
from tests.paths import SPECS
from tests.scenarios.timeline import at, ndjson, rule_text
from tests.scenarios.world import SHIPPED_RULES, World, told

FOLDER = SPECS / "scenarios"


def scenarios() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.toml")):
        for scenario in tomllib.loads(file.read_text(encoding="utf-8"))["scenario"]:
            yield pytest.param(scenario, id=f"{file.stem}: {scenario['name']}")


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state.db")
    made = World(tmp_path, store, FakeClock(at("00:00:00")))
    made.append(ndjson(["earlier exec 00:00:00 day=2026-02-01"]), "0.ndjson")  # a sensor that has seen events before
    yield made
    await made.restart()
    await store.close()


@pytest.mark.parametrize("scenario", list(scenarios()))
async def test_scenario(world: World, scenario: dict[str, Any]) -> None:
    if scenario.get("shipped_rules", False):
        world.rule_paths = (SHIPPED_RULES,)
    world.on_cap = scenario.get("on_cap", "carry")
    world.horizon = timedelta(hours=scenario.get("horizon_h", 168))
    known: set[str] = set()
    for number, step in enumerate(scenario["step"], 1):
        world.go_to(at(step["at"]))
        change_files(world, step)
        for what in step.get("closes", []):
            await world.close_alert(what)
        seen, looked = len(world.rule_sets), len(world.looks)
        runs = await work(world, step["do"])
        heads = await world.heads()
        new = [what for id_, what in heads.items() if id_ not in known]
        known = set(heads)
        assert ([told(run) for run in runs], new) == (step["runs"], step.get("new", [])), f"step {number}"
        if "counted" in step:
            assert await world.counted() == step["counted"], f"step {number}"
        remarks = [text for found in world.looks[looked:] for text in found.remarks()]
        assert remarks == step.get("remarks", []), f"step {number}"
        said = [text for run in runs for text in run.messages]
        said += [str(problem) for active in world.rule_sets[seen:] for problem in active.problems]
        for expected in step.get("says", []):
            assert any(expected in text for text in said), f"step {number}: {expected!r} in {said}"
        if not step.get("says"):
            assert said == [], f"step {number}"


def change_files(world: World, step: dict[str, Any]) -> None:
    for name, fields in step.get("rules", {}).items():
        text = fields if isinstance(fields, str) else rule_text(name, fields)
        (world.folder / "rules" / f"{name}.toml").write_text(text, encoding="utf-8")
    for name, source in step.get("rename", {}).items():
        (world.events / source).rename(world.events / name)
    for name, source in step.get("pack", {}).items():
        (world.events / name).write_bytes(gzip.compress((world.events / source).read_bytes()))
        (world.events / source).unlink()
    for name, source in step.get("copy", {}).items():
        (world.events / name).write_bytes((world.events / source).read_bytes())
    for name in step.get("truncate", []):
        (world.events / name).write_bytes(b"")
    for name, lines in step.get("write", {}).items():
        world.append(ndjson(lines), name)
    for name in step.get("delete", []):
        (world.folder / name).unlink()


async def work(world: World, what: str) -> list[Any]:
    if what == "once":
        return await world.once()
    if what == "restart":
        await world.restart()
    return await world.tick()
