"""Sequences and samples worked off while the events come: the answer is that of all events held to the end.

`RUNNER_FUZZ=1000000` tries 50,000 timelines instead of the 40 of a usual run.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from runner import eql
from runner.engine.plan import Limit
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.engine.watermark import Watermark
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import Schema, schema_from_mapping
from runner.events.fields.timestamp_column import NO_TIME
from tests.reference import answer_of
from tests.reference.engine import Options
from tests.reference.timelines import MAPPING

TIMELINES = max(40, int(os.environ.get("RUNNER_FUZZ", "0")) // 20)
SCHEMA = schema_from_mapping(
    {"properties": {**MAPPING["properties"], "k": {"type": "keyword"}, "n": {"type": "long"}, "t": {"type": "long"}}}
)


def random_sequence(rng: Random) -> str:
    keys = rng.choice(("", "", " by k", " by k", " by n", " by k, ?n", " by ?k"))
    terms = []
    for _ in range(rng.randint(2, 4)):
        term = f"[{rng.choice(('A', 'B', 'C', 'any', 'any'))} where true]"
        terms.append(term + rng.choice(("", "", "", "", " with runs=2")))
    span = rng.choice(("", " with maxspan=3s", " with maxspan=1s", " with maxspan=10s"))
    if span and rng.random() < 0.4:
        for place in rng.sample(range(len(terms)), rng.randint(1, len(terms) - 1)):
            terms[place] = "!" + terms[place]
    until = " until [D where true]" if rng.random() < 0.3 else ""
    return f"sequence{keys}{span} {' '.join(terms)}{until}"


def random_query(rng: Random) -> str:
    if rng.random() < 0.8:
        return random_sequence(rng) + rng.choice(("", "", "", " | head 2", " | tail 2", " | tail 3 | head 1"))
    if rng.random() < 0.5:
        return f"sample by k [A where true] [B where true]{rng.choice(('', ' [any where true]'))}"
    return f"any where true | {rng.choice(('head', 'tail'))} {rng.randint(0, 4)}"


def random_sources(rng: Random) -> list[dict[str, Any]]:
    count, span = rng.randint(0, 60), rng.choice((0, 3, 10, 40))
    sources = []
    for number in range(count):
        source: dict[str, Any] = {
            "@timestamp": 1_700_000_000_000 + rng.randint(0, span) * 500,
            "event.category": rng.choice("AAABBBCCD"),
        }
        if rng.random() < 0.9:
            source["k"] = rng.choice(("x", "y", "z", ["x", "y"], f"only {number}"))
        if rng.random() < 0.7:
            source["n"] = rng.choice((1, 2, [1, 2]))
        if rng.random() < 0.8:
            source["t"] = rng.randint(0, 3)
        sources.append(source)
    return sources


def settled(
    ask: eql.Ask, sources: Sequence[dict[str, Any]], *, batch_size: int, lateness: int, ascending: bool
) -> tuple[Sequence[FoundSequence], bool]:
    """The matches when everything is worked off after every batch, and whether an event was too late for that.

    `lateness`, in nanoseconds, is how much earlier than the newest event those to come may be.
    """
    matcher = eql.Matcher([ask], room=1)
    columns = Columns(matcher.fields())
    newest = NO_TIME + lateness
    for start in range(0, len(sources), batch_size):
        rows = [columns.decoder.row(source) for source in sources[start : start + batch_size]]
        batch = EventBatch(columns, rows, base=start)
        matcher.feed(batch)
        newest = max(newest, int(batch.timestamps("@timestamp").max(initial=newest)))
        last = start + len(rows) - 1
        matcher.advance([Watermark(newest - lateness, last if ascending else -1)])
    (found,) = matcher.found()
    return found.matches, bool(matcher.late())


@pytest.mark.parametrize("order", ["ascending", "ascending, ties later", "nearly", "any"])
def test_working_off_on_the_way_changes_no_answer(order: str) -> None:
    answered = 0
    for seed in range(TIMELINES):
        rng = Random(f"{order} {seed}")
        query, sources = random_query(rng), random_sources(rng)
        tiebreaker = rng.choice((None, None, "t"))
        program = eql.compile(query, SCHEMA, tiebreaker_field=tiebreaker)
        ask = eql.SearchOptions(size=1000, tiebreaker_field=tiebreaker).ask(program)
        lateness = 0
        if order.startswith("ascending"):
            sources.sort(key=lambda source: source["@timestamp"])
        elif order == "nearly":
            sources.sort(key=lambda source: source["@timestamp"] + rng.randint(0, 1500))
            lateness = 1_500_000_000
        found, late = settled(
            ask, sources, batch_size=rng.randint(1, 9), lateness=lateness, ascending=order != "ascending, ties later"
        )
        if order == "any":
            answered -= late
        else:
            assert not late
        answered += 1
        if not late:
            options = Options(size=1000, tiebreaker_field=tiebreaker)
            expected = answer_of(query, sources, SCHEMA, options)
            assert [(match.key, match.events) for match in found] == expected, f"{seed}: {query}\n{sources}"
    assert answered > TIMELINES / 10


def held_by(query: str, sources: Sequence[dict[str, Any]]) -> int:
    """How many entries are held after the last of the events, which come one by one in time order."""
    matcher = eql.Matcher([eql.Ask(eql.compile(query, SCHEMA).plan)], room=1)
    columns = Columns(matcher.fields())
    for number, source in enumerate(sources):
        matcher.feed(EventBatch(columns, [columns.decoder.row(source)], base=number))
        if number % 100 == 99:
            matcher.advance([Watermark(source["@timestamp"] * 1_000_000, number)])
    return matcher.held()


def event(time: int, category: str, key: object) -> dict[str, Any]:
    return {"@timestamp": time, "event.category": category, "k": key}


@pytest.mark.parametrize(
    ("query", "sources", "most"),
    [
        pytest.param(
            "sequence by k [A where true] [B where true]",
            [event(number, "A", "one") for number in range(1000)],
            1,
            id="one key that begins again and again",
        ),
        pytest.param(
            "sequence by k [any where true] [any where true] [C where true]",
            [event(0, "A", "one") for _ in range(1000)],
            3,
            id="one key, all at one time",
        ),
        pytest.param(
            "sequence by k with maxspan=100ms [A where true] [B where true]",
            [event(number, "A", f"key {number}") for number in range(1000)],
            101,
            id="a key for every event, of which maxspan leaves the last",
        ),
        pytest.param(
            "sequence by k [A where true] [B where true]",
            [event(number, "B", f"key {number}") for number in range(1000)],
            0,
            id="keys whose first stage never came",
        ),
        pytest.param(
            "sequence by k [A where true] [B where true] until [D where true]",
            [event(number, "AD"[number % 2], "one") for number in range(1000)],
            0,
            id="each beginning is ended",
        ),
        pytest.param(
            "sequence by k with maxspan=50ms [A where true] ![B where true]",
            [event(number, "AB"[number % 2], "one") for number in range(1000)],
            152,
            id="missing events as long as they may matter",
        ),
        pytest.param(
            "sample by k [A where true] [B where true]",
            [event(number, "A", "one") for number in range(1000)],
            2,
            id="a sample keeps what it can use of a key",
        ),
        pytest.param(
            "any where true | tail 7",
            [event(number, "A", "one") for number in range(1000)],
            7,
            id="the last few events",
        ),
    ],
)
def test_what_is_held_is_what_is_open(query: str, sources: Sequence[dict[str, Any]], most: int) -> None:
    assert held_by(query, sources) <= most


def test_matches_of_many_keys_keep_theirs_when_others_are_forgotten() -> None:
    schema = Schema(SCHEMA.fields)
    ask = eql.Ask(eql.compile("sequence by k [A where true] [B where true]", schema).plan)
    matcher = eql.Matcher([ask], room=1, codes=10)
    columns = Columns(matcher.fields())
    for number in range(500):
        rows = [columns.decoder.row(event(number, category, f"key {number}")) for category in "AB"]
        rows.append(columns.decoder.row(event(number, "A", f"open {number % 7}")))
        matcher.feed(EventBatch(columns, rows, base=3 * number))
        matcher.advance([Watermark(number * 1_000_000, 3 * number + 2)])
    assert matcher.held() == 7
    (found,) = matcher.found()
    assert [match.key for match in found.matches] == [(f"key {number}",) for number in range(500)]
    assert [match.events for match in found.matches] == [(3 * number, 3 * number + 1) for number in range(500)]


def test_limits_cut_matches_that_are_made_only_when_they_are_asked_for() -> None:
    ask = eql.Ask(eql.compile("sequence [A where true] [B where true]", SCHEMA).plan)
    for limits, wanted in (((), [0, 2, 4]), ((Limit("head", 2),), [0, 2]), ((Limit("tail", 1),), [4])):
        matcher = eql.Matcher([dataclasses.replace(ask, limits=limits)])
        columns = Columns(matcher.fields())
        rows = [columns.decoder.row(event(number, "AB"[number % 2], None)) for number in range(6)]
        matcher.feed(EventBatch(columns, rows, base=0))
        (found,) = matcher.found()
        assert [match.events[0] for match in found.matches] == wanted
        assert [match.events[0] for match in found.matches[1:]] == wanted[1:]
