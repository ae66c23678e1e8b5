"""Later stages of sequences sleep until those before them are met: what is looked for then, and what comes too late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner import eql
from runner.engine.matcher import Found, Scope, Watermark
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import schema_from_mapping
from runner.events.files.event_files import EventFiles, TimeWanted
from runner.search.files.file_pass import matched

MAPPING = {
    "@timestamp": {"type": "date_nanos"},
    "ingested": {"type": "date"},
    "event.category": {"type": "keyword"},
    "k": {"type": "keyword"},
    "count": {"type": "long"},
}
SCHEMA = schema_from_mapping({"properties": MAPPING})
START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
NOTHING_KNOWN = None


class Pass:
    """One pass over drawn events: `A3 B5` are one of category A at second 3 and one of B at second 5; `A?` has no
    time."""

    def __init__(self, *queries: str, scopes: Sequence[Scope] = (), **options: Any) -> None:
        asks = [eql.SearchOptions(size=1000, **options).ask(eql.compile(query, SCHEMA, **options)) for query in queries]
        asks = [replace(ask, scope=scope) for ask, scope in zip(asks, [*scopes, *[Scope()] * len(asks)], strict=False)]
        self.matcher = eql.Matcher(asks)
        self._columns = Columns([*self.matcher.fields(), SCHEMA.fields["@timestamp"]])
        self._drawn: dict[int, str] = {}

    def feed(self, drawn: str, *, until: float | None, last: int | None = None, base: int | None = None) -> list[str]:
        """Take in a batch; `until` is the second of the edge, `last` the number up to which it holds for that second.
        Returns the events that are kept. The events are numbered from `base`, if given, else as they come."""
        tokens = drawn.split()
        base = len(self._drawn) if base is None else base
        self._drawn.update(enumerate(tokens, base))
        lines = [orjson.dumps(event(token)) for token in tokens]
        batch = EventBatch.of_lines(self._columns, lines, base=base, broken=unbroken)
        edge = None if until is None else Watermark(START + round(until * SECOND), -1 if last is None else last)
        rows = self.matcher.feed(batch, edge)
        return [tokens[row] for row in rows.tolist()]

    def found(self) -> list[list[str]]:
        """The matches of each ask as they are drawn, with `-` for a missing event."""
        return [drawn_matches(found, self._drawn) for found in self.matcher.found()]


def event(token: str) -> dict[str, Any]:
    """One event as it is drawn; nanoseconds may stand after the second, `B3+1`, and a key at the end, `B3/x`."""
    token, _, key = token.partition("/")
    second, _, nanos = token[1:].partition("+")
    made: dict[str, Any] = {"event": {"category": token[0]}, "k": key or None, "count": 0}
    if second != "?":
        moment = int(second) * SECOND + int(nanos or 0)
        made["@timestamp"] = f"2023-11-14T22:{13 + (20 + int(second)) // 60:02}:{(20 + int(second)) % 60:02}"
        made["@timestamp"] += f".{moment % SECOND:09}Z"
    return made


def drawn_matches(found: Found, drawn: Mapping[int, str]) -> list[str]:
    return [" ".join("-" if n is None else drawn[n] for n in match.events) for match in found.matches]


def unbroken(position: int, reason: str) -> None:
    raise AssertionError(f"line {position}: {reason}")


# What sleeps.

SLEEPING = [
    "sequence [A where true] [any where true]",
    "sequence [A where true] [any where true] with runs=3",
    "sequence [A where true] with runs=2 [any where true]",
    "sequence by k [A where true] [B where count == 0] [any where true]",
    "sequence [A where true] [none where true] until [any where true]",
    "sequence with maxspan=1h [A where true] ![any where true]",
    "sequence with maxspan=1h [A where true] ![any where true] [B where true]",
    "sequence with maxspan=1h ![none where true] [A where true] [any where true]",
]


@pytest.mark.parametrize("query", SLEEPING)
def test_nothing_is_looked_for_before_the_first_stage_is_met(query: str) -> None:
    given = Pass(query)
    for second in range(20):
        assert given.feed(f"B{second}/x C{second}/x", until=second + 1) == []
    assert given.matcher.held() == 0
    assert given.feed("A30/x", until=31) == ["A30/x"]
    assert given.matcher.held() > 0
    assert given.feed("B31/x B32/x", until=33) == ["B31/x", "B32/x"]


def test_a_thousand_stages() -> None:
    given = Pass("sequence with maxspan=1h " + "[A where true] " * 1_000)
    assert given.feed(" ".join(f"A{second}/x" for second in range(1_000)), until=NOTHING_KNOWN)
    assert [len(match.split()) for match in given.found()[0]] == [1_000]


@pytest.mark.parametrize("query", SLEEPING)
def test_nothing_sleeps_where_nothing_is_known_of_what_is_to_come(query: str) -> None:
    given = Pass(query)
    assert given.feed("B1/x B2/x", until=NOTHING_KNOWN) == ["B1/x", "B2/x"]


@pytest.mark.parametrize(
    ("query", "options"),
    [
        pytest.param("any where true", {}, id="an event query"),
        pytest.param("sample by k [none where true] [any where true]", {}, id="a sample"),
        pytest.param(
            "sequence with maxspan=1h ![any where true] [A where true]", {}, id="a missing event at the start"
        ),
        pytest.param("sequence [A where true] [any where 1 / (count + 1) == 1]", {}, id="a script"),
        pytest.param("sequence [A where true] [any where true]", {"tiebreaker_field": "count"}, id="a tiebreaker"),
    ],
)
def test_what_never_sleeps(query: str, options: dict[str, Any]) -> None:
    assert Pass(query, **options).feed("B1/x B2/x", until=3) == ["B1/x", "B2/x"]


def test_stages_by_another_timestamp_than_that_of_the_edges_never_sleep() -> None:
    given = Pass("sequence [A where true] [any where true]", timestamp_field="ingested")
    batch = [{"event.category": "B", "ingested": number} for number in range(3)]
    columns = Columns([*given.matcher.fields(), SCHEMA.fields["@timestamp"]])
    rows = given.matcher.feed(
        EventBatch(columns, [columns.decoder.row(one) for one in batch], base=0), Watermark(START)
    )
    assert rows.tolist() == [0, 1, 2]


def test_a_script_that_fails_is_told_even_if_its_stage_does_not_matter() -> None:
    given = Pass("sequence [A where true] [B where 1 / count == 1]", "sequence [A where true] [B where true]")
    given.feed("B1 B2", until=3)
    assert [found.error is None for found in given.matcher.found()] == [False, True]


def test_a_stage_that_two_asks_share_sleeps_in_one_of_them() -> None:
    given = Pass("sequence [A where true] [C where true]", "sequence [B where true] [C where true]")
    given.feed("C1 A2 C3", until=4)
    assert given.matcher.held() == 2
    given.feed("B4 C6", until=7)
    assert given.found() == [["A2 C3"], ["B4 C6"]]


def test_of_the_events_of_a_stage_that_is_awake_elsewhere_none_is_taken_in_vain() -> None:
    given = Pass("A where true", "sequence [B where true] [A where true]")
    given.feed("A1 A2 B5 A6", until=7)
    assert given.matcher.held() == 3 + 2
    given.feed("B8 A9", until=10)  # it is awake by now, and nothing is taken in twice
    assert given.matcher.held() == 4 + 4


def test_stages_that_are_alike_but_for_their_scopes_have_events_of_their_own() -> None:
    early = Scope((), ("@timestamp",), (START, START + 3 * SECOND))
    given = Pass("A where true", "sequence [B where true] [A where true]", scopes=[early])
    given.feed("A1 B2 A5", until=6)
    assert given.found() == [["A1"], ["B2 A5"]]


# When it wakes.


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("query", "drawn", "expected"),
    [
        ("sequence [A where true] [B where true]", "A5 B5", ["A5 B5"]),
        ("sequence [A where true] [B where true]", "B5 A5", []),
        ("sequence [A where true] [A where true]", "A5 A5", ["A5 A5"]),
        ("sequence [A where true] [any where true]", "A5", []),
        ("sequence with maxspan=3s [A where true] [B where true]", "A5 B8", ["A5 B8"]),
        ("sequence with maxspan=3s [A where true] [B where true]", "A5 B8+1", []),
        ("sequence with maxspan=3s [A where true] [B where true] [C where true]", "A5 B7 C8", ["A5 B7 C8"]),
        ("sequence with maxspan=3s [A where true] [B where true] [C where true]", "A5 B7 C9", []),
        ("sequence with maxspan=3s [A where true] ![B where true]", "A5 B8", []),
        ("sequence with maxspan=3s [A where true] ![B where true]", "A5 B8+1", ["A5 -"]),
        ("sequence with maxspan=3s [A where true] ![B where true]", "B5 A5", ["A5 -"]),
        ("sequence with maxspan=3s [A where true] ![B where true] [C where true]", "A5 B5+1 C8", []),
        ("sequence with maxspan=3s [A where true] ![B where true] [C where true]", "A5 B5 B8 C8", ["A5 - C8"]),
        ("sequence with maxspan=3s ![B where true] [A where true] ![B where true]", "B4 A5 B8", ["- A5 -"]),
        ("sequence with maxspan=3s ![B where true] [A where true] ![B where true]", "B4 A5 B7", []),
        ("sequence [A where true] [B where true] until [D where true]", "A5 D5 B5", []),
        ("sequence [A where true] [B where true] until [D where true]", "D5 A5 B5 D5", ["A5 B5"]),
        ("sequence with maxspan=3s [A where true] [B where true] until [D where true]", "A1 D4 A4 B7", ["A4 B7"]),
        ("sequence with maxspan=3s [A where true] [B where true] until [D where true]", "A4 D5 D6 B7", []),
        ("sequence [A where true] [B where true] [C where true]", "C1 B2 A3 B4 A5 C6", ["A3 B4 C6"]),
        ("sequence [A where true] [B where true] [C where true]", "A? A1 B? B2 C? C3", ["A1 B2 C3"]),
    ],
)
def test_events_in_order(query: str, drawn: str, expected: list[str], size: int) -> None:
    tokens = drawn.split()
    given = Pass(query)
    for start in range(0, len(tokens), size):
        part = tokens[start : start + size]
        second, _, nanos = part[-1][1:].replace("?", "0").partition("+")
        last = start + len(part) - 1
        given.feed(" ".join(part), until=int(second) + int(nanos or 0) / SECOND, last=last)
    assert given.found() == [expected]
    assert not given.matcher.late()


def test_a_chain_wakes_within_one_batch_in_whatever_order_it_is_read() -> None:
    given = Pass("sequence with maxspan=2s [A where true] [B where true] [C where true] [D where true]")
    assert given.feed("D5 C4 B3 A3 B4 C4 D5 B9 C9 D9", until=10) == ["D5", "C4", "B3", "A3", "B4", "C4", "D5"]
    assert given.found() == [["A3 B4 C4 D5"]]
    assert not given.matcher.late()


def test_a_stage_that_was_awake_for_long_does_not_sleep_in_the_next_batch() -> None:
    given = Pass("sequence with maxspan=10s [A where true] [B where true]")
    assert given.feed("A0 B5 A10 B15 A20", until=21) == ["A0", "B5", "A10", "B15", "A20"]
    assert given.feed("B33 B40 B50", until=51) == ["B33", "B40", "B50"]  # not one of them matters
    assert given.feed("B53 A54 B55 B66 C99", until=100) == ["A54", "B55"]  # for a short time
    assert given.feed("B100 B101", until=102) == []
    assert given.found() == [["A0 B5", "A10 B15", "A54 B55"]]


def test_a_stage_that_does_not_sleep_wakes_those_after_it() -> None:
    given = Pass("sequence with maxspan=10s [A where true] [B where true] [C where true]")
    given.feed("A0 A10 B19 A20", until=21)
    assert given.feed("C22 B25 C26 C40", until=41) == ["C22", "B25", "C26"]
    assert given.found() == [["A20 B25 C26"]]


def test_the_newest_event_of_a_stage_counts_wherever_it_was_read() -> None:
    given = Pass("sequence with maxspan=3s [A where true] [B where true]")
    given.feed("A10", until=4)
    given.feed("A5", until=9)
    given.feed("B12 C20", until=13)
    assert given.found() == [["A10 B12"]]


def test_a_batch_may_reach_far_beyond_maxspan() -> None:
    given = Pass("sequence with maxspan=3s [A where true] [B where true]")
    given.feed("A1", until=2)
    given.feed("B3 B12", until=13)
    assert given.found() == [["A1 B3"]]


def test_events_at_the_time_of_the_edge_go_by_their_numbers() -> None:
    for last, kept in ((None, ["B5"]), (0, [])):
        given = Pass("sequence [A where true] [B where true]")
        assert given.feed("B5", until=5, last=last) == kept


def test_events_without_a_time_are_of_no_account() -> None:
    given = Pass("sequence [A where true] [B where true]", "any where true")
    given.feed("A? B?", until=5)
    given.feed("B6", until=7)
    assert given.matcher.held() == 3
    assert not given.matcher.late()


def test_times_may_lie_centuries_apart() -> None:
    given = Pass("sequence [A where true] [B where true]")
    columns = Columns(given.matcher.fields())
    for number, (time, category) in enumerate((("1701-01-01T00:00:00Z", "A"), ("2249-01-01T00:00:00Z", "B"))):
        batch = EventBatch(
            columns, [columns.decoder.row({"@timestamp": time, "event.category": category})], base=number
        )
        given.matcher.feed(batch, Watermark(int(batch.timestamps("@timestamp")[0]), number))
    (found,) = given.matcher.found()
    assert [match.events for match in found.matches] == [(0, 1)]


# What comes later than its successor.


def test_what_is_beyond_the_edge_is_looked_for_in_case() -> None:
    given = Pass("sequence [A where true] [B where true] [C where true]")
    assert given.feed("B1 C2 B5 C7", until=3) == ["B5", "C7"]
    given.feed("A4 B6", until=5)
    assert given.found() == [["A4 B5 C7"]]
    assert not given.matcher.late()


def test_in_a_batch_most_of_which_is_beyond_the_edge_every_stage_is_looked_for() -> None:
    given = Pass("sequence [A where true] [B where true] [C where true]")
    assert given.feed("B1 C2 B5 C7 B8", until=3) == ["B1", "C2", "B5", "C7", "B8"]
    given.feed("A4 B6", until=5)
    given.feed("A9 B10 C11", until=12)
    assert given.found() == [["A4 B5 C7", "A9 B10 C11"]]
    assert not given.matcher.late()


@pytest.mark.parametrize(
    "query",
    [
        "sequence [A where true] [B where true]",
        "sequence [A where true] [C where true] until [B where true]",
        "sequence with maxspan=1h [A where true] ![B where true]",
        "sequence with maxspan=1s [A where true] [B where true]",
    ],
)
def test_what_comes_within_the_edge_is_late(query: str) -> None:
    given = Pass(
        "any where true", query, "sequence [D where true] [B where true]", "sequence [B where true] [A where true]"
    )
    given.feed("B5", until=6)
    given.feed("A6", until=7)
    assert not given.matcher.late()
    given.feed("A4", until=7)
    assert given.matcher.late() == {1}


def test_all_that_was_skipped_counts() -> None:
    given = Pass("sequence [A where true] [B where true]")
    given.feed("B5", until=6)
    given.feed("B15", until=16)
    given.feed("A10", until=16)
    assert given.matcher.late() == {0}


@pytest.mark.parametrize(("number", "late"), [(0, {0}), (2, set())])
def test_at_one_time_it_goes_by_numbers_what_is_late(number: int, late: set[int]) -> None:
    given = Pass("sequence [A where true] [B where true]")
    given.feed("B5", until=5, last=1, base=1)
    given.feed("A5", until=6, base=number)
    assert given.matcher.late() == late


def test_a_later_stage_may_be_late_for_the_one_after_it() -> None:
    given = Pass("sequence [A where true] [B where true] [C where true]")
    given.feed("A1 C5", until=6)
    given.feed("B3", until=6)
    assert given.matcher.late() == {0}


def test_what_comes_while_nothing_is_known_wakes_the_stage_after_it() -> None:
    given = Pass("sequence [A where true] [B where true]")
    given.feed("A1", until=NOTHING_KNOWN)
    given.feed("B2", until=3)
    assert given.found() == [["A1 B2"]]
    given = Pass("sequence [A where true] [B where true]")
    given.feed("B2", until=3)
    given.feed("A1", until=NOTHING_KNOWN)
    assert given.matcher.late() == {0}


def test_files_that_break_the_promise_of_their_order_are_read_once_more(tmp_path: Path) -> None:
    for number, tokens in enumerate((["B6", "C7"], ["X8", "A5", "D9"])):
        lines = b"".join(orjson.dumps({**event(token), "drawn": token}) + b"\n" for token in tokens)
        (tmp_path / f"{number}.ndjson").write_bytes(lines)
    queries = ("sequence [A where true] [B where true]", "sequence [B where true] [C where true]")
    asks = [eql.SearchOptions().ask(eql.compile(query, SCHEMA)) for query in queries]
    with EventFiles([tmp_path]) as files:
        found, waiting = matched(files, asks, [SCHEMA.fields["@timestamp"]], wanted=TimeWanted(("@timestamp",)))
        events = [n for one in found for match in one.matches for n in match.events if n is not None]
        assert [files.fetch(number)["drawn"] for number in events] == ["A5", "B6", "B6", "C7"]
    assert waiting == {0}
