"""Several workers find what one process finds, to the last broken line; one that is killed costs a clear error."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from runner import eql
from runner.engine.plan import KeyField, with_keys
from runner.errors import EventsError
from runner.events.fields.schema import DataType, Field, Schema, shipped_schema
from runner.events.files.event_files import EventFiles, ReadReport, TimeWanted
from runner.search.files.file_pass import matched
from runner.search.files.worker import SplitSearch
from runner.search.files.worker_pool import WorkerPool
from tests.search.files.test_live_files import line_of

pytestmark = pytest.mark.slow

TIME = Field("@timestamp", DataType.DATE)
WANTED = TimeWanted(("@timestamp",))
QUERIES = (
    'any where event.action == "a"',
    "sequence by host.id with maxspan=30s [any where true] [any where true]",
    'sequence by host.id with maxspan=30s [any where event.action == "a"] ![any where event.action == "b"]',
    'sequence [any where event.action == "b"] [any where event.action == "c"] until [any where event.action == "a"]',
    'sample by host.id [any where event.action == "a"] [any where true]',
    "any where true | head 5",
    'any where substring(event.id, 0) == "7"',
)


def asks() -> list[eql.Ask]:
    schema = Schema(shipped_schema().fields, lenient=True)
    programs = [eql.compile(query, schema) for query in QUERIES]
    keys = [KeyField(schema.fields["event.action"]), KeyField(schema.fields["host.id"], optional=True)]
    programs.append(replace(programs[0], plan=with_keys(programs[0].plan, keys)))
    return [eql.SearchOptions(size=10**6).ask(program, now_ns=0) for program in programs]


def answers(paths: Sequence[Path], workers: int, part_size: int) -> tuple[list[Any], ReadReport]:
    with EventFiles(paths) as files:
        found, _ = matched(files, asks(), [TIME], wanted=WANTED, workers=workers, part_size=part_size)
        shown = [
            (
                answer.error,
                [(match.key, [files.fetch(event) if event is not None else None for event in match.events])
                 for match in answer.matches],
            )
            for answer in found
        ]  # fmt: skip
        return shown, files.report()


def write_files(rng: Random, folder: Path, *, ordered: bool) -> None:
    for place, name in enumerate(("a.ndjson", "b.ndjson", "c.ndjson.gz", "d.json")):
        start = place * 3_000 if ordered else 0
        lines = [line_of(rng, start + number, start + number) for number in range(2_500)]
        if name == "d.json":
            text = b"[" + b",\n".join(line for line in lines if line.startswith(b'{"')) + b"]"
        else:
            text = b"\n".join(lines) + rng.choice((b"", b"\n"))
        (folder / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)


@pytest.mark.parametrize("ordered", [True, False])
def test_several_workers_answer_as_one(tmp_path: Path, ordered: bool) -> None:
    write_files(Random(ordered), tmp_path, ordered=ordered)
    one, report = answers([tmp_path], 1, 1 << 20)
    several, of_several = answers([tmp_path], 2, 30_000)
    assert several == one
    assert of_several == report
    assert report.broken > 100
    assert [len(found) for _, found in one] == [len(found) for _, found in several]
    assert all(found for error, found in one if error is None)


def test_a_line_that_is_longer_than_a_part_is_read_once(tmp_path: Path) -> None:
    long = orjson.dumps(
        {"@timestamp": 1_700_000_000_000, "event": {"action": "a", "id": "x" * 200_000}, "host": {"id": "h"}}
    )
    short = long.replace(b"x" * 200_000, b"x")
    (tmp_path / "a.ndjson").write_bytes(b"\n".join([short, b"broken", long, short, long, b"", b"{", short]))
    assert answers([tmp_path], 2, 10_000) == answers([tmp_path], 1, 10_000)


def test_a_worker_that_is_killed_is_an_error_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b"".join(line_of(Random(1), number, number) + b"\n" for number in range(3_000)))
    with EventFiles([tmp_path]) as files:
        parts = files.parts(TIME, size=20_000)
        job = SplitSearch(tuple(asks()), (TIME,), WANTED, files.folder / "lines")
        ended = r"a\.ndjson: a worker process was ended by SIGKILL while it searched"
        with pytest.raises(EventsError, match=ended), WorkerPool(1, job) as pool:
            for _, _finding in pool.findings(parts):
                (process,) = pool.processes()
                os.kill(process, signal.SIGKILL)
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_worker_that_is_told_to_stop_goes_on_until_its_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(b"".join(line_of(Random(1), number, number) + b"\n" for number in range(3_000)))
    with EventFiles([tmp_path]) as files:
        parts = files.parts(TIME, size=20_000)
        job = SplitSearch(tuple(asks()), (TIME,), WANTED, files.folder / "lines")
        done = 0
        with WorkerPool(2, job) as pool:
            for _, finding in pool.findings(parts):
                for process in pool.processes():
                    os.kill(process, signal.SIGTERM)
                done += finding.is_last
        assert done == len(parts)
        assert done > 10


def test_a_file_that_is_gone_is_told_by_workers_too(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.ndjson").write_bytes(line_of(Random(1), 1, 1) + b"\n")
    with EventFiles([tmp_path]) as files:
        (tmp_path / "b.ndjson").unlink()
        matched(files, asks(), [TIME], wanted=WANTED, workers=2)
        assert files.report().events == 1
        assert files.report().unread == (f"{tmp_path / 'b.ndjson'}: cannot be read: no such file or directory",)
