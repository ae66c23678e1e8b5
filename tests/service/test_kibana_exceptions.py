"""The exception lists in Kibana while rules run: refreshed, kept while Kibana is away, and never silently missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.clock import FakeClock
from runner.errors import AccessError, RunnerError, UnreachableError
from runner.search.files.file_search import FileSearch
from runner.service.kibana.kibana_exceptions import KibanaExceptions
from runner.service.rules_in_use import ActiveRules, RuleSources, load_active

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
RULE = """
[rule]
rule_id = "{id}"
name = "Rule {id}"
description = "d"
type = "eql"
language = "eql"
query = 'process where true'
severity = "low"
risk_score = 21
index = ["logs-*"]
exceptions_list = {lists}
"""


def entry(value: str = "db-01", **more: Any) -> dict[str, Any]:
    return {"field": "host.name", "type": "match", "operator": "included", "value": value} | more


def item(item_id: str, *entries: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"item_id": item_id, "name": item_id, "type": "simple", "entries": list(entries or (entry(),))} | more


@dataclass
class Lists:
    """A Kibana as a test sets it: its lists, and what asking for them raises."""

    lists: dict[tuple[str, str], tuple[dict[str, Any], ...]] = field(default_factory=dict)
    lines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failures: dict[str, RunnerError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    place: str = "Kibana at test, space `default`"

    async def items(self, list_id: str, namespace_type: str) -> tuple[dict[str, Any], ...] | None:
        self._ask(list_id)
        return self.lists.get((list_id, namespace_type))

    async def values(self, list_id: str) -> tuple[str, ...] | None:
        self._ask(list_id)
        return self.lines.get(list_id)

    async def close(self) -> None:
        """Nothing to close."""

    def _ask(self, list_id: str) -> None:
        self.asked.append(list_id)
        if error := self.failures.get(list_id, self.failures.get("*")):
            raise error


@dataclass
class Place:
    """Rules that refer to lists, a Kibana with these, and a clock."""

    folder: Path
    lists: Lists = field(default_factory=Lists)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    active: ActiveRules | None = None

    def __post_init__(self) -> None:
        self.kibana = KibanaExceptions(self.lists, self.clock)

    def rule(self, name: str, *lists: str, namespace: str = "single", kind: str = "detection") -> None:
        named = ", ".join(f'{{list_id = "{one}", type = "{kind}", namespace_type = "{namespace}"}}' for one in lists)
        (self.folder / f"{name}.toml").write_text(RULE.format(id=name, lists=f"[{named}]"))

    async def look(self, after: float = 0.0) -> ActiveRules:
        self.clock.advance(timedelta(seconds=after))
        sources = RuleSources((self.folder,), lists=self.kibana)
        self.active = await load_active(sources, FileSearch(()), self.active, at=self.clock.now())
        return self.active

    def excepted(self) -> dict[str, list[str]]:
        assert self.active is not None
        return {one.rule.name[5:]: [item.id for item in one.exceptions] for one in self.active.compiled}

    def withheld(self) -> dict[str, str]:
        assert self.active is not None
        return {one.rule.name[5:]: one.withheld for one in self.active.compiled if one.withheld}

    def told(self) -> list[str]:
        assert self.active is not None
        problems = (*self.active.problems, *self.active.exceptions.problems)
        return [f"{one.severity} {one.file}: {one.text}" for one in problems]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_each_rule_has_the_items_of_its_lists(place: Place) -> None:
    place.rule("a", "one", "two")
    place.rule("b", "two")
    place.rule("c", "two", namespace="agnostic")
    place.rule("d")
    place.lists.lists = {
        ("one", "single"): (item("x"), item("over", expire_time="2026-03-02T09:59:59.999Z")),
        ("two", "single"): (item("y", os_types=["linux"], newer_key=1),),
        ("two", "agnostic"): (item("z"),),
    }
    await place.look()
    assert place.excepted() == {"a": ["one/x", "two/y"], "b": ["two/y"], "c": ["two/z"], "d": []}
    assert place.told() == [] and place.withheld() == {}


async def test_an_item_added_in_kibana_counts_from_the_next_refresh_on(place: Place) -> None:
    place.rule("a", "one")
    place.lists.lists[("one", "single")] = (item("x"),)
    first = await place.look()
    place.lists.lists[("one", "single")] += (item("y"),)
    assert await place.look(after=59) is first
    assert place.lists.asked == ["one"]
    await place.look(after=1)
    assert place.excepted() == {"a": ["one/x", "one/y"]}
    place.lists.lists[("one", "single")] = (item("y", expire_time="2026-03-02T10:02:00Z"),)
    await place.look(after=60)
    assert place.excepted() == {"a": ["one/y"]}
    before = place.active
    assert await place.look(after=0) is before
    await place.look(after=1)
    assert place.excepted() == {"a": []}


async def test_a_rule_that_comes_with_a_new_list_does_not_wait_for_the_refresh(place: Place) -> None:
    place.rule("a", "one")
    place.lists.lists = {("one", "single"): (item("x"),), ("two", "single"): (item("y"),)}
    await place.look()
    place.rule("b", "two")
    await place.look(after=1)
    assert place.excepted() == {"a": ["one/x"], "b": ["two/y"]}


async def test_the_last_good_version_stays_and_is_told_with_its_time(place: Place) -> None:
    place.rule("a", "one")
    place.rule("b", "two")
    place.lists.lists = {("one", "single"): (item("x"),), ("two", "single"): (item("y"),)}
    await place.look()
    place.lists.failures["one"] = AccessError("may not")
    await place.look(after=60)
    assert place.excepted() == {"a": ["one/x"], "b": ["two/y"]} and place.withheld() == {}
    kept = "its version of 2026-03-02T10:00:00.000Z stays in use"
    assert place.told() == [f"warning exception lists: `one` cannot be read: may not; {kept}"]
    told = place.active
    assert await place.look(after=60) is told  # nothing new is to be told
    del place.lists.lists[("one", "single")]
    place.lists.failures.clear()
    await place.look(after=60)
    assert place.excepted()["a"] == ["one/x"]
    (gone,) = place.told()
    assert "`one` cannot be read: it is not in Kibana at test, space `default` any more; its version" in gone
    place.lists.lists[("one", "single")] = ()
    await place.look(after=60)
    assert place.told() == [] and place.excepted()["a"] == []


async def test_a_rule_whose_list_was_never_read_is_withheld_until_it_is(place: Place) -> None:
    place.rule("a", "one", "two")
    place.rule("b")
    place.lists.lists = {("one", "single"): (item("x"),), ("two", "single"): (item("y"),)}
    place.lists.failures["*"] = UnreachableError("Kibana is away")
    await place.look()
    assert place.withheld().keys() == {"a"}
    assert len(place.lists.asked) == 1 or set(place.lists.asked) == {"one", "two"}
    assert (
        "the exception list `one` cannot be read: Kibana is away; 1 rule (`Rule a`) is not searched" in place.told()[0]
    )
    assert "RUNNER_KIBANA_EXCEPTIONS=false" in place.told()[0]
    assert [one[:6] for one in place.told()] == ["error "] * 2
    place.lists.failures.clear()
    await place.look(after=9)
    assert place.withheld().keys() == {"a"}
    await place.look(after=1)
    assert place.withheld() == {} and place.excepted()["a"] == ["one/x", "two/y"] and place.told() == []


async def test_a_list_that_is_not_there(place: Place) -> None:
    place.rule("a", "gone")
    place.rule("b", "endpoint_list", namespace="agnostic", kind="endpoint")
    place.rule("c", "endpoint_blocklists", kind="endpoint_blocklists")
    await place.look()
    assert place.withheld().keys() == {"a"}
    assert "endpoint_blocklists" not in place.lists.asked
    endpoint, gone = place.told()
    assert endpoint == (
        "warning exception lists: `endpoint_list` is not in Kibana at test, space `default`: it excepts nothing"
    )
    assert gone.startswith("error exception lists: the exception list `gone` is not in Kibana at test")
    exported = '{"item_id":"f","list_id":"gone","name":"f","type":"simple","entries":[{"field":"host.name",'
    exported += '"type":"match","operator":"included","value":"a"}]}'
    (place.folder / "exceptions").mkdir()
    (place.folder / "exceptions" / "gone.ndjson").write_text(exported)
    await place.look(after=1)
    assert place.withheld() == {} and place.excepted()["a"] == ["gone/f"]


async def test_items_of_files_and_of_kibana_both_count(place: Place) -> None:
    place.rule("a", "one")
    (place.folder / "exceptions").mkdir()
    line = '{{"item_id":"{0}","list_id":"one","name":"{0}","type":"simple","entries":[{{"field":"host.name",'
    line += '"type":"match","operator":"included","value":"file"}}]}}\n'
    (place.folder / "exceptions" / "one.ndjson").write_text(line.format("x") + line.format("f"))
    place.lists.lists[("one", "single")] = (item("x"), item("k"))
    active = await place.look()
    (compiled,) = active.compiled
    values = {one.id: one.entries[0].values for one in compiled.exceptions}
    assert values == {"one/x": ("file",), "one/f": ("file",), "one/k": ("db-01",)}
    (told,) = place.told()
    assert told.startswith("warning Kibana list one, item x: the exception of this id in ")
    assert told.endswith("exceptions/one.ndjson:1 counts, not this one")


async def test_value_lists(place: Place) -> None:
    place.rule("a", "one")
    place.rule("b", "two")
    known = entry(type="list", list={"id": "hosts", "type": "keyword"})
    del known["value"]
    other = known | {"list": {"id": "other", "type": "keyword"}}
    place.lists.lists = {("one", "single"): (item("x", known),), ("two", "single"): (item("y", other), item("z"))}
    place.lists.lines = {"hosts": ("db-01", "db-02")}
    active = await place.look()
    assert place.excepted() == {"a": ["one/x"], "b": ["two/z"]}
    assert place.told() == ["error Kibana list two, item y: there is no value list `other` in Kibana"]
    (before,) = {one.entries[0].value_list for one in active.exceptions.items if one.id == "one/x"}
    assert before is not None and before.values == ("db-01", "db-02")
    assert await place.look(after=60) is active
    place.lists.lines["hosts"] += ("db-03",)
    place.lists.failures["other"] = AccessError("may not read values")
    active = await place.look(after=60)
    (after,) = {one.entries[0].value_list for one in active.exceptions.items if one.id == "one/x"}
    assert after is not None and after.values == ("db-01", "db-02", "db-03")
    assert place.excepted() == {"a": ["one/x"], "b": ["two/z"]}
    assert any("`two` cannot be read: may not read values; its version of" in one for one in place.told())


async def test_an_unsound_item_removes_nothing_and_stops_nothing(place: Place) -> None:
    place.rule("a", "one")
    odd: Any = [item("empty", entries=[]), item("type", entry(type="like")), {"name": "none", "item_id": "none"}]
    text = entry(type="list", list={"id": "t", "type": "text"})
    place.lists.lists[("one", "single")] = (item("x"), *odd, item("text", text), item("entries", entries=7))
    place.lists.lines["t"] = ("a",)
    await place.look()
    assert place.excepted() == {"a": ["one/x"]} and place.withheld() == {}
    names = {one.split(": ")[0].rpartition(" ")[2] for one in place.told()}
    assert names == {"empty", "type", "text", "entries", "none"}
