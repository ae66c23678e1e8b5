"""Files that are written to, rotated, cut off and replaced between passes: a search that remembers where events of
which time stand answers as one that reads everything."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from runner.events.columns.batch import Columns
from runner.events.fields.schema import DataType, Field
from runner.events.files.event_files import EventFiles, ReadReport, TimeWanted
from runner.events.files.time_index import TimeIndex
from runner.search.compiled_rule import CompiledRule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.windows import Window
from tests.compiled import compiled
from tests.search.files.test_file_search import rule_with

pytestmark = pytest.mark.slow

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
TIMELINES = max(4, int(os.environ.get("RUNNER_FUZZ", "0")) // 200)
RULES = [
    rule_with(rule_id="event", query='any where event.action == "a"'),
    rule_with(rule_id="ingested", query='any where event.action == "b"', timestamp_override="event.ingested"),
    rule_with(rule_id="sequence", query="sequence by host.id with maxspan=30s [any where true] [any where true]"),
    rule_with(rule_id="sample", query='sample by host.id [any where event.action == "a"] [any where true]'),
]


def line_of(rng: Random, seconds: float, number: int) -> bytes:
    time = BEGIN + timedelta(seconds=seconds - rng.choice((0, 0, 0, 1, 5, 100)))
    late = time + timedelta(seconds=rng.choice((0, 1, 60)))
    document = {
        "@timestamp": time.isoformat(),
        "event": {"action": rng.choice("abc"), "ingested": late.isoformat(), "id": str(number)},
        "host": {"id": rng.choice("xyz")},
    }
    if rng.random() < 0.05:
        del document["@timestamp"]
    return orjson.dumps(document) if rng.random() < 0.97 else b"{broken"


def change(rng: Random, folder: Path, seconds: float, numbers: list[int]) -> None:
    """Do something to the log that could happen to one."""
    log = folder / "events.log"
    lines = []
    for _ in range(rng.choice((0, 1, 20, 300))):
        numbers[0] += 1
        lines.append(line_of(rng, seconds, numbers[0]) + b"\n")
    text = b"".join(lines)
    if rng.random() < 0.2:
        text = text[: rng.randint(0, len(text))]  # the writer is not done with its last line
    event = rng.random()
    if event < 0.15 and log.exists():
        for number in (2, 1):
            older = folder / f"events.log.{number}"
            if older.exists():
                older.rename(folder / f"events.log.{number + 1}")
        log.rename(folder / "events.log.1")
    elif event < 0.22:
        log.write_bytes(b"")
    elif event < 0.29:
        other = folder / "new"
        other.write_bytes(text)
        other.rename(log)
        text = b""
    elif event < 0.33 and (folder / "events.log.1").exists():
        (folder / "packed.log.gz").write_bytes(gzip.compress((folder / "events.log.1").read_bytes()))
    with log.open("ab") as file:
        file.write(text)


async def answer(search: FileSearch, start: float, end: float) -> tuple[list[Any], ReadReport]:
    window = Window(BEGIN + timedelta(seconds=start), BEGIN + timedelta(seconds=end))
    found = []
    async for result in search.run([SearchRequest(compiled(rule), window, 100) for rule in RULES]):
        assert result.error is None
        hits = [[hit.source for hit in match.hits] for match in result.matches]
        found.append((result.request.rule.rule_id, hits, result.warnings, result.complete))
    return found, search.report


async def fresh(folder: Path, start: float, end: float) -> tuple[list[Any], ReadReport]:
    search = FileSearch([folder], live=True)
    await search.prepare([*map(compiled, RULES)])
    try:
        return await answer(search, start, end)
    finally:
        await search.close()


async def timeline(rng: Random, folder: Path) -> None:
    known = FileSearch([folder], live=True)
    await known.prepare([*map(compiled, RULES)])
    seconds, numbers = 0.0, [0]
    for _ in range(12):
        seconds += rng.choice((0, 10, 60, 600))
        change(rng, folder, seconds, numbers)
        start = seconds - rng.choice((30, 300, 3_000))
        assert await answer(known, start, seconds) == await fresh(folder, start, seconds)
    await known.close()


@pytest.mark.slow
def test_what_is_remembered_of_files_changes_no_answer(tmp_path: Path) -> None:
    for seed in range(TIMELINES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        asyncio.run(timeline(Random(seed), folder))


def test_a_pass_reads_what_was_added_and_what_is_of_its_time(tmp_path: Path) -> None:
    rng, log, told = Random(1), tmp_path / "events.log", list[int]()
    log.write_bytes(b"".join(line_of(rng, number, number) + b"\n" for number in range(20_000)))
    index = TimeIndex()
    read = []
    for start in (0, 19_990, 10_000):
        told.clear()
        span = (int((BEGIN.timestamp() + start) * 1e9), int((BEGIN.timestamp() + start + 60) * 1e9))
        with EventFiles([log], index=index) as files:
            columns = Columns([Field("@timestamp", DataType.DATE)])
            wanted = TimeWanted(("@timestamp",), (span,))
            batches = files.batches(columns, wanted=wanted, progress=told.append)
            read.append(sum(map(len, batches)))
            assert sum(told) == log.stat().st_size  # what is passed over counts as done
            assert files.report().events == read[0] + 50 * (start > 0)
        if not start:
            added = [line_of(rng, 20_000 + number, 0).replace(b"{broken", b"{}") + b"\n" for number in range(50)]
            with log.open("ab") as file:
                file.write(b"".join(added))
    assert read[1] < 3_000
    assert read[2] < 3_000


def test_the_index_of_many_files_is_bounded(tmp_path: Path) -> None:
    rng, index = Random(2), TimeIndex(most_stretches=4)
    logs = [tmp_path / f"events.log.{place}" for place in range(4)]
    for log in logs:
        log.write_bytes(b"".join(line_of(rng, second, second) + b"\n" for second in range(2_000)))
    columns, late = Columns([Field("@timestamp", DataType.DATE)]), int((BEGIN.timestamp() + 9_999) * 1e9)

    def read(paths: Sequence[Path], *, start: int = late) -> tuple[int, int]:
        with EventFiles(paths, index=index) as files:
            wanted = TimeWanted(("@timestamp",), ((start, late),))
            return sum(map(len, files.batches(columns, wanted=wanted))), files.report().events

    counts = [read([log], start=0) for log in logs]
    assert len(index) == 2
    assert read([logs[3]]) == (0, counts[3][1])
    assert read([logs[0]]) == counts[0]
    assert len(index) == 2
    everything = sum(events for _, events in counts)
    for _ in range(2):
        assert read(logs)[1] == everything
        assert len(index) == 2


@pytest.mark.slow
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
async def test_files_of_one_time_are_read_side_by_side(tmp_path: Path, order: Sequence[int]) -> None:
    rng = Random(3)
    texts = [b"".join(line_of(rng, number, number) + b"\n" for number in range(start, 6_000, 3)) for start in range(3)]
    for name, text in zip("abc", [texts[place] for place in order], strict=True):
        (tmp_path / f"{name}.ndjson").write_bytes(text)
    search = FileSearch([tmp_path])
    await search.prepare([*map(compiled, RULES)])
    found, report = await answer(search, 0, 6_000)
    await search.close()
    together = tmp_path / "together"
    together.mkdir()
    (together / "all.ndjson").write_bytes(b"".join(texts[place] for place in order))
    whole, of_one = await fresh(together, 0, 6_000)
    # The numbers of the events go by the order of the files: events of one time follow each other as they stand there.
    assert [entry[:2] for entry in found] == [entry[:2] for entry in whole]
    assert dataclasses.replace(report, files=1, examples=of_one.examples) == of_one


async def test_a_file_that_is_replaced_while_the_files_are_looked_up_is_still_owed(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_bytes(line_of(Random(1), 1, 1) + b"\n")
    search = FileSearch([log])
    await search.prepare([*map(compiled, RULES)])
    assert search.bytes_to_read()
    log.rename(tmp_path / "events.log.1")
    log.write_bytes(line_of(Random(1), 2, 2) + b"\n")
    found, report = await answer(search, 0, 100)
    await search.close()
    assert [entry[3] for entry in found] == [False] * len(RULES)
    assert report.unread == (f"{log}: cannot be read: was replaced while the files were looked up",)


def line(second: int, **more: Any) -> bytes:
    time = (BEGIN + timedelta(seconds=second)).isoformat()
    return orjson.dumps({"@timestamp": time, "event": {"category": "process"}, **more}) + b"\n"


def found_in(search: FileSearch, rules: Sequence[CompiledRule], start: int, end: int) -> list[int]:
    """How many events each of the rules finds between two seconds."""

    async def run() -> list[int]:
        await search.prepare(rules)
        window = Window(BEGIN + timedelta(seconds=start), BEGIN + timedelta(seconds=end))
        results = [result async for result in search.run([SearchRequest(rule, window, 100) for rule in rules])]
        assert all(result.error is None for result in results)
        return [len(result.matches) for result in results]

    return asyncio.run(run())


def test_an_optional_field_below_a_not_counts_if_older_files_have_it(tmp_path: Path) -> None:
    old, now = tmp_path / "events.log.1", 30 * 86_400
    old.write_bytes(b"".join(line(second) for second in range(50_000)) + line(50_001, own={"level": "low", "part": 1}))
    seconds = (BEGIN + timedelta(days=1)).timestamp()
    os.utime(old, (seconds, seconds))
    (tmp_path / "events.log").write_bytes(b"".join(line(now + second) for second in range(20)))
    ours = compiled(rule_with(rule_id="ours", query='process where not ?own.level : "high"'))
    absent = compiled(rule_with(rule_id="absent", query='process where not ?own.nowhere : "high"'))
    search = FileSearch([tmp_path], live=True)
    assert found_in(search, [ours, absent], now, now + 10) == [11, 0]
    later = compiled(rule_with(rule_id="later", query="process where not ?own.part > 5"))
    assert found_in(search, [ours, absent, later], now + 5, now + 10) == [6, 0, 6]


def test_a_text_field_without_a_keyword_is_compared_as_it_was_written(tmp_path: Path) -> None:
    texts = ["say Hello to Bob", "hello", "nothing"]
    lines = [line(second, powershell={"file": {"script_block_text": text}}) for second, text in enumerate(texts)]
    (tmp_path / "events.log").write_bytes(b"".join(lines))
    conditions = [f"process where powershell.file.script_block_text {one}" for one in (': "*hello*"', '== "hello"')]
    rules = [compiled(rule_with(rule_id=str(place), query=one)) for place, one in enumerate(conditions)]
    assert found_in(FileSearch([tmp_path], live=True), rules, 0, 10) == [2, 1]


def copy_and_truncate(log: Path) -> None:
    log.with_name(f"{log.name}.1").write_bytes(log.read_bytes())
    with log.open("r+b") as file:
        file.truncate(0)


def copy_and_leave_a_hole(log: Path) -> None:
    size = log.stat().st_size
    copy_and_truncate(log)
    with log.open("r+b") as file:
        file.seek(size)
        file.write(line_of(Random(9), 5, 9) + b"\n")


@pytest.mark.parametrize("rotate", [copy_and_truncate, copy_and_leave_a_hole, lambda log: log.rename(f"{log}.1")])
@pytest.mark.parametrize("has_read_it", [True, False])
@pytest.mark.parametrize("turn", [1, 2])
async def test_a_log_that_is_rotated_during_a_pass_is_read_from_where_its_text_is(
    tmp_path: Path, rotate: Callable[[Path], object], has_read_it: bool, turn: int
) -> None:
    """The second file is rotated while the first is read, or while it is read itself."""
    rng, log, told = Random(4), tmp_path / "b.log", list[int]()
    (tmp_path / "a.log").write_bytes(b"".join(line_of(rng, 0, number) + b"\n" for number in range(50)))
    log.write_bytes(b"".join(line_of(rng, 2_000, number) + b"\n" for number in range(1_000)))
    rotates_at = None if has_read_it else turn

    def progress(size: int) -> None:
        told.append(size)
        if len(told) == rotates_at:
            rotate(log)

    search = FileSearch([tmp_path], live=True, progress=progress)
    await search.prepare([*map(compiled, RULES)])
    if has_read_it:
        await answer(search, 0, 2_060)
        told.clear()
        rotates_at = turn
    found = await answer(search, 0, 2_060)
    await search.close()
    assert len(told) > turn
    assert found == await fresh(tmp_path, 0, 2_060)
    assert search.report.is_whole
