"""What every store promises, asked of each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.alerts.alert import Alert
from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import open_client
from runner.rule_run import RuleRun
from runner.store.elasticsearch.elasticsearch_store import ElasticsearchStores
from runner.store.memory import MemoryStore
from runner.store.protocol import KEPT_SPANS, AlertFilter, Mark, RuleState, Stores
from runner.store.source import EventSource
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window
from tests.store.alerts import Made, Store, alert_id, at, found, found_ids, run
from tests.store.conftest import store_in

BACKENDS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "alerts.db"),
}
MADE = Made()


@pytest.fixture(params=[*sorted(BACKENDS), pytest.param("elasticsearch", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param != "elasticsearch":
        backend = BACKENDS[request.param](tmp_path)
        yield Stores(backend, backend, backend, backend, backend)
        await backend.close()
        return
    name = request.getfixturevalue("namespace")
    client = open_client(Connection(hosts=(request.getfixturevalue("elasticsearch_url"),)))
    yield store_in(client, name)
    await client.close()


async def test_what_is_stored_is_read_back_equal(store: Stores) -> None:
    text = 'Zürich 東京 🦊 \u202e \x7f "quoted" \\ \n'
    n: list[Any] = [1, 1.5, -(2**63), 2**64 - 1, None, True, {"x": []}]
    alert = MADE.alert("a", message=text, n=n, ключ={"é": 1})
    result = await store.alerts.create([alert])
    assert (set(result.created), set(result.duplicates), result.rejected) == ({alert.id}, set(), None)
    stored = await found(store.alerts)
    assert [one.id for one in stored] == [alert.id]
    assert stored[0].document == alert.document


async def test_an_alert_that_is_there_is_never_changed(store: Stores) -> None:
    await store.alerts.create([MADE.alert("a", message="first")])
    result = await store.alerts.create([MADE.alert("a", message="second"), MADE.alert("b")])
    assert (set(result.created), set(result.duplicates)) == ({alert_id("b")}, {alert_id("a")})
    assert (await store.alerts.get(alert_id("a")))[0].document["message"] == "first"


async def test_an_alert_is_kept_as_it_was_when_it_was_given(store: Stores) -> None:
    alert = MADE.alert("a", message="first")
    await store.alerts.create([alert])
    document: Any = alert.document
    document["message"] = "second"
    assert (await found(store.alerts))[0].document["message"] == "first"


async def test_a_repeat_inside_a_batch_is_one_alert(store: Stores) -> None:
    result = await store.alerts.create([MADE.alert("a", message="first"), MADE.alert("a", message="second")])
    assert (set(result.created), set(result.duplicates), result.rejected) == ({alert_id("a")}, set(), None)
    assert [one.document["message"] for one in await found(store.alerts)] == ["first"]


async def test_a_bad_document_stops_no_other(store: Stores) -> None:
    if isinstance(store, ElasticsearchStores):
        pytest.skip("its index ignores a malformed value and keeps the document")
    result = await store.alerts.create(
        [MADE.alert("a"), MADE.alert("bad", "event", **{"@timestamp": "yesterday"}), MADE.alert("c")]
    )
    assert result.created == {alert_id("a"), alert_id("c")}
    assert result.rejected is not None
    assert list(result.rejected) == [alert_id("bad")]
    assert "'yesterday'" in result.rejected[alert_id("bad")]
    result = await store.alerts.create([MADE.alert("odd", value=object())])
    assert result.rejected is not None
    assert "not JSON" in result.rejected[alert_id("odd")]


async def test_known_ids(store: Stores) -> None:
    await store.alerts.create([MADE.alert(number) for number in range(1_200)])
    asked = [alert_id(number) for number in range(600, 1_800)]
    assert await store.alerts.existing_ids(asked) == {alert_id(number) for number in range(600, 1_200)}
    assert await store.alerts.existing_ids([]) == frozenset()


async def test_nothing_to_store_is_nothing(store: Stores) -> None:
    assert (await store.alerts.create([])).created == frozenset()
    assert await found(store.alerts) == []
    assert await store.ledger.read() == {}


async def test_newest_first_and_the_limit(store: Stores) -> None:
    await store.alerts.create([Made(minute=5).alert("b"), Made(minute=1).alert("a"), Made(minute=5).alert("c")])
    await store.alerts.create([Made(minute=3).alert("d")])
    assert await found_ids(store.alerts) == [alert_id(name) for name in "cbda"]
    assert await found_ids(store.alerts, limit=2) == [alert_id("c"), alert_id("b")]
    assert await found_ids(store.alerts, limit=0) == []


async def test_filters(store: Stores) -> None:
    await store.alerts.create(MADE.group("g"))
    await store.alerts.create([Made("rule-2", 5).alert("x", host={"name": ["db-01", "db-1"], "id": "h2"})])
    await store.alerts.create([Made("rule-2", 7).alert("y", "event", **{"host": {}, "host.id": "h3"})])
    assert await found_ids(store.alerts) == [alert_id("y"), alert_id("x"), alert_id("g")]
    assert await found_ids(store.alerts, rule_id="rule-1") == [alert_id("g")]
    assert await found_ids(store.alerts, rule_id="rule") == []
    assert len(await found_ids(store.alerts, rule_id="rule-1", building_blocks=True)) == 3
    assert await found_ids(store.alerts, since=at(5)) == [alert_id("y"), alert_id("x")]
    assert await found_ids(store.alerts, until=at(5)) == [alert_id("x"), alert_id("g")]
    assert await found_ids(store.alerts, since=at(1), until=at(6)) == [alert_id("x")]
    for host, expected in {
        "db-1": ["x"],
        "db-01": ["x"],
        "h2": ["x"],
        "h3": ["y"],
        "web-01": ["g"],
        "db": [],
        "%": [],
    }.items():
        assert await found_ids(store.alerts, host=host) == [alert_id(name) for name in expected]


async def test_an_alert_by_the_beginning_of_its_id(store: Stores) -> None:
    if isinstance(store, ElasticsearchStores):
        pytest.skip("it looks for kibana.alert.uuid, which these documents do not have")
    alerts = [Alert(id_, "r", "event", MADE.alert("a").document) for id_ in ("abc1", "abc2", "abc", "b%c")]
    await store.alerts.create(alerts)
    for prefix, expected in {
        "abc": ["abc"],
        "ab": ["abc", "abc1", "abc2"],
        "abc1": ["abc1"],
        "b%": ["b%c"],
        "%": [],
        "": [],
        "x": [],
    }.items():
        assert [one.id for one in await store.alerts.get(prefix)] == expected


async def test_a_group_in_its_order(store: Stores) -> None:
    group = MADE.group("g", size=12)
    await store.alerts.create([*reversed(group[:-1]), group[-1], *MADE.group("other")])
    assert [one.id for one in await store.alerts.group(alert_id("g"))] == [alert.id for alert in group[:-1]]
    assert not await store.alerts.group("none")


async def test_ten_thousand_alerts(store: Stores) -> None:
    alerts = [Made(minute=number % 97).alert(number, message="x" * 500) for number in range(10_000)]
    for start in range(0, len(alerts), 500):
        assert len((await store.alerts.create(alerts[start : start + 500])).created) == 500
    assert not (await store.alerts.create(alerts)).created
    stored = await found(store.alerts)
    times = [one.document["@timestamp"] for one in stored]
    assert len({one.id for one in stored}) == 10_000
    assert times == sorted(times, reverse=True)
    assert await found_ids(store.alerts, limit=750) == [one.id for one in stored[:750]]


async def test_alerts_that_come_while_one_reads_disturb_no_reader(store: Stores) -> None:
    await store.alerts.create([Made(minute=1).alert(number) for number in range(1_100)])
    seen: list[str] = []
    async for alert in store.alerts.find(AlertFilter()):
        seen.append(alert.id)
        if len(seen) == 1:
            await store.alerts.create([Made(minute=2).alert("late")])
    assert set(seen) - {alert_id("late")} == {alert_id(number) for number in range(1_100)}
    assert len(seen) == len(set(seen))


async def test_two_writers_at_once_make_one_alert(store: Stores) -> None:
    batches = [[MADE.alert(number) for number in range(start, start + 60)] for start in range(0, 100, 20)]
    results = await asyncio.gather(*(store.alerts.create(batch) for batch in batches))
    created = [id_ for result in results for id_ in result.created]
    assert len(created) == len(set(created)) == 140


async def test_the_ledger_merges_what_was_searched(store: Stores) -> None:
    await store.ledger.record(run(first=0, last=9), "f1")
    await store.ledger.record(run(first=5, last=14, complete=False, status="failed"), "f1")
    await store.ledger.record(run(first=20, last=29), "f1")
    await store.ledger.record(run(first=29, last=34), "f2")
    await store.ledger.record(run("rule-2", first=1, last=2), "g")
    states = await store.ledger.read()
    assert states["rule-1"].searched == (Window(at(0), at(9)), Window(at(20), at(34)))
    assert states["rule-1"].fingerprint == "f2"
    assert states["rule-2"].searched == (Window(at(1), at(2)),)
    await store.ledger.record(run(first=8, last=21), "f2")
    assert (await store.ledger.read())["rule-1"].searched == (Window(at(0), at(34)),)


async def test_a_first_run_that_failed_leaves_its_whole_window_owed(store: Stores) -> None:
    await store.ledger.record(run(first=3, last=9, complete=False, status="failed"), "f")
    assert (await store.ledger.read())["rule-1"].searched == (Window(at(3), at(3)),)
    await store.ledger.record(run(first=3, last=9), "f")
    assert (await store.ledger.read())["rule-1"].searched == (Window(at(3), at(9)),)


async def test_the_last_run_is_read_back_equal(store: Stores) -> None:
    last: RuleRun = run(
        first=0.000_017,
        last=9.5,
        name="Ünïcode",
        status="warning",
        matches=1,
        created=2,
        duplicates=3,
        suppressed=4,
        capped=5,
        took_ms=6,
        complete=False,
        messages=("first", "zweite\n"),
    )
    if isinstance(store, ElasticsearchStores):
        pytest.skip("several runners may share it: the run that started last is the last, whoever records later")
    await store.ledger.record(run(first=100, last=109), "f")
    await store.ledger.record(last, "f")
    assert (await store.ledger.read())["rule-1"].last == last
    assert orjson.dumps(last.as_json())


async def test_the_ledger_stays_small(store: Stores) -> None:
    for number in range(KEPT_SPANS + 20):
        await store.ledger.record(run(first=number * 20, last=number * 20 + 9), "f")
    searched = (await store.ledger.read())["rule-1"].searched
    assert len(searched) == KEPT_SPANS
    assert searched[0] == Window(at(0), at(0))  # what is forgotten is owed, as all time since the first window
    assert searched[-1] == Window(at((KEPT_SPANS + 19) * 20), at((KEPT_SPANS + 19) * 20 + 9))


async def test_a_rule_is_known_before_it_has_run(store: Stores) -> None:
    await store.ledger.add_marks([Mark("rule-1", "begin", at(3)), Mark("rule-2", "begin", at(4))])
    await store.ledger.add_marks([Mark("rule-1", "begin", at(9))])
    states = await store.ledger.read()
    assert states["rule-1"] == RuleState("rule-1", (Window(at(3), at(3)),))
    assert states["rule-2"].last is None
    await store.ledger.record(run(first=5, last=9), "f")
    assert (await store.ledger.read())["rule-1"].searched == (Window(at(3), at(3)), Window(at(5), at(9)))


async def test_pauses_are_kept_and_outlast_runs(store: Stores) -> None:
    await store.ledger.record(run(first=0, last=9), "f")
    await store.ledger.add_marks([Mark("rule-1", "pause", at(10)), Mark("rule-1", "pause", at(12))])
    assert (await store.ledger.read())["rule-1"].paused == at(10)
    await store.ledger.record(run(first=9, last=10), "f")
    assert (await store.ledger.read())["rule-1"].paused == at(10)
    await store.ledger.add_marks([Mark("rule-1", "resume", at(20)), Mark("rule-1", "resume", at(25))])
    await store.ledger.add_marks(
        [Mark("rule-1", "pause", at(30)), Mark("rule-1", "resume", at(31)), Mark("rule-1", "pause", at(31))]
    )
    await store.ledger.record(run(first=20, last=29), "g")
    state = (await store.ledger.read())["rule-1"]
    assert state.skipped == (Window(at(10), at(20)), Window(at(30), at(31)))
    assert (state.paused, state.fingerprint) == (at(31), "g")
    assert state.accounted == (Window(at(0), at(29)), Window(at(30), at(31)))


async def test_doubt_takes_back_what_was_said_of_later_times(store: Stores) -> None:
    await store.ledger.record(run(first=0, last=9), "f")
    await store.ledger.record(run(first=20, last=29), "f")
    await store.ledger.add_marks([Mark("rule-1", "doubt", at(25))])
    assert (await store.ledger.read())["rule-1"].searched == (Window(at(0), at(9)), Window(at(20), at(25)))
    await store.ledger.add_marks([Mark("rule-1", "pause", at(28)), Mark("rule-1", "doubt", at(5))])
    state = (await store.ledger.read())["rule-1"]
    assert (state.searched, state.paused) == ((Window(at(0), at(5)),), at(5))
    await store.ledger.add_marks([Mark("rule-1", "doubt", at(-5))])
    assert (await store.ledger.read())["rule-1"].searched == (Window(at(-5), at(-5)),)


async def test_many_marks_at_once(store: Stores) -> None:
    marks = [Mark(f"rule-{number}", "begin", at(number)) for number in range(1_200)]
    await store.ledger.add_marks(marks)
    await store.ledger.add_marks([])
    states = await store.ledger.read()
    assert {rule_id: state.searched[0].start for rule_id, state in states.items()} == {
        mark.rule_id: mark.at for mark in marks
    }


async def test_runs_and_marks_of_two_writers_are_merged(store: Stores) -> None:
    await asyncio.gather(
        *(store.ledger.record(run(first=number * 5, last=number * 5 + 9), "f") for number in range(6)),
        *(
            store.ledger.add_marks([mark])
            for mark in (Mark("rule-1", "pause", at(100)), Mark("rule-1", "resume", at(101)))
        ),
    )
    state = (await store.ledger.read())["rule-1"]
    assert state.searched == (Window(at(0), at(34)),)
    assert state.paused == at(100) or state.skipped == (Window(at(100), at(101)),)


A, B = EventSource("files", ("/a",)), EventSource("files", ("/b",))
CLUSTER = EventSource("cluster", ("https://one:9200", "uuid-1"))


async def spans(store: Stores, source: EventSource, rule_id: str = "rule-1") -> list[tuple[float, float]]:
    """The spans that are searched over a source, in minutes."""
    states = await store.of(source).ledger.read()
    found = states[rule_id].searched if rule_id in states else ()
    return [((span.start - at(0)).total_seconds() / 60, (span.end - at(0)).total_seconds() / 60) for span in found]


async def test_each_source_has_a_ledger_and_a_run_log_of_its_own(store: Stores) -> None:
    await store.ledger.record(run(first=0, last=10, complete=False, execution_id="cluster"), "f")
    await store.ledger.record(run(first=20, last=30), "f")
    other = store.of(CLUSTER)
    assert await other.ledger.read() == {}
    await other.ledger.record(run(first=40, last=50), "f")
    await other.ledger.record(run(first=0, last=15, complete=False, execution_id="other"), "f")
    assert (await store.ledger.read())["rule-1"].searched == (Window(at(0), at(0)), Window(at(20), at(30)))
    assert (await other.ledger.read())["rule-1"].searched == (Window(at(40), at(50)),)
    assert [source.kind for source in await store.ledgers.sources()] == ["", "cluster"]
    await other.ledger.add_marks([Mark("rule-1", "pause", at(60))])
    assert (await store.ledger.read())["rule-1"].paused is None
    if not isinstance(store, ElasticsearchStores):  # there a run is found after the next refresh of its index
        for one, name in ((store, "cluster"), (other, "other")):
            assert [run.execution_id for run in await one.run_log.unfinished(["rule-1"], at(0))] == [name]


async def test_a_source_begins_with_what_those_of_its_names_leave_to_it(store: Stores) -> None:
    await store.of(A).ledger.record(run(first=0, last=10), "f")
    await store.of(A).ledger.record(run(first=20, last=40), "f")
    both = replace(A, names=("/b", "/a"))
    assert await spans(store, B) == []
    assert await spans(store, both) == [(0, 10), (20, 40)]  # the folder that is new owes nothing of before
    await store.of(both).ledger.record(run(first=40, last=50), "f")
    assert await spans(store, both) == [(0, 10), (20, 50)]
    assert await spans(store, B) == [(0, 10), (20, 50)]  # of what was owed for both, a part may be its own
    assert await spans(store, A) == [(0, 10), (20, 40)]
    await store.of(B).ledger.record(run(first=10, last=20), "f")
    assert await spans(store, replace(A, names=("/a", "/b", "/c"))) == [(0, 10), (20, 50)]  # "/a" owes it still
    assert await spans(store, replace(A, place="another machine")) == []


async def test_a_cluster_is_known_by_its_id_and_by_each_of_its_addresses(store: Stores) -> None:
    await store.of(CLUSTER).ledger.record(run(first=0, last=10), "f")
    for names in (("uuid-1", "https://two:9200"), ("https://one:9200", "https://two:9200")):
        assert await spans(store, replace(CLUSTER, names=names)) == [(0, 10)]
    assert await spans(store, replace(CLUSTER, names=("https://two:9200", "uuid-2"))) == []


async def test_spans_that_are_owed_again_for_late_events_are_kept_until_they_are_searched(store: Stores) -> None:
    await store.ledger.record(run(last=60), "f")
    await store.ledger.add_marks([Mark("rule-1", "late", at(61), (Window(at(10), at(12)), Window(at(50), at(70))))])
    state = (await store.ledger.read())["rule-1"]
    assert state.searched == (Window(at(0), at(10)), Window(at(12), at(50)))
    assert state.late == (Window(at(10), at(12)), Window(at(50), at(60)))
    await store.ledger.record(run(first=8, last=12), "f")
    await store.ledger.record(run(first=55, last=61), "f")
    state = (await store.ledger.read())["rule-1"]
    assert state.searched == (Window(at(0), at(50)), Window(at(55), at(61)))
    assert state.late == (Window(at(50), at(55)),)


async def test_what_was_read_of_files_is_kept_by_path(store: Stores) -> None:
    assert await store.files.read_files() == {}
    await store.files.keep_files({"/a": b"[1]", "/b é": b"[]"})
    await store.files.keep_files({"/a": b"[2]"})
    assert await store.files.read_files() == {"/a": b"[2]", "/b é": b"[]"}


async def test_each_source_has_a_record_of_its_files_that_begins_with_that_of_its_names(store: Stores) -> None:
    both = replace(A, names=("/a", "/b"))
    await store.of(A).files.keep_files({"/a": b"1"})
    assert await store.of(both).files.read_files() == {"/a": b"1"}
    await store.of(both).files.keep_files({"/a": b"2", "/b": b"3"})
    assert await store.of(A).files.read_files() == {"/a": b"1", "/b": b"3"}
    assert await store.of(both).files.read_files() == {"/a": b"2", "/b": b"3"}


async def test_late_spans_are_those_of_their_source(store: Stores) -> None:
    for source in (A, B):
        await store.of(source).ledger.record(run(last=60), "f")
    await store.of(A).ledger.add_marks([Mark("rule-1", "late", at(61), (Window(at(10), at(12)),))])
    assert await spans(store, B) == [(0, 60)]
    both = replace(A, names=("/a", "/b"))
    state = (await store.of(both).ledger.read())["rule-1"]
    assert (state.searched, state.late) == ((Window(at(0), at(10)), Window(at(12), at(60))), (Window(at(10), at(12)),))
