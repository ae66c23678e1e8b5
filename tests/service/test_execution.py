"""One rule over one window: what is asked again, what is counted, and which failures stay with their rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.alerts.build import AlertContext, build_alerts
from runner.alerts.cap import Candidate
from runner.alerts.identity import former_alert_ids
from runner.errors import EventsError, Problem, StoreError
from runner.rule_run import RuleRun
from runner.rules.load import load_rules
from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule
from runner.search.protocol import Hit, Match, SearchRequest, SearchResult
from runner.service.execution import LARGEST_SIZE, Execution, size_for
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertFilter
from runner.windows import Window
from tests.compiled import compiled
from tests.scenarios.timeline import document_of, rule_text

NOW = datetime(2026, 3, 2, 10, 5, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(minutes=9), NOW)


class Shelf:
    """A search over matches that are there already: gives as many as asked for, as a cluster does."""

    def __init__(self, matches: Sequence[Match], **more: Any) -> None:
        self.matches = matches
        self.more = more
        self.sizes: list[int] = []

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        return ()

    async def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        for request in requests:
            self.sizes.append(request.size)
            given = self.matches[: request.size]
            yield SearchResult(request, given, len(given) < request.size, **self.more)

    async def close(self) -> None: ...


def match(number: int, **more: str) -> Match:
    given = " ".join(f"{name}={value}" for name, value in more.items())
    source = document_of(f"e{number} exec 10:{number // 60 % 60:02}:{number % 60:02}.{number % 997:03} name=nc {given}")
    return Match((Hit("logs-endpoint.events.process-default", f"id{number}", source),), is_sequence=False)


@pytest.fixture
def rule(tmp_path: Path) -> Callable[..., Rule]:
    def made(name: str = "nc", **fields: Any) -> Rule:
        path = tmp_path / f"{name}.toml"
        path.write_text(rule_text(name, {"query": "any where true", **fields}))
        return load_rules([path]).rules[0]

    return made


async def runs_of(search: Shelf, rules: Sequence[Rule], store: MemoryStore, **more: Any) -> list[RuleRun]:
    context = AlertContext(now=NOW, execution_id="")
    execution = Execution(search, store, store, clock=lambda: NOW, context=context, **more)
    return [run async for run in execution.run([SearchRequest(compiled(one), WINDOW, size_for(one)) for one in rules])]


async def test_known_matches_are_searched_past_until_the_cap_is_full(rule: Callable[..., Rule]) -> None:
    search, store = Shelf([match(number) for number in range(300)]), MemoryStore()
    one = rule(max_signals=100)
    counts = []
    for _ in range(4):
        (run,) = await runs_of(search, [one], store)
        counts.append((run.created, run.duplicates, run.capped, run.complete))
    assert counts == [(100, 0, 1, False), (100, 100, 100, False), (100, 200, 0, True), (0, 300, 0, True)]
    assert search.sizes == [101, 101, 404, 101, 404, 101, 404]


@pytest.mark.slow
async def test_a_flood_of_known_matches_is_a_failure_that_says_so(rule: Callable[..., Rule]) -> None:
    search, store = Shelf([match(number) for number in range(LARGEST_SIZE + 1)]), MemoryStore()
    one = rule(max_signals=LARGEST_SIZE)
    (first,) = await runs_of(search, [one], store)
    assert (first.status, first.created, first.complete) == ("warning", LARGEST_SIZE, False)
    (run,) = await runs_of(search, [one], store)
    assert (run.status, run.complete, run.created) == ("failed", False, 0)
    assert "over 10,000 matches in one window" in run.messages[0]


async def test_a_failed_search_writes_nothing_and_leaves_its_window_owed(rule: Callable[..., Rule]) -> None:
    store = MemoryStore()
    (run,) = await runs_of(Shelf([], error="2 of 5 shards failed", warnings=("slow",)), [rule()], store)
    assert (run.status, run.complete, run.messages) == ("failed", False, ("2 of 5 shards failed", "slow"))
    assert (await store.read())["nc"].searched == (Window(WINDOW.start, WINDOW.start),)


async def test_warnings_of_the_search_make_a_warning_of_the_run(rule: Callable[..., Rule]) -> None:
    (run,) = await runs_of(Shelf([match(1)], warnings=("no index matches x",)), [rule()], MemoryStore())
    assert (run.status, run.complete, run.created, run.messages) == ("warning", True, 1, ("no index matches x",))


async def test_repeats_within_an_answer_do_not_hide_that_there_is_more(rule: Callable[..., Rule]) -> None:
    search, store = Shelf([match(1), match(1), match(2), match(3)]), MemoryStore()
    counts = []
    for _ in range(3):
        (run,) = await runs_of(search, [rule(max_signals=2)], store)
        counts.append((run.created, run.status, run.complete))
    assert counts == [(2, "warning", False), (1, "succeeded", True), (0, "succeeded", True)]


async def test_the_same_match_twice_in_one_answer_is_one_alert(rule: Callable[..., Rule]) -> None:
    (run,) = await runs_of(Shelf([match(1), match(1), match(2)]), [rule()], MemoryStore())
    assert (run.matches, run.created, run.duplicates, run.complete) == (3, 2, 1, True)


async def test_a_part_that_could_not_be_read_leaves_the_window_owed(rule: Callable[..., Rule]) -> None:
    (run,) = await runs_of(Shelf([match(1)], complete=False, warnings=("a.ndjson: no",)), [rule()], MemoryStore())
    assert (run.status, run.complete, run.created, run.messages) == ("failed", False, 1, ("a.ndjson: no",))


class Changed(Sequence[Match]):
    """A match in a log that was truncated before its document was read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return self
        raise EventsError("a.log: changed while it was being read", path="a.log")


