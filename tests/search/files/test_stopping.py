"""A pass over files that is stopped by a signal or by its time limit: what it has found, and what it owes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import StoppedError
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest, SearchResult
from runner.windows import Window
from tests.compiled import compiled
from tests.scenarios.timeline import at, ndjson
from tests.search.lab import rule

SINGLE = 'process where process.name == "nc"'
PAIR = 'sequence by user.name with maxspan=1m [process where process.name == "nc"] [process where process.name == "sh"]'
ABSENT = 'sequence by user.name with maxspan=1m [process where process.name == "nc"] ![process where process.pid == 1]'
SAMPLE = 'sample by user.name [process where process.name == "nc"] [process where process.name == "sh"]'
WINDOW = Window(at("10:00:00"), at("11:00:00"))


def write_hours(folder: Path, files: int) -> None:
    """Files of two minutes each: a `nc` and, ten seconds later, a `sh` of the same user."""
    for number in range(files):
        minute = 2 * number
        lines = [
            f"n{number} exec 10:{minute:02}:10.000 name=nc user=u{number}",
            f"s{number} exec 10:{minute:02}:20.000 name=sh user=u{number}",
        ]
        (folder / f"{number:02}.ndjson").write_text(ndjson(lines))


def stopping_after(calls: int) -> Callable[[int], None]:
    left = [calls]

    def progress(count: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError("interrupted by SIGTERM")

    return progress


async def searched(
    folder: Path, query: str, progress: Callable[[int], None], limit: timedelta | None = None
) -> SearchResult:
    search = FileSearch([folder], progress=progress, time_limit=limit)
    asked = compiled(rule(query, index=["*"]))
    assert not await search.prepare([asked])
    (result,) = [result async for result in search.run([SearchRequest(asked, WINDOW, 100)])]
    assert result.error is None
    list(result.matches)  # every document can be read
    await search.close()
    return result


def ids(result: SearchResult) -> list[tuple[object, ...]]:
    return [tuple(hit.source["event"]["id"] for hit in match.hits if not hit.missing) for match in result.matches]


@given(st.integers(0, 40), st.sampled_from([SINGLE, PAIR, ABSENT, SAMPLE]))
@settings(max_examples=40, deadline=None)
async def test_what_a_stopped_pass_finds_is_what_a_whole_one_finds(calls: int, query: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_hours(Path(name), 8)
        whole = await searched(Path(name), query, lambda count: None)
        part = await searched(Path(name), query, stopping_after(calls))
        found, everything = ids(part), ids(whole)
        if part.complete:
            assert found == everything
        else:
            assert "interrupted by SIGTERM" in part.warnings[0] and "its window stays owed" in part.warnings[0]
            assert [one for one in everything if one in found] == found
            assert query not in (ABSENT, SAMPLE) or not found


async def test_a_pass_that_is_stopped_late_has_found_what_came_early(tmp_path: Path) -> None:
    write_hours(tmp_path, 8)
    part = await searched(tmp_path, SINGLE, stopping_after(10))
    assert not part.complete and ids(part)[:2] == [("n0",), ("n1",)]


async def test_a_pass_over_its_time_limit_is_stopped_and_names_limit_and_file(tmp_path: Path) -> None:
    write_hours(tmp_path, 2)
    result = await searched(tmp_path, SINGLE, lambda count: None, timedelta(microseconds=1))
    assert not result.complete
    assert "(RUNNER_SEARCH_TIMEOUT) and was stopped" in result.warnings[0]
    assert str(tmp_path) in result.warnings[0]


@pytest.mark.parametrize("age_s", [0, 7_200])
async def test_the_rest_of_the_last_line_is_waited_for_while_the_file_is_written_to(tmp_path: Path, age_s: int) -> None:
    file = tmp_path / "live.ndjson"
    line = ndjson(["e1 exec 10:01:00.000 name=nc"])
    file.write_text(line + line[:40])
    then = time.time() - age_s
    os.utime(file, (then, then))
    result = await searched(tmp_path, SINGLE, lambda count: None)
    assert result.complete and ids(result) == [("e1",)]
    assert [text.partition(":")[0] for text in result.warnings] == (["1 broken line skipped"] if age_s else [])


async def test_the_last_line_of_a_named_file_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "named.ndjson"
    file.write_text('{"@timestamp": ')
    result = await searched(file, SINGLE, lambda count: None)
    assert "1 broken line skipped" in result.warnings[0]


async def test_a_large_array_and_every_further_pass_are_signs_of_life(tmp_path: Path) -> None:
    document = {"@timestamp": "2026-03-02T10:01:00Z", "event": {"category": "process"}, "process": {"name": "nc"}}
    event = json.dumps(document | {"message": "m" * 1_000})
    (tmp_path / "array.json").write_text(f"[{','.join([event] * 4_000)}]")
    steps: list[int] = []
    search = FileSearch([tmp_path], progress=steps.append)
    asked = compiled(rule(SINGLE, index=["*"]))
    await search.prepare([asked])
    for _ in range(2):
        steps.clear()
        (result,) = [result async for result in search.run([SearchRequest(asked, WINDOW, 100)])]
        assert result.complete and steps
    assert search.bytes_to_read() >= sum(steps)
    await search.close()
