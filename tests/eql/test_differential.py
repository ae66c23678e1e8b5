"""The engine against the plain evaluator of `tests.eql.reference`: random mappings, documents and queries.

`RUNNER_FUZZ=1000000` asks 300,000 queries instead of the 900 of a usual run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runner import eql
from runner.eql.syntax.errors import DataError, EqlError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.files.event_files import EventFiles
from tests.reference import FailedSearchError, answer_of
from tests.reference.engine import Answer, Options
from tests.reference.queries import QueryMaker
from tests.reference.worlds import World, random_world

pytestmark = pytest.mark.slow

QUERIES = 6
"""Per world."""
WORLDS = max(20, int(os.environ.get("RUNNER_FUZZ", "3000")) // 20)


@dataclass(frozen=True)
class Case:
    """One query over one world."""

    world: World
    query: str
    options: dict[str, Any]

    def shown(self) -> str:
        lines = b"\n".join(self.world.lines()).decode()
        return f"query: {self.query}\noptions: {self.options}\nmapping: {self.world.mapping}\n{lines}"


def random_cases(rng: Random) -> Iterator[Case]:
    world = random_world(rng)
    maker = QueryMaker(rng, world.fields)
    for _ in range(QUERIES):
        options = {
            "size": rng.choice((0, 1, 2, 5, 10, 100, 100, 100, 100)),
            "result_position": rng.choice(("head", "tail")),
            "tiebreaker_field": world.tiebreaker,
            "max_samples_per_key": rng.choice((1, 1, 2, 5)),
        }
        yield Case(world, maker.statement(), options)


def numbered(response: dict[str, Any]) -> Answer:
    """The matches of a response by the numbers that the documents carry."""
    hits = response["hits"]
    if "events" in hits:
        found: Answer = [((), (event["_source"]["uid"],)) for event in hits["events"]]
    else:
        found = [
            (
                tuple(sequence.get("join_keys", ())),
                tuple(None if event.get("missing") else event["_source"]["uid"] for event in sequence["events"]),
            )
            for sequence in hits["sequences"]
        ]
    assert hits["total"] == {"value": len(found), "relation": "eq"}
    return found


def from_lines(case: Case, program: eql.Program, batch_size: int) -> Answer:
    """The answer from lines of JSON, on the fast path where it can be, in small batches with forgetful dictionaries."""
    matcher = eql.Matcher([eql.SearchOptions(**case.options).ask(program)])
    columns = Columns(matcher.fields())
    lines = case.world.lines()
    base = 0
    for start in range(0, len(lines), batch_size):
        rows, positions, origins = columns.decoder.read_lines(lines[start : start + batch_size], unbroken)
        batch = EventBatch(columns, rows, base=base, origins=origins, positions=positions)
        matcher.feed(batch)
        base += len(rows)
    (found,) = matcher.found()
    sources = case.world.sources
    return numbered(eql.answer(program, found, lambda number: sources[number], took_ms=0))


def jointly(cases: Sequence[tuple[Case, eql.Program]], lines: Sequence[bytes], batch_size: int) -> list[Answer | None]:
    """The answers to several queries asked at once, from batches that read what they need when it is needed."""
    matcher = eql.Matcher([eql.SearchOptions(**case.options).ask(program) for case, program in cases])
    columns = Columns(matcher.fields())
    base = 0
    for start in range(0, len(lines), batch_size):
        batch = EventBatch.of_lines(columns, lines[start : start + batch_size], base=base, broken=unbroken)
        matcher.feed(batch)
        base += len(batch)
    answers: list[Answer | None] = []
    for (case, program), found in zip(cases, matcher.found(), strict=True):
        if found.error is not None:
            answers.append(None)
            continue
        sources = case.world.sources
        answers.append(numbered(eql.answer(program, found, sources.__getitem__, took_ms=0)))
    return answers


def from_files(case: Case, program: eql.Program, folder: Path, batch_size: int) -> Answer:
    """The answer from files, each a batch."""
    lines = case.world.lines()
    for number, start in enumerate(range(0, len(lines), batch_size)):
        (folder / f"{number:03}.ndjson").write_bytes(b"\n".join(lines[start : start + batch_size]) + b"\n")
    matcher = eql.Matcher([eql.SearchOptions(**case.options).ask(program)])
    columns = Columns(matcher.fields())
    with EventFiles([folder]) as files:
        for batch in files.batches(columns):
            files.keep(batch, matcher.feed(batch))
        assert files.report().broken == 0
        (found,) = matcher.found()
        return numbered(eql.answer(program, found, files.fetch, took_ms=0))


def unbroken(position: int, reason: str) -> None:
    raise AssertionError(f"line {position} is said to be broken: {reason}")


@dataclass(frozen=True)
class Outcome:
    """What became of a query: `refused`, `failed` or `answered`."""

    word: str
    program: eql.Program | None = None
    answer: Answer | None = None


def check_world(cases: Sequence[Case], *, batch_size: int, on_disk: bool) -> list[str]:
    """Compare all answers to the queries of one world, one by one and asked together; returns what became of each."""
    outcomes = [check(case, batch_size=batch_size, on_disk=on_disk) for case in cases]
    asked = [(case, outcome) for case, outcome in zip(cases, outcomes, strict=True) if outcome.program is not None]
    programs = [(case, outcome.program) for case, outcome in asked if outcome.program is not None]
    answers = jointly(programs, cases[0].world.lines(), batch_size)
    for (case, outcome), answer in zip(asked, answers, strict=True):
        if outcome.word == "answered":
            assert answer == outcome.answer, f"jointly: {answer}\nexpected: {outcome.answer}\n{case.shown()}"
    return [outcome.word for outcome in outcomes]


def check(case: Case, *, batch_size: int, on_disk: bool) -> Outcome:
    """Compare all answers to one query."""
    schema = case.world.schema()
    try:
        program = eql.SearchOptions(**case.options).program(eql.parse(case.query), schema)
    except EqlError:
        return Outcome("refused")
    options = Options(**case.options, now=2_000_000_000 * 10**9)
    try:
        expected = answer_of(case.query, case.world.sources, schema, options)
    except FailedSearchError:
        return Outcome("failed", program)  # a script may be spared the value that it fails on, so the engine may answer
    answers = {}
    try:
        answers["events"] = numbered(
            eql.search(case.query, case.world.events(), mapping=case.world.mapping, **case.options)
        )
        answers["lines"] = from_lines(case, program, batch_size)
        if on_disk:
            with tempfile.TemporaryDirectory() as folder:
                answers["files"] = from_files(case, program, Path(folder), batch_size)
    except DataError as error:
        pytest.fail(f"{error}\n{case.shown()}")
    for way, answer in answers.items():
        assert answer == expected, f"{way}: {answer}\nexpected: {expected}\n{case.shown()}"
    return Outcome("answered", program, expected)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # a world is not made smaller in any useful time
)
@given(st.randoms(use_true_random=False), st.integers(1, 7))
def test_random_cases(rng: Random, batch_size: int) -> None:
    check_world(list(random_cases(rng)), batch_size=batch_size, on_disk=False)


def test_many_random_cases() -> None:
    outcomes = {"refused": 0, "failed": 0, "answered": 0}
    for seed in range(WORLDS):
        rng = Random(seed)
        for word in check_world(list(random_cases(rng)), batch_size=rng.randint(1, 9), on_disk=seed % 10 == 0):
            outcomes[word] += 1
    assert outcomes["answered"] > 0.8 * sum(outcomes.values()), outcomes
