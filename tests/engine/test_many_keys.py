"""Events with lists of values as join keys: a match for each combination, of which one event may have so many."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.engine.sequence.stage_sink import MOST_KEYS
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window
from tests.compiled import compiled
from tests.scenarios.timeline import at
from tests.search.files.test_file_search import rule_with

SEQUENCE = "sequence by process.args, user.name [process where true] [process where true]"
SAMPLE = "sample by process.args, user.name [process where true] [process where true]"


def events(path: Path, *lists: tuple[int, int]) -> None:
    """A file with an event for each pair: that many process arguments and user names."""
    documents: list[dict[str, Any]] = [
        {
            "@timestamp": f"2026-03-02T10:00:{second:02}Z",
            "event": {"category": "process", "id": str(second)},
            "process": {"args": [f"a{number}" for number in range(args)]},
            "user": {"name": [f"u{number}" for number in range(users)]},
        }
        for second, (args, users) in enumerate(lists)
    ]
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in documents))


def result(path: Path, query: str, *, workers: int = 1) -> SearchResult:
    async def search() -> SearchResult:
        rule = compiled(rule_with(query=query))
        files = FileSearch([path], workers=workers)
        await files.prepare([rule])
        (found,) = [one async for one in files.run([SearchRequest(rule, Window(at("10:00:00"), at("10:05:00")), 100)])]
        assert found.error is None
        list(found.matches)
        return found

    return asyncio.run(search())


@pytest.mark.parametrize("query", [SEQUENCE, SAMPLE])
def test_matches_on_the_same_events_are_one(tmp_path: Path, query: str) -> None:
    events(tmp_path / "e.ndjson", (3, 20), (2, 30))
    assert len(result(tmp_path / "e.ndjson", query).matches) == 1


@pytest.mark.parametrize("query", [SEQUENCE, SAMPLE])
def test_an_event_with_too_many_keys_is_left_out_and_told(tmp_path: Path, query: str) -> None:
    events(tmp_path / "e.ndjson", (1, 1), (MOST_KEYS, 2), (1, 1), (60_000, 60_000))
    found = result(tmp_path / "e.ndjson", query)
    assert len(found.matches) == 1
    assert found.warnings == ("2 events were left out: lists of values make over 65,536 combinations of join keys",)
    assert found.complete


def test_sixty_thousand_keys_of_one_event_are_matched(tmp_path: Path) -> None:
    events(tmp_path / "e.ndjson", (60_000, 1), (60_000, 1))
    found = result(tmp_path / "e.ndjson", SEQUENCE)
    assert (len(found.matches), found.warnings) == (1, ())
