"""Windows with more matches than one search returns: searched in parts that together find what the whole holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.alerts.build import AlertContext
from runner.alerts.identity import alert_ids
from runner.errors import Problem
from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.schedule.window_edges import decided_matches, halves_of
from runner.search.compiled_rule import CompiledRule, Reach
from runner.search.protocol import Hit, Match, SearchRequest, SearchResult
from runner.service.execution import LARGEST_SIZE, MOST_PARTS, Execution, size_for
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertFilter
from runner.windows import Window, iso
from tests.compiled import compiled
from tests.search.lab import NOON, WINDOW, rule

pytestmark = pytest.mark.slow

EVENT = "process where true"
PAIR = "sequence by host.id with maxspan=1m [process where true] [network where true]"
PAIR_WITHOUT = "sequence by host.id with maxspan=1m [process where true] ![network where true]"


def event(milliseconds: int, number: int) -> Match:
    source = {"@timestamp": iso(NOON + timedelta(milliseconds=milliseconds)), "event": {"category": "process"}}
    return Match((Hit("logs-lab", str(number), source),), is_sequence=False)


class Shelf:
    """A search over matches that are there already, of which it gives those inside the window, `size` at most."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self.matches = matches
        self.asked: list[SearchRequest] = []

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        return ()

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        for request in requests:
            self.asked.append(request)
            start, end = iso(request.window.start), iso(request.window.end)
            inside = [
                match
                for match in self.matches
                if all(start <= hit.source["@timestamp"] <= end for hit in match.hits if not hit.missing)
            ]
            given = inside[: request.size]
            yield SearchResult(request, given, len(given) < request.size)

    async def close(self) -> None: ...


class Known(MemoryStore):
    """A store in which the alerts of some matches are already."""

    def __init__(self, known: Sequence[Match], of: Rule) -> None:
        super().__init__()
        self._ids = {id_ for match in known for id_ in alert_ids(match, of, "default")}

    async def existing_ids(self, ids: Any) -> frozenset[str]:
        return frozenset(ids) & self._ids | await super().existing_ids(ids)


async def runs_of(search: Shelf, store: MemoryStore, of: Rule, **more: Any) -> list[RuleRun]:
    now = datetime(2026, 3, 2, 13, tzinfo=UTC)
    execution = Execution(
        search, store, store, clock=lambda: now, context=AlertContext(now=now, execution_id=""), **more
    )
    request = SearchRequest(compiled(of), WINDOW, size_for(of))
    return [run async for run in execution.run([request])]


