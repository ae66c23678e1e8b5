"""Indicators in files: where they are looked for, when they are read again, and what is told of them."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from runner.rules.rule import Rule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Hit, SearchRequest, SearchResult
from runner.windows import Window
from tests.compiled import compiled
from tests.search.lab import WINDOW, process, request, results, rule


def of_indicators(query: str = "*:*", **fields: Any) -> Rule:
    mapping = [{"entries": [{"field": "source.ip", "value": "threat.indicator.ip", "type": "mapping"}]}]
    given = {"type": "threat_match", "language": "kuery", "threat_index": ("logs-ti_*",), "threat_mapping": mapping}
    return rule(**{"query": "*:*", "threat_query": query, "from": "now-65m", "interval": "1h"} | given | fields)


def write(path: Path, documents: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    return path


def indicator(ip: str, day: str = "2026-03-01", **fields: Any) -> dict[str, Any]:
    return {"@timestamp": f"{day}T00:00:00Z", "data_stream.type": "logs", "data_stream.dataset": "ti_lab"} | {
        "threat": {"indicator": {"ip": ip, "type": "ipv4-addr"}, "feed": {"name": "lab"}},
        **fields,
    }


EVENTS = [process(second, "x", **{"source.ip": f"10.0.0.{second}"}) for second in range(1, 4)]


@asynccontextmanager
async def search(events: Path, *indicators: Path) -> AsyncIterator[FileSearch]:
    made = FileSearch([events], indicators=indicators, live=events.is_dir())
    try:
        yield made
    finally:
        await made.close()


async def found(made: FileSearch, *asked: SearchRequest) -> list[SearchResult]:
    problems = await made.prepare(list(dict.fromkeys(one.compiled for one in asked)))
    assert not [problem for problem in problems if problem.severity == "error"], problems
    return await results(made, *asked)


def values(result: SearchResult) -> list[Any]:
    assert result.error is None, result.error
    return sorted(one.value for match in result.matches for one in match.indicators)


async def test_indicators_may_stand_among_the_events_of_named_files(tmp_path: Path) -> None:
    file = write(tmp_path / "events.ndjson", [*EVENTS, indicator("10.0.0.2")])
    async with search(file) as made:
        (result,) = await found(made, request(of_indicators()))
        assert values(result) == ["10.0.0.2"]
        (match,) = result.matches
        assert isinstance(match.indicators[0].hit, Hit)
        assert match.indicators[0].hit.source["threat"]["feed"]["name"] == "lab"


async def test_a_folder_that_is_written_to_needs_files_of_indicators(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    write(folder / "a.ndjson", [*EVENTS, indicator("10.0.0.2")])
    async with search(folder) as made:
        (result,) = await found(made, request(of_indicators()))
        assert (values(result), result.complete) == ([], True)
        assert any("no indicators are known" in text for text in result.warnings)
    async with search(folder, write(tmp_path / "ti.ndjson", [indicator("10.0.0.3")])) as made:
        (result,) = await found(made, request(of_indicators()))
        assert values(result) == ["10.0.0.3"] and not result.warnings


async def test_changed_files_are_read_again(tmp_path: Path) -> None:
    events, known = write(tmp_path / "e.ndjson", EVENTS), tmp_path / "ti"
    known.mkdir()
    write(known / "a.ndjson", [indicator("10.0.0.1")])
    asked = request(of_indicators())
    async with search(events, known) as made:
        assert values((await found(made, asked))[0]) == ["10.0.0.1"]
        assert values((await found(made, asked))[0]) == ["10.0.0.1"]
        write(known / "b.ndjson", [indicator("10.0.0.3")])
        assert values((await found(made, asked))[0]) == ["10.0.0.1", "10.0.0.3"]
        (known / "a.ndjson").unlink()
        assert values((await found(made, asked))[0]) == ["10.0.0.3"]


async def test_an_indicator_counts_by_its_query_at_the_end_of_each_window(tmp_path: Path) -> None:
    days = ["2026-02-01", "2026-02-02", "2026-02-20"]
    file = write(tmp_path / "ti.ndjson", [indicator(f"10.0.0.{n}", day) for n, day in enumerate(days, 1)])
    later = Window(WINDOW.start, WINDOW.end + timedelta(days=1, seconds=-1))
    for query, last in (('@timestamp >= "now-28d/d"', 2), ('@timestamp >= "now-28d-13h"', 2)):
        of = compiled(of_indicators(query))
        async with search(write(tmp_path / "e.ndjson", EVENTS), file) as made:
            first, second = await found(made, SearchRequest(of, WINDOW, 101), SearchRequest(of, later, 101))
            assert (values(first), values(second)) == (
                ["10.0.0.2", "10.0.0.3"],
                [f"10.0.0.{n}" for n in range(3, last + 2)],
            ), query


async def test_files_that_cannot_be_read_leave_the_window_owed(tmp_path: Path) -> None:
    events = write(tmp_path / "e.ndjson", EVENTS)
    packed = gzip.compress(b"".join(json.dumps(indicator(f"10.0.{n}.1")).encode() + b"\n" for n in range(200)))
    cut = tmp_path / "ti.ndjson.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    other = request(rule("any where true"))
    async with search(events, cut) as made:
        one, plain = await found(made, request(of_indicators()), other)
        assert (one.complete, plain.complete) == (False, True)
        assert any(text.startswith("indicators: ") for text in one.warnings) and not plain.warnings
    gone = write(tmp_path / "gone.ndjson", [indicator("10.0.0.1")])
    async with search(events, gone) as made:
        gone.unlink()
        one, plain = await found(made, request(of_indicators()), other)
        assert one.error is not None and "gone.ndjson" in one.error and not one.matches
        assert (plain.error, plain.complete, len(plain.matches)) == (None, True, 3)


async def test_broken_lines_spoil_only_themselves(tmp_path: Path) -> None:
    file = write(tmp_path / "ti.ndjson", [indicator("10.0.0.1"), indicator("no address"), indicator("10.0.0.3")])
    with file.open("a") as more:
        more.write('{"@timestamp": 1e400, "threat": {"indicator": {"ip": "10.0.0.2"}}}\nbroken {\n')
    async with search(write(tmp_path / "e.ndjson", EVENTS), file) as made:
        (result,) = await found(made, request(of_indicators()))
        assert values(result) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"] and result.complete
        assert any("broken" in text or "JSON" in text for text in result.warnings), result.warnings


async def test_indicators_come_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "ti"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write, args=(pipe, [indicator("10.0.0.2")]))
    writer.start()
    async with search(write(tmp_path / "e.ndjson", EVENTS), pipe) as made:
        for _ in range(2):  # it is read once
            assert values((await found(made, request(of_indicators())))[0]) == ["10.0.0.2"]
    writer.join()


async def test_rules_take_indicators_of_their_own(tmp_path: Path) -> None:
    file = write(
        tmp_path / "ti.ndjson",
        [indicator("10.0.0.1"), indicator("10.0.0.2", **{"data_stream.dataset": "own"}), indicator("10.0.0.3")],
    )
    own = of_indicators(rule_id="own", threat_index=("logs-own-*",))
    async with search(write(tmp_path / "e.ndjson", EVENTS), file) as made:
        given = await found(made, request(own), request(of_indicators('threat.indicator.ip:"10.0.0.3"')))
        assert [values(one) for one in given] == [["10.0.0.2"], ["10.0.0.3"]]


async def test_texts_are_compared_whole_and_the_check_says_so(tmp_path: Path) -> None:
    mapping = [{"entries": [{"field": "message", "value": "threat.indicator.description", "type": "mapping"}]}]
    of = of_indicators(threat_mapping=mapping)
    events = [process(n, "x", message=text) for n, text in enumerate(("bad thing", "bad", "Bad Thing"))]
    named = indicator("10.0.0.1")
    named["threat"]["indicator"]["description"] = "bad thing"
    async with search(write(tmp_path / "e.ndjson", events), write(tmp_path / "ti.ndjson", [named])) as made:
        assert values((await found(made, request(of)))[0]) == ["bad thing"]
    problems = await FileSearch(()).prepare([compiled(of)])
    assert ["all of its text is compared" in problem.message for problem in problems][:1] == [True]
