"""Random timelines for many asks at once: what is not looked for, because its stage sleeps, changes no answer.

`RUNNER_FUZZ=1000000` tries 60,000 timelines of each order instead of the 80 of a usual run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson
import pytest

from runner import eql
from runner.engine.filter.predicates import Conjuncts
from runner.engine.filter.stage_filter import StageFilter, StageFilterPool, StageSearch
from runner.engine.matcher import Found, Scope, Watermark
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.index_patterns import index_selector
from runner.events.fields.schema import schema_from_mapping
from runner.events.fields.timestamp_column import NO_TIME
from tests.reference import FailedSearchError, answer_of
from tests.reference.engine import Answer, Options
from tests.reference.readings import values_of

pytestmark = pytest.mark.slow

TIMELINES = max(80, int(os.environ.get("RUNNER_FUZZ", "0")) * 6 // 100)
START_MS, STEP_MS = 1_700_000_000_000, 500
MILLI = 1_000_000
TYPES = {
    **dict.fromkeys(("@timestamp", "ingested"), "date"),
    **dict.fromkeys(("event.category", "k", "name", "args", "p.x", "p.y", "data_stream.dataset"), "keyword"),
    **dict.fromkeys(("n", "t", "count", "p.q.z"), "long"),
}
SCHEMA = schema_from_mapping({"properties": {name: {"type": kind} for name, kind in TYPES.items()}})
TIMES = (SCHEMA.fields["@timestamp"], SCHEMA.fields["ingested"])
CONDITIONS = (
    "true", "true", "true", "false", 'name == "sh"', 'name in ("sh", "ls")', 'name != "sh"', 'name == "none"',
    "count > 2", 'count == 1 or name == "ls"', 'args : "*-c*"', "args == null", 'name == "sh" and args : "*x*"',
    'not args : "-c" and count < 3', 'p.x == "a"', 'p.x == "a" and p.y == "b"', 'not p.y : "b*"', "p.q.z >= 1",
    'p.x == "b" or p.q.z == 0', 'concat(p.x, p.y) == "ab"', "length(name) > 2", "4 / count > 1",
    '@timestamp >= "now-5s"',
)  # fmt: skip
PATTERNS = (("logs-a",), ("logs-*",), ("logs-*", "-logs-b"), ("logs-b", "other"))
ORDERS = ("ascending", "ascending, ties later", "nearly", "side by side", "any", "any, said to be ascending")


@dataclass(frozen=True)
class Asked:
    """One query with all that its answer depends on."""

    query: str
    options: dict[str, Any]
    scope: Scope
    now: int

    def ask(self) -> eql.Ask:
        options = eql.SearchOptions(**self.options)
        return replace(options.ask(options.program(eql.parse(self.query), SCHEMA), now_ns=self.now), scope=self.scope)

    def expected(self, events: Sequence[dict[str, Any]]) -> Answer | None:
        """The answer of the plain evaluator; None if a script fails."""
        within = [number for number, event in enumerate(events) if self._is_inside(event)]
        try:
            found = answer_of(
                self.query, [source_of(events[n]) for n in within], SCHEMA, Options(**self.options, now=self.now)
            )
        except FailedSearchError:
            return None
        return [(key, tuple(None if n is None else within[n] for n in numbers)) for key, numbers in found]

    def _is_inside(self, event: dict[str, Any]) -> bool:
        source, scope = source_of(event), self.scope
        dataset = source.get("data_stream", {}).get("dataset")
        name = event["_index"] if "_source" in event else None if dataset is None else f"logs-{dataset}-default"
        if not index_selector(scope.indices)(name):
            return False
        times = [time for name in scope.times if (time := time_of(source, name)) != NO_TIME]
        return scope.span is None or (bool(times) and scope.span[0] <= times[0] <= scope.span[1])


@dataclass(frozen=True)
class Reading:
    """Events by their numbers, and the runs of them that are read one after the other, each with its edge."""

    events: list[dict[str, Any]]
    runs: list[range]
    edges: list[Watermark | None]


@dataclass(frozen=True)
class Outcome:
    found: list[Found]
    late: frozenset[int]
    kept: set[int] = field(default_factory=set)


def source_of(event: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = event.get("_source", event)
    return source


def time_of(source: dict[str, Any], name: str = "@timestamp") -> int:
    field = SCHEMA.find(name)
    assert field is not None
    return next(iter(values_of(source, field)), NO_TIME)


# What is asked.


def random_asks(rng: Random) -> list[Asked]:
    categories, conditions = ("A", "B", "C", "any", "any"), [*rng.sample(CONDITIONS, rng.randint(1, 4)), "true", "true"]
    stages = [f"{rng.choice(categories)} where {rng.choice(conditions)}" for _ in range(rng.randint(2, 5))]
    scopes = [random_scope(rng) for _ in range(2)]
    return [
        Asked(
            random_query(rng, stages),
            {
                "size": rng.choice((1, 3, 1000, 1000, 1000)),
                "result_position": rng.choice(("head", "tail")),
                "timestamp_field": "ingested" if rng.random() < 0.07 else "@timestamp",
                "tiebreaker_field": "t" if rng.random() < 0.15 else None,
                "max_samples_per_key": rng.choice((1, 2)),
            },
            rng.choice(scopes),
            (START_MS + rng.choice((0, 10, 20)) * STEP_MS) * MILLI,
        )
        for _ in range(rng.choice((1, 1, 2, 3, 5)))
    ]


def random_query(rng: Random, stages: Sequence[str]) -> str:
    pipes = rng.choice(("", "", "", "", " | head 2", " | tail 2", " | tail 3 | head 1"))
    chance = rng.random()
    if chance < 0.07:
        return f"{rng.choice(stages)}{pipes}"
    if chance < 0.14:
        return f"sample by k {' '.join(f'[{rng.choice(stages)}]' for _ in range(rng.randint(2, 3)))}"
    keys = rng.choice(("", "", "", "", "", " by k", " by n", " by k, ?n", " by ?k"))
    own = "" if rng.random() < 0.9 else rng.choice((" by name", " by p.x", " by ?args"))
    terms = [
        f"[{rng.choice(stages)}]{own}{rng.choice(('', '', '', '', '', '', ' with runs=2'))}"
        for _ in range(rng.choice((2, 2, 3, 4)))
    ]
    if rng.random() < 0.7:
        terms[0] = f"[R where true]{own}"  # what begins rarely lets the rest sleep
    span = rng.choice(("", " with maxspan=500ms", " with maxspan=1s", " with maxspan=3s", " with maxspan=10s"))
    if span and rng.random() < 0.4:
        for place in rng.sample(range(len(terms)), rng.randint(1, len(terms) - 1)):
            terms[place] = "!" + terms[place]
    until = f" until [{rng.choice((*stages, 'D where true'))}]{own}" if rng.random() < 0.3 else ""
    return f"sequence{keys}{span} {' '.join(terms)}{until}{pipes}"


def random_scope(rng: Random) -> Scope:
    indices = rng.choice(PATTERNS) if rng.random() < 0.25 else ()
    if rng.random() < 0.75:
        return Scope(indices)
    first = (START_MS + rng.randint(-2, 10) * STEP_MS) * MILLI
    times = rng.choice((("@timestamp",), ("ingested",), ("ingested", "@timestamp")))
    return Scope(indices, times, (first, first + rng.randint(0, 30) * STEP_MS * MILLI))


# What is read.


def random_events(rng: Random) -> list[dict[str, Any]]:
    count = rng.randint(300, 600) if rng.random() < 0.01 else rng.randint(0, 40)
    steps = rng.choice((0, 3, 10, 30, 30)) * max(1, count // 40)
    categories = rng.choice(("AAABBBCCD", "AAABBBCCD", "AB", f"{3 * 'AABBC'}DR", f"{3 * 'AABBC'}DR"))
    return [random_event(rng, number, rng.randint(0, steps), rng.choice(categories)) for number in range(count)]


def random_event(rng: Random, number: int, step: int, category: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {"event.category": category, "name": rng.choice(("sh", "sh", "ls", "top", f"n{number}"))}
    if rng.random() < 0.96:
        pairs["@timestamp"] = spelled_time(rng, START_MS + step * STEP_MS)
    elif rng.random() < 0.3:
        pairs["@timestamp"] = "soon"
    for name, chance, values in (
        ("ingested", 0.7, [spelled_time(rng, START_MS + rng.randint(0, 40) * STEP_MS)]),
        ("k", 0.9, ["x", "y", "z", ["x", "y"], f"only {number}"]),
        ("n", 0.7, [1, 2, [1, 2]]),
        ("t", 0.8, [0, 1, 2, 3]),
        ("count", 0.8, [1, 1, 2, 3, [1, 3], 0 if rng.random() < 0.05 else 1]),
        ("args", 0.7, ["-c", "-x", ["-c", "x"], "/tmp/x", f"v{number}"]),
        ("p.x", 0.5, ["a", "b", ["a", "b"]]),
        ("p.y", 0.5, ["a", "b", "bb"]),
        ("p.q.z", 0.4, [0, 1, 2]),
        ("data_stream.dataset", 0.1, ["a", "b"]),
    ):
        if rng.random() < chance:
            pairs[name] = rng.choice(values)
    source = document(rng, pairs)
    return {"_index": rng.choice(("logs-a", "logs-b")), "_source": source} if rng.random() < 0.2 else source


def spelled_time(rng: Random, millis: int) -> Any:
    text = datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return rng.choice((millis, text, text, text, [text, millis + 700]))


def document(rng: Random, pairs: dict[str, Any]) -> dict[str, Any]:
    """A document with every pair nested, now and then dotted, with an array of objects or a null in their place."""
    spelling = rng.random()
    made: dict[str, Any] = {}
    for name, value in pairs.items():
        *parents, last = name.split(".") if spelling > 0.1 or name.startswith("data_stream") else [name]
        at = made
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    if spelling > 0.9 and isinstance(made.get("p"), dict):
        made["p"] = [{name: value} for name, value in made["p"].items()]
    elif spelling > 0.8 and "p" not in made:
        made["p"] = rng.choice((None, [], [None, {"x": "a"}]))
    elif spelling > 0.75:
        made["event"] = [made["event"]]
    return made


def random_reading(rng: Random, order: str) -> Reading:
    events, arrangement = random_events(rng), order
    if order == "any, said to be ascending":
        arrangement = rng.choice(("nearly", "side by side", "any"))
    if arrangement != "any":
        late = 3 if arrangement == "nearly" else 0
        events.sort(key=lambda event: time_of(source_of(event)) + rng.randint(0, late) * STEP_MS * MILLI)
    runs = list(random_runs(rng, len(events), 0))
    if arrangement == "side by side":
        files: list[list[dict[str, Any]]] = [[] for _ in range(rng.randint(2, 3))]
        for event in events:
            rng.choice(files).append(event)
        events = [event for file in files for event in file]
        starts = [sum(map(len, files[:place])) for place in range(len(files))]
        runs = [run for file, start in zip(files, starts, strict=True) for run in random_runs(rng, len(file), start)]
        runs.sort(key=lambda run: min(time_of(source_of(events[number])) for number in run))
    times = [time_of(source_of(event)) for event in events]
    if order == "any, said to be ascending":
        edges: list[Watermark | None] = list(lying_edges(rng, runs, times))
    else:
        edges = list(honest_edges(rng, runs, times))
        if order == "ascending, ties later":
            edges = [None if edge is None else Watermark(edge.time) for edge in edges]
    return Reading(events, runs, edges)


def random_runs(rng: Random, count: int, start: int) -> Iterator[range]:
    most = rng.choice((1, 2, 4, 9, 20, 400))
    end = start + count
    while start < end:
        stop = min(end, start + rng.randint(1, most))
        yield range(start, stop)
        start = stop


def honest_edges(rng: Random, runs: Sequence[range], times: Sequence[int]) -> Iterator[Watermark | None]:
    """As far as may be said after each run, and now and then less than that."""
    unread = [
        min(((times[number], number) for number in run if times[number] != NO_TIME), default=(1 << 62, -1))
        for run in runs
    ]
    less, unsaid = rng.choice((0.0, 0.0, 0.3, 1.0)), rng.choice((0.0, 0.0, 0.1))
    for place in range(len(runs)):
        time, number = min(unread[place + 1 :], default=(1 << 62, -1))
        if rng.random() < unsaid:
            yield None
        elif rng.random() < less:
            yield Watermark(time - rng.choice((0, 1, 3, 10)) * STEP_MS * MILLI)
        else:
            yield Watermark(time, number - 1)


def lying_edges(rng: Random, runs: Sequence[range], times: Sequence[int]) -> Iterator[Watermark]:
    """As if what has been read were all until then."""
    newest, lag = (NO_TIME, -1), rng.choice((0, 0, 0, 1, 5)) * STEP_MS * MILLI
    for run in runs:
        newest = max(newest, *((times[number], number) for number in run))
        yield Watermark(max(newest[0], START_MS) - lag, -1 if lag else newest[1])


# The comparison.


class Forgetful(StageFilterPool):
    """StageFilterPool that remember hardly anything."""

    def take(self, wanted: Sequence[StageSearch]) -> StageFilter:
        return StageFilter(wanted, most_groups=3, most_values=3)


def run(
    asks: Sequence[eql.Ask], reading: Reading, *, rng: Random, edges: Sequence[Watermark | None], **options: Any
) -> Outcome:
    """What is found; if `room` is among the options, everything is worked off after every batch."""
    matcher = eql.Matcher(asks, codes=10, **options)
    fields = [*matcher.fields(), *TIMES]
    columns = matcher.columns(TIMES) if options.get("filters") else Columns(fields)
    whole = rng.random() < 0.15
    outcome = Outcome([], frozenset())
    for numbers, edge in zip(reading.runs, edges, strict=True):
        batch = batch_of(columns, [reading.events[number] for number in numbers], numbers.start, whole=whole)
        outcome.kept.update((matcher.feed(batch, edge) + batch.base).tolist())
        if edge is not None and "room" in options:
            matcher.advance([edge])
    matcher.close()
    needed = set(matcher.needed())
    outcome.found.extend(matcher.found())
    for answer in outcome.found:
        for match in answer.matches:
            events = {event for event in match.events if event is not None}
            assert events <= outcome.kept
            assert events <= needed
    return replace(outcome, late=matcher.late())


def batch_of(columns: Columns, events: Sequence[dict[str, Any]], base: int, *, whole: bool) -> EventBatch:
    lines = [orjson.dumps(event) for event in events]
    if not whole:
        return EventBatch.of_lines(columns, lines, base=base, broken=unbroken)
    rows, positions, origins = columns.decoder.read_lines(lines, unbroken)
    return EventBatch(columns, rows, base=base, positions=positions, origins=origins)


def unbroken(position: int, reason: str) -> None:
    raise AssertionError(f"line {position} is said to be broken: {reason}")


def plain(found: Found) -> Answer | None:
    return None if found.error is not None else [(match.key, match.events) for match in found.matches]


def shown(asked: Asked, reading: Reading) -> str:
    runs = [
        f"{numbers} until {edge}\n" + "".join(f"  {number}: {reading.events[number]}\n" for number in numbers)
        for numbers, edge in zip(reading.runs, reading.edges, strict=True)
    ]
    return f"{asked}\n{''.join(runs)}"


def check(rng: Random, order: str) -> tuple[int, bool]:
    """Compare one timeline; returns how many matches there were, and whether something came too late."""
    asked, reading = random_asks(rng), random_reading(rng, order)
    asks = [one.ask() for one in asked]
    expected = [one.expected(reading.events) for one in asked]
    given: dict[str, Any] = {"conjuncts": Conjuncts()} if rng.random() < 0.5 else {}
    if rng.random() < 0.5:
        given = {"conjuncts": Conjuncts(), "filters": rng.choice((StageFilterPool, Forgetful))()}
    came_late = False
    said = reading.edges
    ways: list[tuple[Sequence[Watermark | None], dict[str, Any]]] = [(said, {}), (said, {"room": 1})]
    if rng.random() < 0.2:
        ways.append(([None] * len(said), {}))
    for edges, room in ways:
        late: frozenset[int] = frozenset()
        while True:
            outcome = run(asks, reading, rng=rng, edges=edges, unordered=late, **room, **given)
            for number, (one, found, wanted) in enumerate(zip(asked, outcome.found, expected, strict=True)):
                if wanted is not None and number not in outcome.late:  # else a script may be spared what it fails on
                    assert plain(found) == wanted, f"{order}, {room}, {late}\n{shown(one, reading)}"
            if not outcome.late:
                break
            assert order == "any, said to be ascending", f"{order}, {room}: {outcome.late}\n{shown(asked[0], reading)}"
            assert not outcome.late & late
            late |= outcome.late
            came_late = True
    return sum(map(len, filter(None, expected))), came_late


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_not_looked_for_changes_no_answer(order: str) -> None:
    matches = late = 0
    for seed in range(TIMELINES):
        found, came_late = check(Random(f"{order} {seed}"), order)
        matches += found
        late += came_late
    assert matches > TIMELINES / 4
    assert (late > 0) == (order == "any, said to be ascending")
