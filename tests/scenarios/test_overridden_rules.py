"""Overrides and selections while a service runs: alerts, pauses, broken files, rules that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.clock import FakeClock
from runner.selection import NOTHING, read_selection
from runner.store.memory import MemoryStore
from tests.scenarios.timeline import at, ndjson, rule_text
from tests.scenarios.world import World

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, MemoryStore(), FakeClock(at("10:05:00")))
    for name, severity in (("one", "low"), ("two", "high")):
        fields: dict[str, Any] = {"query": 'process where process.name == "nc"', "severity": severity}
        (tmp_path / "rules" / f"{name}.toml").write_text(rule_text(name, fields))
    yield made
    await made.restart()


def override(world: World, text: str) -> None:
    (world.folder / "overrides.toml").write_text(text)


def append(world: World, name: str, moment: datetime) -> None:
    world.append(ndjson([f"{name} exec {moment:%H:%M:%S}.000 name=nc"]))


async def tick_through(world: World, span: timedelta) -> None:
    end = world.clock.elapsed() + span
    while world.clock.elapsed() < end:
        world.clock.advance(MINUTE)
        await world.tick()


async def severities(world: World) -> dict[str, tuple[str, int]]:
    """Severity and risk score of the alerts, by `rule: event`."""
    heads = await world.heads()
    return {
        heads[alert.id]: (alert.document["kibana.alert.severity"], alert.document["kibana.alert.risk_score"])
        for alert in await world.alerts()
    }


async def found(world: World) -> Counter[str]:
    return Counter((await world.heads()).values())


def problems(world: World) -> list[str]:
    return [problem.text for problem in world.rule_sets[-1].problems]


async def test_alerts_have_the_severity_of_the_override_from_the_next_tick_on(world: World) -> None:
    append(world, "a", at("10:04:00"))
    await world.tick()
    override(world, '[[override]]\nall_rules = true\nseverity = "critical"\nrisk_score = 99\n')
    append(world, "b", at("10:06:00"))
    await tick_through(world, 10 * MINUTE)
    assert await severities(world) == {
        "one: a": ("low", 47), "two: a": ("high", 47), "one: b": ("critical", 99), "two: b": ("critical", 99),
    }  # fmt: skip
    assert not world.troubles


async def test_a_broken_file_keeps_what_it_had_and_stops_nothing(world: World) -> None:
    override(world, '[[override]]\nrules = "one"\nseverity = "critical"\n')
    await world.tick()
    override(world, '[[override]]\nrules = "one"\nseverity = "urgent"\n')
    append(world, "a", at("10:06:00"))
    await tick_through(world, 10 * MINUTE)
    assert await severities(world) == {"one: a": ("critical", 47), "two: a": ("high", 47)}
    assert any("kept the last good version of the overrides" in text for text in problems(world))
    await world.restart()
    append(world, "b", at("10:16:00"))
    await tick_through(world, 10 * MINUTE)
    assert (await severities(world))["one: b"] == ("low", 47)
    assert any(text.startswith("`severity` is `urgent`, expected one of low") for text in problems(world))
    count = len(world.rule_sets)
    await tick_through(world, 5 * MINUTE)
    assert len(world.rule_sets) == count


async def test_a_rule_that_is_switched_off_owes_nothing_of_the_time_between(world: World) -> None:
    await world.tick()
    override(world, '[[override]]\nselect = "severity:low"\nenabled = false\n')
    await tick_through(world, 20 * MINUTE)
    append(world, "off", at("10:20:00"))
    await tick_through(world, 40 * MINUTE)
    state = (await world.store.read())["one"]
    assert state.paused is not None
    override(world, "")
    append(world, "on", at("11:20:00"))
    await tick_through(world, 30 * MINUTE)
    assert await found(world) == {"two: off": 1, "two: on": 1, "one: on": 1}
    assert len((await world.store.read())["one"].skipped) == 1


async def test_a_rule_that_is_left_out_has_no_mark_and_is_caught_up_when_it_is_selected(world: World) -> None:
    await world.tick()
    world.select = read_selection("-id:one")
    await world.restart()
    append(world, "between", at("10:20:00"))
    await tick_through(world, 40 * MINUTE)
    assert await found(world) == {"two: between": 1}
    assert (await world.store.read())["one"].paused is None
    world.select = NOTHING
    await world.restart()
    await tick_through(world, 20 * MINUTE)
    assert await found(world) == {"two: between": 1, "one: between": 1}


async def test_one_of_two_rules_with_an_id_replaces_the_other_and_gives_way_when_it_is_gone(world: World) -> None:
    own = world.folder / "own"
    own.mkdir()
    world.rule_paths = (world.folder / "rules", own)
    fields: dict[str, Any] = {"query": 'process where process.name == "nc"', "severity": "medium"}
    (own / "mine.toml").write_text(rule_text("one", fields))
    await world.tick()
    assert any("`rule_id` one is taken already" in text for text in problems(world))
    override(world, '[[replace]]\nwith = "own"\n')
    append(world, "a", at("10:06:00"))
    await tick_through(world, 10 * MINUTE)
    assert (await severities(world))["one: a"] == ("medium", 47)
    assert problems(world) == ["another rule has the name `one`: " + str(own / "mine.toml")] or not problems(world)
    (own / "mine.toml").unlink()
    (own / "other.toml").write_text(rule_text("three", {"query": "any where false"}))
    append(world, "b", at("10:16:00"))
    await tick_through(world, 10 * MINUTE)
    assert (await severities(world))["one: b"] == ("low", 47)
