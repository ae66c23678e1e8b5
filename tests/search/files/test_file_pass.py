"""Sequences over files in any order: what is worked off on the way, on a promise that files may break, changes no
answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from runner import eql
from runner.engine.filter.predicates import Conjuncts
from runner.engine.filter.stage_filter import StageFilterPool
from runner.events.fields.schema import DataType, Field
from runner.events.files.event_files import EventFiles, TimeWanted
from runner.search.files.file_pass import matched
from tests.engine.test_settling import SCHEMA, random_query

pytestmark = pytest.mark.slow

TIME = Field("@timestamp", DataType.DATE)
ROUNDS = max(15, int(os.environ.get("RUNNER_FUZZ", "0")) // 200)
MINUTE_MS = 60_000


def lines_of(rng: Random, count: int) -> list[tuple[int, bytes]]:
    """Events with their times, ascending; the times span hours, so that the allowance for late ones does not cover
    all."""
    moments = sorted(1_700_000_000_000 + rng.randint(0, 400) * MINUTE_MS + rng.choice((0, 500)) for _ in range(count))
    return [
        (
            moment,
            orjson.dumps(
                {
                    "@timestamp": moment,
                    "event.category": rng.choice("AAABBBCCD"),
                    "k": rng.choice(("x", "y", ["x", "z"])),
                    "n": rng.choice((1, 2)),
                }
            ),
        )
        for moment in moments
    ]


def write_files(rng: Random, folder: Path, order: str) -> None:
    lines, count = lines_of(rng, 300), rng.randint(2, 12)
    if order == "one after the other":
        size = len(lines) // count + 1
        files = [lines[start : start + size] for start in range(0, len(lines), size)]
        rng.shuffle(files)
    else:
        files = [[] for _ in range(count)]
        for line in lines:
            rng.choice(files).append(line)
    for number, events in enumerate(files):
        if order == "shuffled":
            rng.shuffle(events)
        elif order == "nearly":
            events.sort(key=lambda event: event[0] + rng.randint(0, 3) * MINUTE_MS)
        elif order == "begun earlier than it seems" and number % 2:
            events.insert(0, events.pop())
        (folder / f"{number:02}.ndjson").write_bytes(b"\n".join(line for _, line in events) + b"\n")


def answers(
    folder: Path, asks: Sequence[eql.Ask], *, room: int = 1 << 30, unordered: Sequence[int] = ()
) -> tuple[list[Any], frozenset[int]]:
    with EventFiles([folder]) as files:
        found, waiting = matched(
            files, asks, [TIME], wanted=TimeWanted(("@timestamp",)), room=room, unordered=unordered
        )
    return [(answer.error, list(answer.matches)) for answer in found], waiting


@pytest.mark.parametrize(
    "order", ["one after the other", "side by side", "nearly", "shuffled", "begun earlier than it seems"]
)
def test_what_is_worked_off_on_the_way_changes_no_answer(tmp_path: Path, order: str) -> None:
    had_to_wait = 0
    for seed in range(ROUNDS):
        rng = Random(f"{order} {seed}")
        folder = tmp_path / str(seed)
        folder.mkdir()
        write_files(rng, folder, order)
        queries = [random_query(rng).replace("maxspan=", f"maxspan={rng.choice('16')}000") for _ in range(4)]
        asks = [eql.SearchOptions(size=10_000).ask(eql.compile(query, SCHEMA), now_ns=0) for query in queries]
        whole, _ = answers(folder, asks, unordered=range(len(asks)))
        assert answers(folder, asks)[0] == whole, queries
        found, waiting = answers(folder, asks, room=1)
        assert found == whole, queries
        had_to_wait += bool(waiting)
    assert had_to_wait == 0 or order != "one after the other"
    assert had_to_wait > 0 or order != "begun earlier than it seems"


def test_what_earlier_passes_have_learnt_changes_no_answer(tmp_path: Path) -> None:
    for seed in range(ROUNDS):
        rng = Random(f"again {seed}")
        queries = [random_query(rng) for _ in range(4)]
        programs = [eql.compile(query, SCHEMA) for query in queries]
        conjuncts, filters = Conjuncts(), StageFilterPool()
        for turn in range(4):
            folder = tmp_path / f"{seed} {turn}"
            folder.mkdir()
            write_files(rng, folder, rng.choice(("one after the other", "shuffled")))
            given = programs if turn != 2 else programs[:2]  # others are asked for in between
            asks = [eql.SearchOptions(size=10_000).ask(program, now_ns=turn) for program in given]
            fields = [TIME] if turn < 3 else [TIME, Field("n", DataType.LONG)]
            found = []
            for kept in ((conjuncts, filters), (None, None)):
                with EventFiles([folder]) as files:
                    wanted = TimeWanted(("@timestamp",))
                    pairs, _ = matched(files, asks, fields, wanted=wanted, conjuncts=kept[0], filters=kept[1])
                found.append([(answer.error, list(answer.matches)) for answer in pairs])
            assert found[0] == found[1], queries
