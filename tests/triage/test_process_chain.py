"""Chains of processes, with and without entity ids, and ancestors that are looked up."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from runner.search.lookup.event_lookup import EventLookup, LookedUp
from runner.search.lookup.file_lookup import FileLookup
from runner.triage.ancestors import looked_up_ancestors
from runner.triage.process_chain import process_chains
from tests.paths import SPECS

CASES = tomllib.loads((SPECS / "triage/process_chains.toml").read_text(encoding="utf-8"))["case"]


def drawn(events: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for chain in process_chains(events, found):
        for depth, step in enumerate(chain):
            marks = (step.pid, "*" if step.in_match else "?" if step.found else None)
            lines.append("  " * depth + " ".join(str(one) for one in (step.name or "-", *marks) if one is not None))
    return "\n".join(lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_chains_of_some_events(case: dict[str, Any]) -> None:
    assert drawn(json.loads(case["events"]), json.loads(case.get("found", "[]"))) == case["chains"].strip()


def start(second: int, pid: int, name: str, parent: int, **more: Any) -> dict[str, Any]:
    """The start of a process as a source without entity ids tells it."""
    process = {"pid": pid, "name": name, "executable": f"/bin/{name}", "parent": {"pid": parent}}
    event = {"category": ["process"], "type": ["start"]}
    return {
        "@timestamp": f"2026-03-02T10:00:{second:02}Z",
        "event": event,
        "host": {"id": "h"},
        "process": process | more,
    }


EVENTS = [
    start(1, 10, "sshd", 1),
    start(2, 20, "bash", 10),
    {**start(3, 20, "other", 11), "host": {"id": "another host"}},
    start(5, 30, "sh", 20),
    start(6, 40, "curl", 30),
    start(9, 30, "later", 99),
]
OWN = [{**EVENTS[4], "kibana.alert.original_time": "2026-03-02T10:00:06Z"}]


@pytest.fixture
def lookup(tmp_path: Any) -> FileLookup:
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(map(json.dumps, EVENTS)) + "\n")
    return FileLookup([path])


def test_ancestors_are_looked_up_by_host_pid_and_time(lookup: FileLookup) -> None:
    found = asyncio.run(looked_up_ancestors(OWN, lookup, seconds=60))
    assert drawn(OWN, found.documents).split("\n") == [
        "- 1",
        "  sshd 10 ?",
        "    bash 20 ?",
        "      sh 30 ?",
        "        curl 40 *",
    ]
    assert found.note == ""


def test_ancestors_are_looked_up_by_entity_id(tmp_path: Any) -> None:
    path = tmp_path / "events.ndjson"
    known = start(1, 5, "b", 4, entity_id="B", Ext={"ancestry": ["A"]})
    silent = {
        "@timestamp": "2026-03-02T10:00:02Z",
        "event": {"category": "file"},
        "process": {"entity_id": "A", "name": "a"},
    }
    path.write_text(json.dumps(known) + "\n" + json.dumps(silent) + "\n")
    own = [{"host": {"id": "h"}, "process": {"entity_id": "D", "name": "d", "Ext": {"ancestry": ["C", "B", "A"]}}}]
    found = asyncio.run(looked_up_ancestors(own, FileLookup([path]), seconds=60))
    assert drawn(own, found.documents) == "a 4 ?\n  b 5 ?\n    -\n      d *"
    assert found.note == "1 process of the chain not known: no event of its own was found"


def test_it_is_said_why_ancestors_are_not_known() -> None:
    def note(lookup: EventLookup | None, seconds: float = 60) -> str:
        return asyncio.run(looked_up_ancestors(own, lookup, seconds=seconds)).note

    own = [{"process": {"entity_id": "C", "name": "c", "Ext": {"ancestry": ["B", "A"]}}}]
    assert (
        note(None) == "2 processes of the chain not known: give --events, or the settings of a cluster, to look them up"
    )
    assert note(FileLookup(["-"])) == "2 processes of the chain not known: standard input is not read again"
    assert "no/such/file" in note(FileLookup(["no/such/file"]))
    assert note(FileLookup([]), seconds=0) == "2 processes of the chain not known: the time for it was over"


class Endless:
    """A look-up in which every process has a parent."""

    def __init__(self) -> None:
        self.asked = 0

    async def newest(self, kql: str, *, size: int, seconds: float) -> LookedUp:
        self.asked += 1
        process = {"entity_id": f"P{self.asked}", "name": "p", "parent": {"entity_id": f"P{self.asked + 1}"}}
        return LookedUp(({"process": process},))


def test_an_endless_chain_is_cut() -> None:
    lookup = Endless()
    own = [{"process": {"entity_id": "P0", "name": "c", "parent": {"entity_id": "P1"}}}]
    found = asyncio.run(looked_up_ancestors(own, lookup, seconds=60))
    assert lookup.asked < 20 and len(found.documents) < 20
    assert "8 generations" in found.note
