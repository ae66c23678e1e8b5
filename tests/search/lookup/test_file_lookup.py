"""Events looked up in files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.search.lookup.event_lookup import LookedUp
from runner.search.lookup.file_lookup import FileLookup

EVENTS = [
    {
        "@timestamp": f"2026-03-02T10:00:{second:02}Z",
        "process": {"pid": second},
        "host": {"name": "a"},
        "own": {"field": "x"},
    }
    for second in (3, 1, 2)
]


@pytest.fixture
def lookup(tmp_path: Path) -> FileLookup:
    (tmp_path / "e.ndjson").write_text("\n".join(map(json.dumps, EVENTS)) + "\nbroken\n")
    return FileLookup([tmp_path])


def pids(found: LookedUp) -> list[int]:
    return [document["process"]["pid"] for document in found.documents]


async def test_the_newest_events_come_first(lookup: FileLookup) -> None:
    found = await lookup.newest("host.name : a", size=2, seconds=60)
    assert (pids(found), found.incomplete) == ([3, 2], "")


async def test_numbers_times_and_fields_of_no_table_are_found(lookup: FileLookup) -> None:
    query = 'process.pid : (1 or 2) and @timestamp <= "2026-03-02T10:00:01Z" and own.field : x'
    assert pids(await lookup.newest(query, size=9, seconds=60)) == [1]


async def test_what_was_not_looked_at_is_said(lookup: FileLookup, tmp_path: Path) -> None:
    assert "standard input" in (await FileLookup(["-"]).newest("a : b", size=1, seconds=60)).incomplete
    assert "missing" in (await FileLookup([tmp_path / "missing"]).newest("a : b", size=1, seconds=60)).incomplete
    late = await lookup.newest("host.name : a", size=9, seconds=-1)
    assert "the time for it was over" in late.incomplete
    assert "expected" in (await lookup.newest("host.name : (", size=9, seconds=60)).incomplete