def spread(count: int, *, minutes: int = 9) -> list[Match]:
    """So many events evenly over the first minutes of the window."""
    return [event(number * minutes * 60_000 // count, number) for number in range(count)]


async def test_new_matches_behind_ten_thousand_known_ones_are_reached() -> None:
    matches, one = spread(4 * LARGEST_SIZE), rule(EVENT)
    search, store = Shelf(matches), Known(matches[:-50], one)
    (run,) = await runs_of(search, store, one)
    assert (run.status, run.complete, run.created) == ("succeeded", True, 50)
    assert run.window == WINDOW
    assert run.messages == ("over 10,000 matches in one window: it was searched in parts (7 done)",)
    # 101, 404, 1616, 6464, 10,000; then halves, quarters and eighths: a search that is just full may have left some.
    assert len(search.asked) == 5 + 12
    assert (await store.read())[one.rule_id].searched == (WINDOW,)


async def test_the_cap_holds_over_all_parts_and_what_is_done_is_done() -> None:
    matches, one = spread(3 * LARGEST_SIZE), rule(EVENT, max_signals=100)
    known = matches[: LARGEST_SIZE + 500]
    search, store = Shelf(matches), Known(known, one)
    done, rest = await runs_of(search, store, one)
    assert (done.status, done.complete, done.created) == ("succeeded", True, 0)
    assert (rest.status, rest.complete, rest.created) == ("warning", False, 100)
    assert any("max_signals reached" in text for text in rest.messages)
    assert done.window.start == WINDOW.start and rest.window.end == WINDOW.end
    assert rest.window.start - done.window.end == timedelta(milliseconds=1)
    assert (await store.read())[one.rule_id].searched == (done.window,)
    written = {alert.document["kibana.alert.original_time"] async for alert in store.find(AlertFilter())}
    assert max(written) == matches[len(known) + 99].hits[0].source["@timestamp"]


async def test_dropping_over_the_cap_completes_the_window() -> None:
    matches, one = spread(3 * LARGEST_SIZE), rule(EVENT, max_signals=100)
    (run,) = await runs_of(Shelf(matches), Known(matches[: LARGEST_SIZE + 500], one), one, on_cap="drop")
    assert (run.status, run.complete, run.created) == ("warning", True, 100)
    assert any("dropped" in text for text in run.messages)


async def test_ten_thousand_matches_of_one_millisecond_can_not_be_divided() -> None:
    matches = [event(60_000, number) for number in range(LARGEST_SIZE + 5)]
    one = rule(EVENT)
    before, rest = await runs_of(Shelf(matches), Known(matches, one), one)
    assert before.complete
    assert before.window.end == NOON + timedelta(milliseconds=59_999)
    assert (rest.status, rest.complete) == ("failed", False)
    assert "cannot be searched in shorter parts" in rest.messages[0]
    assert rest.window.start == NOON + timedelta(minutes=1)


@pytest.mark.parametrize(
    "query",
    [
        "sequence by host.id [process where true] [network where true]",
        "sample by host.id [process where true] [network where true]",
        "process where true | head 20000",
    ],
)
async def test_what_can_not_be_divided_in_time_fails_and_says_so(query: str) -> None:
    matches, one = spread(LARGEST_SIZE + 5), rule(query)
    search = Shelf(matches)
    (run,) = await runs_of(search, Known(matches, one), one)
    assert (run.status, run.complete) == ("failed", False)
    assert "those after them cannot be reached" in run.messages[0]
    assert len(search.asked) == 5


async def test_a_part_that_fails_leaves_the_rest_owed() -> None:
    matches, one = spread(2 * LARGEST_SIZE + 10), rule(EVENT)
    search = Shelf(matches)
    await runs_of(search, Known(matches, one), one)
    parts = [asked.window for asked in search.asked if asked.window != WINDOW]

    class FailingLate(Shelf):
        async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
            async for result in super().run(requests):
                late = result.request.window != WINDOW and result.request.window.start >= parts[-1].start
                yield SearchResult(result.request, error="shards failed") if late else result

    done, rest = await runs_of(FailingLate(matches), Known(matches, one), one)
    assert done.complete
    assert (rest.status, rest.complete, rest.messages[0]) == ("failed", False, "shards failed")
    assert rest.window == parts[-1]


async def test_the_searches_of_one_run_are_bounded() -> None:
    known, one = event(0, 0), rule(EVENT)

    class Dense(Shelf):
        """Says that there is more, whatever the size, of every window longer than half a second."""

        async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
            for request in requests:
                self.asked.append(request)
                full = request.window.length > timedelta(milliseconds=500)
                yield SearchResult(request, [known] if full else (), not full)

    search = Dense(())
    done, rest = await runs_of(search, Known([known], one), one)
    assert len(search.asked) == 5 + MOST_PARTS
    assert done.complete and not rest.complete
    assert "the rest is left for the next run" in rest.messages[0]
    assert done.window.end + timedelta(milliseconds=1) == rest.window.start


# The parts of a window


MOMENTS = st.integers(0, 20_000).map(lambda number: NOON + timedelta(milliseconds=number))


@given(
    st.sampled_from((EVENT, PAIR, PAIR_WITHOUT)),
    st.integers(0, 20_000),
    st.integers(0, 3_000),
    st.lists(st.booleans(), max_size=30),
    MOMENTS,
    st.integers(0, 3_000),
)
def test_every_match_of_the_whole_is_settled_in_a_part(
    query: str, length: int, maxspan: int, path: list[bool], first: datetime, gap: int
) -> None:
    """However a window is halved, a match that it holds and can vouch for lies in a part that can vouch for it."""
    reach = Reach() if query == EVENT else Reach(timedelta(milliseconds=maxspan), trailing=query == PAIR_WITHOUT)
    if reach.maxspan == timedelta(0):
        reach, gap = Reach(), 0
    one = replace(compiled(rule(query)), reach=reach)
    whole = SearchRequest(one, Window(NOON, NOON + timedelta(milliseconds=length)), 10)
    last = first + min(timedelta(milliseconds=gap), reach.maxspan)
    hits = [Hit("i", str(n), {"@timestamp": iso(moment)}) for n, moment in enumerate((first, last))]
    if reach.trailing:
        hits = [hits[0], Hit("", "", {}, missing=True)]
        last = first
    match = Match(tuple(hits), is_sequence=True)

    def found(request: SearchRequest) -> bool:
        inside = request.window.start <= first and last <= request.window.end
        return inside and bool(decided_matches([match], request))

    parts, left = [], [whole]
    for cut in path:
        part = left.pop()
        halves = halves_of(part)
        if halves is None:
            parts.append(part)
        else:
            assert all(half.window.length < part.window.length for half in halves)
            assert halves[0].window.start == part.window.start and halves[1].window.end == part.window.end
            left += halves if cut else reversed(halves)
        if not left:
            break
    assert found(whole) == any(map(found, parts + left))


def test_a_window_that_selects_by_ingest_time_is_divided_for_single_events_only() -> None:
    override = {"timestamp_override": "event.ingested"}
    assert halves_of(SearchRequest(compiled(rule(EVENT, **override)), WINDOW, 1)) is not None
    assert halves_of(SearchRequest(compiled(rule(PAIR, **override)), WINDOW, 1)) is None
    assert halves_of(SearchRequest(compiled(rule(PAIR)), WINDOW, 1)) is not None