@pytest.mark.parametrize(
    "query", ["any where true", "sequence by host.id with maxspan=1m [any where true] ![any where false]"]
)
async def test_documents_that_are_gone_fail_the_run_of_their_rule_alone(rule: Callable[..., Rule], query: str) -> None:
    (run,) = await runs_of(Shelf(Changed()), [rule(query=query)], MemoryStore())
    assert (run.status, run.complete, run.created) == ("failed", False, 0)
    assert run.messages == ("a.log: changed while it was being read",)


async def test_a_document_that_no_alert_can_be_made_of_is_rejected_alone(rule: Callable[..., Rule]) -> None:
    broken = Match((Hit("", "", {}), Hit("", "", {})), is_sequence=False)
    store = MemoryStore()
    unread = Match((), is_sequence=False, unreadable="events.ndjson: event 7 of the file cannot be read: not JSON")
    (run,) = await runs_of(Shelf([broken, match(1), unread]), [rule(max_signals=3)], store)
    assert (run.status, run.complete, run.created) == ("warning", True, 1)
    (message,) = run.messages
    assert message.startswith("2 matches rejected, since no alert can be made of them: ")
    assert "2 events" in message and unread.unreadable in message
    (fine,) = await runs_of(Shelf([match(1)]), [rule("other")], store)
    assert (fine.status, fine.created) == ("succeeded", 1)


async def test_a_cap_of_one(rule: Callable[..., Rule]) -> None:
    (one,) = await runs_of(Shelf([match(1), match(2)]), [rule("one", max_signals=1)], MemoryStore())
    assert (one.created, one.capped, one.complete) == (1, 1, False)


async def test_a_ledger_that_cannot_be_written_stops_the_whole(rule: Callable[..., Rule]) -> None:
    class NoLedger(MemoryStore):
        async def record(self, run: RuleRun, fingerprint: str) -> None:
            raise StoreError("disk full")

    store = NoLedger()
    with pytest.raises(StoreError, match="disk full"):
        await runs_of(Shelf([match(1)]), [rule()], store)
    assert len(await store.existing_ids(await ids_in(store))) == 1


async def test_new_alerts_are_handed_on_once(rule: Callable[..., Rule]) -> None:
    store, created = MemoryStore(), list[str]()
    for numbers in ((1, 2), (1, 2, 3)):
        search = Shelf([match(number) for number in numbers])
        await runs_of(search, [rule()], store, on_created=lambda alerts: created.extend(alert.id for alert in alerts))
    assert Counter(created) == Counter(await ids_in(store))
    assert len(created) == 3


async def ids_in(store: MemoryStore) -> Collection[str]:
    return [alert.id async for alert in store.find(AlertFilter())]


async def test_alerts_under_the_ids_of_earlier_versions_are_not_repeated(rule: Callable[..., Rule]) -> None:
    one, store = rule(), MemoryStore()
    plain = {"agent.id": "a", "event.id": "CYu", "event.category": "network"}
    first, second, third = (
        Match((Hit("", "", plain | {"@timestamp": f"2026-03-02T10:00:0{second}Z"}),), is_sequence=False)
        for second in range(3)
    )
    pair = Match((*first.hits, *second.hits), is_sequence=True)
    context = AlertContext(now=NOW, execution_id="")
    for match_ in (first, pair):
        before = Candidate(match_, former_alert_ids(match_, one, "default"))
        group = build_alerts(before, one, context)
        assert group is not None
        await store.create(group.alerts)
    # Earlier versions took the third for the first, since their `event.id` is the same: it is new.
    (run,) = await runs_of(Shelf([first, third, pair]), [one], store)
    assert (run.matches, run.created, run.duplicates) == (3, 1, 2)
    (run,) = await runs_of(Shelf([first, third, pair]), [one], store)
    assert (run.created, run.duplicates) == (0, 3)
