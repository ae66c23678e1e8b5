"""Batches: values, timestamps and streams of events, however they were read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.columns.batch import Columns, EventBatch
from runner.events.columns.event_groups import STREAM_FIELDS, EventGroups
from runner.events.columns.projections import Projection, ProjectionCache
from runner.events.fields.schema import DataType, Field
from runner.events.fields.timestamp_column import NO_TIME

FIELDS = (Field("a", DataType.KEYWORD), Field("p.n", DataType.LONG), Field("@timestamp", DataType.DATE))


def unbroken(position: int, reason: str) -> None:
    raise AssertionError(f"line {position}: {reason}")


def batch_of(columns: Columns, sources: Sequence[dict[str, Any]], *, base: int = 0) -> EventBatch:
    return EventBatch(columns, [columns.decoder.row(source) for source in sources], base=base)


def test_values_of_some_rows() -> None:
    batch = batch_of(Columns(FIELDS), [{"p": {"n": number}} for number in range(5)])
    assert batch.values("p.n", np.array([1, 3])) == [1, 3]
    assert batch.values("p.n", np.array([], dtype=np.intp)) == []
    assert batch.values("p.n", batch.all_rows()) == [0, 1, 2, 3, 4]
    assert batch.values("p.n", np.array([0, 0, 3, 3, 1])) == [0, 0, 3, 3, 1]
    lines = [json.dumps({"p": {"n": number}}).encode() for number in range(5)]
    lazy = EventBatch.of_lines(Columns(FIELDS), lines, base=0, broken=unbroken)
    assert lazy.values("p.n", np.array([0, 0, 3, 3, 1])) == [0, 0, 3, 3, 1]
    assert lazy.values("p.n", lazy.all_rows()) == [0, 1, 2, 3, 4]


def test_timestamps() -> None:
    batch = batch_of(
        Columns(FIELDS),
        [{"@timestamp": "1970-01-01T00:00:01Z"}, {}, {"@timestamp": "soon"}, {"@timestamp": ["1970-01-02", "1971"]}],
    )
    assert batch.timestamps("@timestamp").tolist() == [10**9, NO_TIME, NO_TIME, 86_400 * 10**9]
    assert batch.unreadable_times == 1
    assert batch.timestamps("@timestamp") is batch.timestamps("@timestamp")
    assert batch.unreadable_times == 1


def groups_of(columns: Columns, *names: str) -> EventGroups:
    """EventGroups by these fields and the data stream."""
    return EventGroups(columns.fields[name] for name in (*names, *(field.name for field in STREAM_FIELDS)))


def names_of(batch: EventBatch, kinds: EventGroups | None = None) -> list[str | None]:
    kinds = kinds if kinds is not None else groups_of(batch.columns)
    return [kinds.stream(kind) for kind in batch.groups(kinds).tolist()]


def test_streams() -> None:
    columns = Columns(FIELDS)
    lines = [
        b'{"_index": "one", "_source": {"a": "x"}}',
        b'{"a": "x"}',
        b'{"data_stream": {"type": "metrics", "dataset": "cpu", "namespace": "prod"}}',
        b'{"data_stream.dataset": "endpoint.events.process"}',
        b'{"_index": "two", "_source": {"data_stream": {"dataset": "cpu"}}}',
        b'{"_source": {"data_stream": {"dataset": ["cpu", "mem"]}}}',
        b'{"_index": "one", "_source": {}}',
    ]
    expected = [
        "one", None, "metrics-cpu-prod", "logs-endpoint.events.process-default", "two", "logs-cpu-default", "one",
    ]  # fmt: skip
    rows, positions, origins = columns.decoder.read_lines(lines, unbroken)
    assert names_of(EventBatch(columns, rows, base=0, origins=origins, positions=positions)) == expected
    assert names_of(EventBatch.of_lines(columns, lines, base=0, broken=unbroken)) == expected
    assert names_of(batch_of(columns, [{"a": "x"}])) == [None]
    without = EventGroups([FIELDS[0]])
    batch = EventBatch.of_lines(columns, lines, base=0, broken=unbroken)
    assert names_of(batch, without) == ["one", None, None, None, "two", None, "one"]


def test_events_that_are_alike_are_of_one_kind() -> None:
    columns = Columns((*FIELDS, Field("p.m", DataType.KEYWORD), Field("f", DataType.BOOLEAN)))
    lines = [
        b'{"a": "x", "p": {"n": 1, "m": "one"}}',
        b'{"a": "y", "p": {"n": 1}}',
        b'{"a": "x", "p": {"n": 1, "m": "two"}, "f": true}',
        b'{"a": "x", "p": [{"n": 1}], "f": false}',
        b'{"a": "x", "p": [{"n": 1}, {"n": 2}]}',
        b'{"a": "x", "p.n": 1}',
        b'{"_index": "i", "_source": {"a": "x", "p": {"n": 1}}}',
        b'{"a": "x", "p": null}',
    ]
    kinds = EventGroups(columns.fields[name] for name in ("a", "p.n"))
    columns.group_by(kinds)
    batch = EventBatch.of_lines(columns, lines, base=0, broken=unbroken)
    numbers = batch.groups(kinds).tolist()
    assert len({numbers[0], numbers[2]}) == 1
    assert len({numbers[place] for place in (0, 1, 4, 6, 7)}) == 5
    assert [kinds.values("p.n")[number] for number in numbers] == [1, 1, 1, 1, (1, 2), 1, 1, None]
    assert alike(batch.values("a", batch.all_rows())) == ["x", "y", *"xxxxxx"]
    assert alike(batch.values("p.n", batch.all_rows())) == [1, 1, 1, 1, (1, 2), 1, 1, None]


def test_lines_with_texts_that_are_not_familiar_are_read_all_the_same() -> None:
    columns = Columns(FIELDS)
    kinds = EventGroups(columns.fields[name] for name in ("a", "p.n"))
    columns.group_by(kinds)
    plain = [{"a": text, "p": {"n": number % 3}} for number, text in enumerate(["x", "y", ["x", "y"], None] * 50)]
    strange = [
        {"a": "new"},
        {"a": ["x", "newer"], "p": {"n": 1}},
        {"p.n": 2, "a": "y"},
        {"_index": "i", "_source": {"a": "x"}},
        {"_index": "i", "_source": {"a": "newest", "p": [{"n": 1}, {"n": 2}]}},
        {"a": 7},
    ]
    given = [*plain, *strange, *plain[:20], *strange[:2]]
    seen: list[int] = []
    for number in range(3):  # the second and third batch are read by a look that knows the texts of the one before
        lines = [json.dumps(source).encode() for source in (plain if number == 0 else given)]
        lines.insert(30, b'{"a": "x"')
        batch = EventBatch.of_lines(columns, lines, base=0, broken=lambda position, reason: seen.append(position))
        whole = EventBatch.of_lines(Columns(FIELDS), lines, base=0, broken=lambda position, reason: None)
        told = batch.groups(kinds).tolist()
        assert seen == [30] * (number + 1)
        for name in ("a", "p.n"):
            expected = alike(whole.values(name, whole.all_rows()))
            assert alike([kinds.values(name)[kind] for kind in told]) == expected
        assert [kinds.stream(kind) for kind in told].count("i") == (2 if number else 0)


def test_values_without_a_type_are_of_one_kind_only_if_they_are_of_one_type() -> None:
    columns = Columns([Field("odd", DataType.NULL), Field("n", DataType.LONG)])
    kinds = EventGroups(columns.fields[name] for name in ("odd", "n"))
    columns.group_by(kinds)
    values = ['"1"', "1", "1.0", "true", "[1]", "[true]", "null"]
    told = []
    for block in (values, ['"1"'], [*values, '"1"']):
        lines = [f'{{"odd": {value}, "n": 1}}'.encode() for value in block]
        batch = EventBatch.of_lines(columns, lines, base=0, broken=unbroken)
        told.append([kinds.values("odd")[number] for number in batch.groups(kinds).tolist()])
        assert len(set(batch.groups(kinds).tolist())) == len(set(block))
    assert [alike(block) for block in told] == [
        ["1", 1, 1.0, True, 1, True, None],
        ["1"],
        ["1", 1, 1.0, True, 1, True, None, "1"],
    ]
    assert list(map(type, alike(told[0]))) == [str, int, float, bool, int, bool, type(None)]


def test_what_a_look_has_found_is_remembered() -> None:
    columns = Columns(FIELDS)
    lines = [json.dumps({"a": f"x{number}", "p": {"n": number}}).encode() for number in range(6)]
    batch = EventBatch.of_lines(columns, lines, base=0, broken=unbroken)
    rows = np.array([1, 4])
    look, seen = batch.project(frozenset(["a"]), rows.tolist())
    assert look.take("a", seen) == ["x1", "x4"]
    batch.load(frozenset(["a"]), rows)
    assert batch.values("a", rows) == ["x1", "x4"]
    assert batch.values("a", np.array([0, 1])) == ["x0", "x1"]


def test_timestamps_that_are_asked_for_are_read_first_from_the_next_batch_on() -> None:
    columns = Columns([*FIELDS, Field("t", DataType.DATE)])
    lines = [json.dumps({"a": "x", "t": 1000 + number}).encode() for number in range(8)]
    first = EventBatch.of_lines(columns, lines, base=0, broken=unbroken)
    assert first.unread(frozenset(["a", "t"])) == {"a", "t"}
    first.values("a", first.all_rows())
    times = first.timestamps("t").tolist()
    second = EventBatch.of_lines(columns, lines, base=8, broken=unbroken)
    assert second.unread(frozenset(["a", "t"])) == {"a"}
    assert second.held("t", [2, 5]) == [1002, 1005]
    assert second.timestamps("t").tolist() == times


@pytest.mark.parametrize("fields", [3, 90])
def test_looks_read_what_is_asked_for_however_much_was_asked(fields: int) -> None:
    named = {f"o{number % 7}.f{number}": Field(f"o{number % 7}.f{number}", DataType.LONG) for number in range(fields)}
    looks = ProjectionCache(named, Projection(named.values()))
    names = sorted(named)
    for start in range(fields):
        for size in (1, 2, 5):
            wanted = frozenset(names[start : start + size])
            look = looks.reading(wanted, 1)
            assert wanted <= look.names
            assert looks.reading(wanted, 1) is look


def test_positions_leave_out_blank_and_broken_lines() -> None:
    columns = Columns(FIELDS)
    seen: list[int] = []
    lines = [b"", b'{"a": "x"}', b"{", b'{"a": ["y"]}', b"  ", b'{"a": "z"}']
    batch = EventBatch.of_lines(columns, lines, base=7, broken=lambda position, reason: seen.append(position))
    assert (len(batch), batch.base, seen) == (3, 7, [2])
    assert batch.positions.tolist() == [1, 3, 5]
    assert alike(batch.values("a", batch.all_rows())) == ["x", "y", "z"]


def test_an_empty_batch() -> None:
    columns = Columns(FIELDS)
    for batch in (
        EventBatch(columns, [], base=0),
        EventBatch.of_lines(columns, [], base=0, broken=unbroken),
        EventBatch.of_lines(columns, [b"", b" "], base=0, broken=unbroken),
    ):
        assert len(batch) == 0
        assert batch.values("a", batch.all_rows()) == []
        assert batch.timestamps("@timestamp").tolist() == []
        assert names_of(batch) == []


sources = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "a": st.sampled_from(["x", "y", None, 1, ["x", "y"], [], {"o": 1}]),
            "p": st.sampled_from([{"n": 1}, {"n": [1, 2]}, None, [], [{"n": 1}, {"n": 3}], {}, 5, {"n": "7"}]),
            "p.n": st.integers(0, 3),
            "@timestamp": st.sampled_from(["1970-01-01T00:00:01Z", 5, "soon", None, "1970-01-01T00:00:01+01:00"]),
            "data_stream": st.sampled_from([{"dataset": "d"}, {"type": "metrics", "dataset": "e"}, {}, None]),
            "other": st.sampled_from(["x\n", {"a": "x"}, [[[]]]]),
        },
    ),
    max_size=12,
)
questions = st.lists(
    st.tuples(st.sampled_from(["a", "p.n"]), st.sets(st.integers(0, 11))),
    max_size=5,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(sources, min_size=1, max_size=5), questions, st.booleans(), st.booleans())
def test_batches_of_lines_answer_as_batches_of_documents(
    batches: list[list[dict[str, Any]]], asked: list[tuple[str, set[int]]], timed: bool, hits: bool
) -> None:
    """Whatever was asked of earlier batches, and so is read first of the later ones."""
    plain, lazy = Columns(FIELDS), Columns(FIELDS)
    kinds = groups_of(lazy, "a")
    lazy.group_by(kinds)
    base = 0
    for documents in batches:
        lines = [
            json.dumps({"_index": f"i{number % 2}", "_source": source} if hits and number % 3 else source).encode()
            for number, source in enumerate(documents)
        ]
        read = EventBatch.of_lines(lazy, lines, base=base, broken=unbroken)
        given_rows, positions, origins = plain.decoder.read_lines(lines, unbroken)
        whole = EventBatch(plain, given_rows, base=base, origins=origins, positions=positions)
        assert len(read) == len(whole) == len(documents)
        assert read.positions.tolist() == whole.positions.tolist()
        for name, chosen in asked:
            rows = np.array(sorted(row for row in chosen if row < len(documents)), dtype=np.intp)
            assert alike(read.values(name, rows)) == alike(whole.values(name, rows))
        if timed:
            assert read.timestamps("@timestamp").tolist() == whole.timestamps("@timestamp").tolist()
        assert names_of(read, kinds) == names_of(whole)
        told = [kinds.values("a")[kind] for kind in read.groups(kinds).tolist()]
        assert alike(told) == alike(whole.values("a", whole.all_rows()))
        base += len(read)


def alike(values: Sequence[Any]) -> list[Any]:
    """The values with the ways of writing one value or none made one."""
    return [(value[0] if value else None) if isinstance(value, tuple) and len(value) < 2 else value for value in values]
