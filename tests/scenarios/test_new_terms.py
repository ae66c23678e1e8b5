"""New terms over files: whatever the order and the cut of the windows, the alerts are those of punctual runs.

`RUNNER_FUZZ=1000000` tries 50,000 examples of each property instead of the 60 of a usual run.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.alerts.build import AlertContext
from runner.rules.rule import Rule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.search.term_store import MemoryTerms, TermStore
from runner.service.execution import Execution
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertFilter
from runner.windows import Window, iso
from tests.compiled import compiled

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EXAMPLES = max(60, int(os.environ.get("RUNNER_FUZZ", "0")) // 20)
SECONDS = st.one_of(st.integers(0, 7_200), st.integers(0, 120).map(lambda minute: minute * 60))
EVENTS = st.lists(st.tuples(SECONDS, st.sampled_from("abcd"), st.sampled_from(("h1", "h2"))), min_size=1, max_size=30)
Event = tuple[int, str, str]


def rule_of(interval: int, look_back: int, history: int, fields: Sequence[str]) -> Rule:
    return Rule.model_validate(
        {
            "rule_id": "r",
            "name": "r",
            "description": "r",
            "type": "new_terms",
            "language": "kuery",
            "severity": "low",
            "risk_score": 1,
            "query": "event.category: process",
            "interval": f"{interval}m",
            "from": f"now-{look_back}m",
            "new_terms_fields": list(fields),
            "history_window_start": f"now-{history}m",
        }
    )


def write_events(path: Path, events: Sequence[Event]) -> None:
    lines = [
        orjson.dumps(
            {
                "@timestamp": iso(START + timedelta(seconds=second)),
                "event": {"id": f"{number:03}", "category": "process"},
                "host": {"id": host},
                "process": {"name": name},
            }
        )
        for number, (second, name, host) in enumerate(events)
    ]
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def punctual(rule: Rule, events: Sequence[Event], ends: Sequence[datetime]) -> set[tuple[str, tuple[str, ...]]]:
    """What Kibana finds in each window by its three phases: the event and the terms of each alert."""
    found: set[tuple[str, tuple[str, ...]]] = set()
    names = rule.new_terms_fields
    timed = [
        (
            START + timedelta(seconds=second),
            f"{number:03}",
            tuple({"process.name": n, "host.id": h}[one] for one in names),
        )
        for number, (second, n, h) in enumerate(events)
    ]
    history = timedelta(minutes=int(str(rule.history_window_start)[4:-1]))
    for end in ends:
        begin = end - rule.look_back
        for term in {term for time, _, term in timed if begin <= time <= end}:
            first, id_ = min((time, id_) for time, id_, one in timed if one == term and end - history <= time <= end)
            if first > begin:
                found.add((id_, term))
    return found


async def alerts_of(
    path: Path, rule: Rule, passes: Sequence[Sequence[Window]], *, terms: TermStore | None = None
) -> list[tuple[str, tuple[str, ...]]]:
    """The alerts of passes over the events, each with some windows: the event and the terms."""
    store = MemoryStore()
    for windows in passes:
        search = FileSearch([path])
        search.terms.keep_in(terms or MemoryTerms(), "", learn=timedelta(0), kept=timedelta(days=1))
        await search.prepare([compiled(rule)])
        execution = Execution(search, store, store, clock=lambda: START, context=AlertContext(START, ""))
        requests = [SearchRequest(compiled(rule), window, 1_000) for window in windows]
        runs = [run async for run in execution.run(requests)]
        assert [run for run in runs if run.status == "failed"] == []
        await search.close()
    found = [alert.document async for alert in store.find(AlertFilter())]
    return sorted((one["kibana.alert.ancestors"][0]["id"], tuple(one["kibana.alert.new_terms"])) for one in found)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    EVENTS, st.integers(1, 8), st.integers(0, 6), st.integers(1, 40),
    st.sampled_from((("process.name",), ("host.id", "process.name"))), st.booleans(), st.data(),
)  # fmt: skip
def test_windows_in_any_order_and_cut_find_what_punctual_runs_find(
    events: list[Event],
    interval: int,
    overlap: int,
    longer: int,
    fields: tuple[str, ...],
    ordered: bool,
    data: st.DataObject,
) -> None:
    rule = rule_of(interval, interval + overlap, 2 * (interval + overlap) + longer, fields)
    events = sorted(events) if ordered else events
    count = -(-130 // interval)
    ends = [START + (number + 1) * interval * MINUTE for number in range(count)]
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1), max_size=8)) | {0, count})
    # A window over several runs reaches from the first one's start to the last one's end, as that of a catch-up does.
    windows = [Window(ends[first] - rule.look_back, ends[last - 1]) for first, last in pairwise(cuts)]
    shuffled = data.draw(st.permutations(windows))
    passes = [shuffled[place : place + 2] for place in range(0, len(shuffled), 2)]
    repeated = [*passes, *data.draw(st.lists(st.sampled_from(passes), max_size=2))]
    expected = sorted(punctual(rule, events, ends))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        write_events(path, events)
        assert asyncio.run(alerts_of(path, rule, repeated, terms=MemoryTerms())) == expected
        assert asyncio.run(alerts_of(path, rule, passes)) == expected


async def test_the_table_stands_in_for_a_history_that_is_gone(tmp_path: Path) -> None:
    rule, path, terms = rule_of(5, 6, 60, ["process.name"]), tmp_path / "events.ndjson", MemoryTerms()
    window = Window(START + 60 * MINUTE, START + 66 * MINUTE)
    write_events(path, [(60, "a", "h1"), (3_650, "b", "h1")])
    assert await alerts_of(path, rule, [[window]], terms=terms) == [("001", ("b",))]
    write_events(path, [(3_920, "a", "h1"), (3_930, "b", "h1"), (3_940, "c", "h1"), (3_970, "a", "h1")])
    later = Window(START + 61 * MINUTE, START + 66 * MINUTE + 30 * timedelta(seconds=1))
    assert await alerts_of(path, rule, [[later]], terms=terms) == [("000", ("a",)), ("002", ("c",))]


@pytest.mark.parametrize("change", [{"query": "process.name: *"}, {"new_terms_fields": ("host.id",)}])
async def test_another_query_or_field_reads_the_history_anew(tmp_path: Path, change: dict[str, object]) -> None:
    rule, path, terms = rule_of(5, 6, 60, ["process.name"]), tmp_path / "events.ndjson", MemoryTerms()
    windows = [Window(START + 60 * MINUTE, START + 66 * MINUTE)]
    write_events(path, [(3_000, "a", "h1"), (3_650, "a", "h1")])
    assert await alerts_of(path, rule, [windows], terms=terms) == []
    assert await alerts_of(path, rule.model_copy(update=change), [windows], terms=terms) == []


async def test_an_event_that_comes_late_makes_no_second_alert_of_its_term(tmp_path: Path) -> None:
    rule, path, terms, store = (
        rule_of(5, 6, 60, ["process.name"]),
        tmp_path / "events.ndjson",
        MemoryTerms(),
        MemoryStore(),
    )
    window = Window(START + 60 * MINUTE, START + 66 * MINUTE)
    counts = []
    for events in ([(3_700, "b", "h1")], [(3_700, "b", "h1"), (3_650, "b", "h2"), (3_650, "c", "h2")]):
        write_events(path, events)
        search = FileSearch([path])
        search.terms.keep_in(terms, "", learn=timedelta(0), kept=timedelta(days=1))
        await search.prepare([compiled(rule)])
        execution = Execution(search, store, store, clock=lambda: START, context=AlertContext(START, ""))
        (run,) = [run async for run in execution.run([SearchRequest(compiled(rule), window, 100)])]
        counts.append((run.created, run.duplicates))
        await search.close()
    assert counts == [(1, 0), (1, 1)]


async def test_where_the_events_reach_back_too_little_terms_are_learned(tmp_path: Path) -> None:
    rule, path = rule_of(5, 6, 60, ["process.name"]), tmp_path / "events.ndjson"
    write_events(path, [(1_500, "a", "h1"), (3_650, "b", "h1"), (7_200, "c", "h1")])
    told = []
    terms = MemoryTerms()
    store = MemoryStore()
    for learn, end in ((timedelta(days=1), 66), (timedelta(0), 66), (timedelta(days=1), 121)):
        search = FileSearch([path])
        search.terms.keep_in(terms, "", learn=learn, kept=timedelta(days=1))
        await search.prepare([compiled(rule)])
        execution = Execution(search, store, store, clock=lambda: START, context=AlertContext(START, ""))
        window = Window(START + (end - 6) * MINUTE, START + end * MINUTE)
        (run,) = [run async for run in execution.run([SearchRequest(compiled(rule), window, 100)])]
        told.append((run.status, run.created, run.complete, len(run.messages)))
        await search.close()
    # The events reach back to minute 25, which is 35 minutes before the first window: over half of the history of 54.
    assert told == [("succeeded", 1, True, 1), ("succeeded", 0, True, 1), ("succeeded", 1, True, 0)]
    rule = rule_of(5, 6, 120, ["process.name"])
    search = FileSearch([path])
    search.terms.keep_in(MemoryTerms(), "", learn=timedelta(hours=1), kept=timedelta(days=1))
    await search.prepare([compiled(rule)])
    execution = Execution(search, store, store, clock=lambda: START, context=AlertContext(START, ""))
    request = SearchRequest(compiled(rule), Window(START + 60 * MINUTE, START + 66 * MINUTE), 100)
    (run,) = [run async for run in execution.run([request])]
    await search.close()
    assert (run.status, run.created, run.complete) == ("warning", 0, True)
    assert run.messages == (
        "1 new term was learned and not alerted, since the events reach back to 2026-03-01T00:25:00.000Z, 35m of the "
        "history of 1h 54m: alerts begin when they reach back RUNNER_LEARN_TERMS, or half of the history if that is "
        "shorter",
    )
