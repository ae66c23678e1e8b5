"""The events that exceptions leave out of a pass over files: counted always, shown where that is wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from runner.engine.exclusions import KEPT_EVENTS
from runner.exceptions import load_exceptions
from runner.search.files import file_search
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest, SearchResult
from tests.compiled import compiled
from tests.search.lab import WINDOW, process, rule

EXCEPTION = """
[[exception]]
name = "{0}"
reason = "r"
expires = "never"
all_rules = true
when = {{ "host.id" = "{0}" }}
"""


async def searched(folder: Path, *, workers: int, keeps: bool) -> SearchResult:
    (folder / "e.toml").write_text("".join(map(EXCEPTION.format, "ab")))
    items = load_exceptions([folder / "e.toml"]).items
    asked = replace(compiled(rule('process where process.name == "sh"')), exceptions=items)
    search = FileSearch([folder / "events"], workers=workers, keeps_excluded=keeps)
    assert not await search.prepare([asked])
    (result,) = [result async for result in search.run([SearchRequest(asked, WINDOW, 10)])]
    assert len(result.matches) == 2
    await search.close()
    return result


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.slow)])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(file_search, "_WORTH_WORKERS", 0)
    return int(request.param)


async def test_some_are_shown_where_that_is_wanted(tmp_path: Path, workers: int) -> None:
    (tmp_path / "events").mkdir()
    for number in range(2):
        kinds = [("sh", "a")] * 70 + [("sh", "b")] * 5 + [("sh", "c"), ("ls", "a"), ("ls", "b")]
        events = [process(number + place / 100, name, **{"host.id": host}) for place, (name, host) in enumerate(kinds)]
        (tmp_path / "events" / f"{number}.ndjson").write_bytes(b"\n".join(map(orjson.dumps, events)))
    result = await searched(tmp_path, workers=workers, keeps=True)
    shown = {
        one.item.name: [(hit.source["process.name"], hit.source["host.id"]) for hit in one.hits]
        for one in result.excepted
    }
    assert shown == {"a": [("sh", "a")] * KEPT_EVENTS, "b": [("sh", "b")] * 10}
    assert {one.item.name: one.events for one in result.excepted} == {"a": 140, "b": 10}
    quiet = await searched(tmp_path, workers=workers, keeps=False)
    assert {one.item.name: (one.events, one.hits) for one in quiet.excepted} == {"a": (140, ()), "b": (10, ())}
