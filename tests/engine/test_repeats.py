"""A document of an index that comes more than once is one event, in every kind of query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import eql
from runner.engine.repeats import Repeats
from runner.eql.search_api import SearchOptions
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import shipped_schema
from runner.events.files.event_files import EventFiles, TimeWanted
from runner.search.files.file_pass import matched
from runner.search.files.file_search import date_field

QUERIES = (
    'process where process.name == "a"',
    "sequence by host.id with maxspan=5s [process where true] with runs=3",
    'sequence by host.id [process where process.name == "a"] [process where process.name == "b"]',
    'sequence by host.id with maxspan=3s [process where process.name == "a"] ![process where process.name == "b"]',
    'sequence [process where process.name == "a"] [process where true] until [process where process.name == "b"]',
    'sample by host.id [process where process.name == "a"] [process where true]',
)
NAMES = ("logs-x-default", ".ds-logs-x-default-2026.03.01-000001", ".ds-logs-x-default-2026.03.02-000002")
"""One data stream and its backing indices."""


def hit(number: int, *, second: int, host: str, name: str, index: str = NAMES[0]) -> dict[str, Any]:
    source = {
        "@timestamp": f"2026-03-01T10:00:{second:02}.000Z",
        "event": {"category": "process", "id": f"e{number}"},
        "process": {"name": name},
        "host": {"id": host},
    }
    return {"_index": index, "_id": f"id-{number}", "_source": source}


def ask_of(query: str) -> eql.Ask:
    options = SearchOptions(size=1_000).validated()
    return options.ask(options.program(options.parsed(query), shipped_schema()), now_ns=0)


def batch_of(columns: Columns, lines: Sequence[dict[str, Any]], base: int) -> EventBatch:
    text = [orjson.dumps(line) for line in lines]
    return EventBatch.of_lines(columns, text, base=base, broken=lambda place, why: pytest.fail(why))


def ids(query: str, lines: Sequence[dict[str, Any]], *, repeats: Repeats | None) -> list[list[str | None]]:
    """The ids of the events of each match; the lines are fed a few at a time."""
    matcher = eql.Matcher([ask_of(query)], unordered=[0], repeats=repeats)
    columns = Columns(matcher.fields())
    for base in range(0, len(lines), 3):
        matcher.feed(batch_of(columns, lines[base : base + 3], base))
    (found,) = matcher.found()
    return [[None if one is None else lines[one].get("_id") for one in match.events] for match in found.matches]


EVENTS = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from("hi"), st.sampled_from("ab"), st.sampled_from(NAMES)), max_size=12
)
COPIES = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from(NAMES)), max_size=8)


@given(EVENTS, COPIES, st.sampled_from(QUERIES))
def test_copies_change_nothing(
    made: list[tuple[int, str, str, str]], added: list[tuple[int, int, str]], query: str
) -> None:
    once = [
        hit(number, second=second, host=host, name=name, index=index)
        for number, (second, host, name, index) in enumerate(made)
    ]
    twice = list(once)
    for which, behind, index in added:
        if which < len(once):  # a copy stands anywhere after the document, perhaps in another backing index
            twice.insert(twice.index(once[which]) + 1 + behind, {**once[which], "_index": index})
    assert ids(query, twice, repeats=Repeats()) == ids(query, once, repeats=None)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("query", QUERIES)
def test_exports_that_overlap_are_read_as_one(tmp_path: Path, query: str, workers: int) -> None:
    made = [hit(number, second=number, host="hi"[number % 2], name="aabab"[number % 5]) for number in range(40)]
    exports = {"first": made[:25], "second": made[10:], "third": [{**one, "_index": NAMES[1]} for one in made[20:30]]}
    for name, part in {**exports, "whole": made}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.ndjson").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in part))

    def found(*names: str) -> list[list[str | None]]:
        files = EventFiles([str(tmp_path / name) for name in names])
        try:
            fields = [date_field(shipped_schema(), "@timestamp")]
            (one,), _ = matched(files, [ask_of(query)], fields, wanted=TimeWanted(), workers=workers, part_size=2_000)
            assert not one.error
            return [
                [None if event is None else files.fetch(event)["_id"] for event in match.events]
                for match in one.matches
            ]
        finally:
            files.close()

    assert found(*exports) == found("whole") != []


def test_another_index_or_no_index_is_another_event() -> None:
    one = hit(1, second=1, host="h", name="a")
    others = [{**one, "_index": "logs-y-default"}, {**one, "_index": ""}, {"_id": "id-1", "_source": one["_source"]}]
    assert len(ids(QUERIES[0], [one, *others, *others, one["_source"], one["_source"]], repeats=Repeats())) == 8


def test_the_latest_documents_are_remembered_and_no_more() -> None:
    columns = Columns(eql.Matcher([ask_of("any where true")]).fields())
    repeats = Repeats(room=100)

    def new(numbers: range, base: int) -> int:
        batch = batch_of(columns, [hit(number, second=0, host="h", name="a") for number in numbers], base)
        return len(repeats.first(batch, batch.all_rows()))

    assert new(range(1_000), 0) == 1_000
    assert new(range(900, 1_000), 1_000) == 0
    assert new(range(900), 2_000) == 900
