"""`rule-runner replay`: a past span, window by window, by the same path as live runs."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from runner.rule_run import RuleRun
from runner.sample_data.write import write_sample
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window
from tests.cli.conftest import END, Command
from tests.cli.test_once import write_rule
from tests.elasticsearch.events import make_stream
from tests.elasticsearch.proxy import Proxy
from tests.paths import ROOT
from tests.scenarios.test_processes import PATIENT, lines_until, process
from tests.service.test_replay_journal import rule_run, written

pytestmark = pytest.mark.slow

PLANTED = 12


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Two hours of events with attacks of both shipped rules."""
    path = tmp_path / "events.ndjson"
    write_sample(path, events=6_000, attacks=PLANTED, seed=3, end=END, span=timedelta(hours=2))
    return path


def test_all_of_the_files_time_is_searched_and_again_makes_nothing(command: Command, events: Path) -> None:
    first = command("replay", "--events", events, "-o", "json")
    assert (first.code, first.json["created"], first.json["dry_run"]) == (0, PLANTED, False)
    assert first.json["window"]["to"] == "2026-03-02T10:05:00.000Z"
    for rule in first.json["rules"]:
        assert (rule["windows"], rule["failed"], rule["capped"]) == (24, 0, 0)
        assert sum(rule["per_hour"].values()) == rule["created"]
    again = command("replay", "--events", events, "-o", "json")
    assert (again.code, again.json["created"]) == (0, 0)
    assert sum(rule["duplicates"] for rule in again.json["rules"]) >= PLANTED
    listed = command("alerts", "list", "-o", "json").json["alerts"]
    assert len(listed) == PLANTED


def test_a_dry_run_writes_nothing(command: Command, events: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    answer = command("replay", "--events", events, "--dry-run")
    assert (answer.code, f"{PLANTED} alerts would have been made." in answer.out) == (0, True)
    assert set(tmp_path.iterdir()) == before


def test_only_the_named_span_is_searched(command: Command, events: Path) -> None:
    span = ("--from", "2026-03-02T09:00:00Z", "--to", "2026-03-02T09:10:00Z")
    answer = command("replay", "--events", events, "--dry-run", "-o", "json", *span)
    assert answer.json["window"] == {"from": "2026-03-02T09:00:00.000Z", "to": "2026-03-02T09:10:00.000Z"}
    assert {rule["windows"] for rule in answer.json["rules"]} == {2}


def test_what_the_cap_holds_back_is_delivered_in_the_end(command: Command, events: Path, tmp_path: Path) -> None:
    write_rule(tmp_path, "many", 'process where event.type == "start"', max_signals=7)
    rules = ("--rules", tmp_path / "rules")
    span = ("--from", "2026-03-02T10:00:00Z", "--to", "2026-03-02T10:05:00Z")
    answer = command("replay", "--events", events, "--dry-run", "-o", "json", *rules, *span)
    (rule,) = answer.json["rules"]
    assert (rule["created"] > 7, rule["windows"] > 1, rule["failed"]) == (True, True, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "2026-03-02T11:00:00Z", "--to", "2026-03-02T10:00:00Z"), "is not before --to"),
        (("--from", "yesterdy"), "yesterdy"),
    ],
)
def test_a_wrong_span_is_refused(command: Command, events: Path, arguments: tuple[str, ...], said: str) -> None:
    answer = command("replay", "--events", events, *arguments)
    assert answer.code == 3
    assert said in answer.err


def test_events_without_time_need_a_span(command: Command, tmp_path: Path) -> None:
    (tmp_path / "e.ndjson").write_text('{"a": 1}\n')
    answer = command("replay", "--events", tmp_path / "e.ndjson")
    assert (answer.code, "name --from and --to" in answer.err) == (3, True)


def test_alerts_per_rule_and_hour_with_totals(command: Command, events: Path) -> None:
    shipped = ("--rules", ROOT / "rules" / "linux")
    answer = command("replay", "--events", events, "--dry-run", *shipped)
    lines = answer.out.splitlines()
    head = next(number for number, line in enumerate(lines) if line == "Alerts for each hour that begins at (UTC):")
    assert lines[head + 1].split() == ["rule", "03-02", "08", "09", "10", "all"]
    totals = lines[head + 4].split()
    assert (totals[0], totals[-1]) == ("all", str(PLANTED))
    columns = [
        sum(int(line.split()[place].replace(".", "0")) for line in lines[head + 2 : head + 4])
        for place in (-4, -3, -2, -1)
    ]
    assert columns == [int(cell.replace(".", "0")) for cell in totals[1:]]
    as_json = command("replay", "--events", events, "--dry-run", "-o", "json", *shipped).json
    assert sum(as_json["per_hour"].values()) == as_json["created"] == PLANTED
    assert (as_json["windows"], as_json["left"], as_json["stopped"]) == (48, 0, False)


def test_a_long_span_has_columns_of_several_hours(command: Command, tmp_path: Path, events: Path) -> None:
    write_rule(tmp_path, "a", 'process where process.name == "bash"', interval="1h")
    span = ("--rules", tmp_path / "rules", "--from", "2026-02-20T00:00:00Z", "--to", "2026-03-02T10:05:00Z")
    lines = command("replay", "--events", events, "--dry-run", *span).out.splitlines()
    head = next(line for line in lines if line.startswith("Alerts for each"))
    assert head == "Alerts for each 12 hours that begins at (UTC):"


def write_at(path: Path, *times: str) -> None:
    events = [
        {"@timestamp": time, "event": {"id": f"e{place}", "category": "process"}, "process": {"name": "nc"}}
        for place, time in enumerate(times)
    ]
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))


def test_time_goes_with_the_events_not_with_the_calendar(command: Command, tmp_path: Path) -> None:
    for place in range(50):
        write_rule(tmp_path, f"r{place}", interval="1m")
    times = ("1601-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "2026-03-02T10:01:00Z", "2032-01-01T00:00:00Z")
    write_at(tmp_path / "e.ndjson", *times)
    answer = command("replay", "--events", "e.ndjson", "--rules", "rules", "--dry-run")  # else it would last for weeks
    assert "150 alerts would have been made." in answer.out
    assert "1 event without a readable timestamp" in answer.err
    assert max(map(len, answer.out.splitlines())) <= 200
    heads = [line for line in answer.out.splitlines() if line.startswith("rule ")][1]
    assert len(heads.split()) == 2 + 3


def test_one_event_and_one_instant(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    write_at(tmp_path / "e.ndjson", "2026-03-02T10:01:00.123Z")
    asked = ("replay", "--events", "e.ndjson", "--rules", "rules", "--dry-run", "-o", "json")
    for span in ((), ("--from", "2026-03-02T10:02:00Z", "--to", "2026-03-02T10:02:00Z")):
        found = command(*asked, *span).json
        assert (found["created"], found["windows"], found["rules"][0]["windows"]) == (1, 1, 1)


def test_times_that_no_event_can_have_are_refused(command: Command, events: Path) -> None:
    answer = command("replay", "--events", events, "--from", "0001-01-01T00:00:00Z")
    assert (answer.code, "before 1678" in answer.err) == (3, True)


def test_windows_without_an_event_count_as_searched(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path, rule_id=(id_ := "11111111-0000-4000-8000-000000000001"))
    write_at(tmp_path / "e.ndjson", "2026-03-01T00:00:00Z", "2026-03-02T10:05:00Z")
    day = timedelta(days=1)

    async def fill() -> None:
        store = SqliteStore(tmp_path / "rule-runner.db")
        for start, end in ((END - day, END - day / 2), (END - day / 4, END)):
            await store.record(RuleRun(id_, "nc", "e", "succeeded", Window(start, end), end), "f")
        await store.close()

    def spans() -> list[Window]:
        async def read() -> list[Window]:
            store = SqliteStore(tmp_path / "rule-runner.db")
            states = await store.ledger((await store.sources())[-1]).read()
            await store.close()
            return list(states[id_].searched)

        return asyncio.run(read())

    asyncio.run(fill())
    assert len(spans()) == 2
    assert command("replay", "--events", "e.ndjson", "--rules", "rules").code == 0
    assert spans() == [Window(END - day, END)]


def test_an_unreadable_part_leaves_its_windows_failed(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    write_at(tmp_path / "e.ndjson", "2026-03-01T00:00:00Z", "2026-03-02T10:05:00Z")
    packed = gzip.compress(b'{"@timestamp": "2026-03-02T00:00:00Z"}\n' * 1_000)
    (tmp_path / "cut.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    answer = command("replay", "--events", "e.ndjson", "--events", "cut.ndjson.gz", "--rules", "rules", "-o", "json")
    (rule,) = answer.json["rules"]
    assert (answer.code, rule["failed"]) == (2, rule["windows"])
    assert any("could not be read" in text for text in rule["messages"])


def test_rules_without_a_finding_are_counted(command: Command, events: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rule(tmp_path, name, "registry where false", interval="1h")
    write_rule(tmp_path, "c", 'process where process.name == "bash"', interval="1h")
    out = command("replay", "--events", events, "--rules", tmp_path / "rules", "--dry-run").out
    assert "2 other rules found nothing." in out
    assert [line.split()[0] for line in out.splitlines()[2:3]] == ["c"]


def test_only_the_named_rules_are_replayed(command: Command, events: Path) -> None:
    shell = "48b3d2e3-f4e8-41e6-95e6-9b2091228db3"
    found = command("replay", "--events", events, "--dry-run", "--rule", shell, "-o", "json").json
    assert [(rule["rule_id"], rule["created"]) for rule in found["rules"]] == [(shell, PLANTED // 2)]
    wrong = command("replay", "--events", events, "--dry-run", "--rule", shell[:-1] + "4")
    assert wrong.code == 3 and f"did you mean `{shell}`?" in wrong.err


def test_a_dry_run_tells_what_a_run_makes(command: Command, events: Path, tmp_path: Path) -> None:
    write_rule(tmp_path, "many", 'process where process.name == "bash"', max_signals=7)
    write_rule(tmp_path, "pairs", "sequence by host.id with maxspan=1s [process where true] [network where true]")
    span = ("--from", "2026-03-02T09:55:00Z", "--to", "2026-03-02T10:05:00Z")
    asked = ("replay", "--events", events, "--rules", tmp_path / "rules", *span, "-o", "json")
    rehearsed, made = command(*asked, "--dry-run").json, command(*asked).json
    assert rehearsed.pop("dry_run") and not made.pop("dry_run")
    assert (rehearsed.pop("alerts_to"), made.pop("alerts_to")) == ("nowhere: this is a dry run", "rule-runner.db")
    for outcome in (rehearsed, made):
        for rule in outcome["report"]["rules"]:
            assert rule.pop("cost")["runs"]  # with how long they took
    assert rehearsed == made
    assert made["created"] > 10


def replaying(events: Path, rules: Path) -> list[str]:
    return ["replay", "--events", str(events), "--rules", str(rules)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_replay_goes_on_where_it_was(
    command: Command, events: Path, tmp_path: Path, number: signal.Signals
) -> None:
    for place in range(3):
        write_rule(tmp_path, f"r{place}", 'process where process.name == "bash"', interval="1m")
    journal = tmp_path / "rule-runner.db.replay"
    span = ("--from", "2026-03-02T09:35:00Z", "--to", "2026-03-02T10:05:00Z")
    with process(
        *PATIENT, "--hold-after", "20", *replaying(events, tmp_path / "rules"), *span, folder=tmp_path
    ) as started:
        lines_until(started, "held")
        started.send_signal(number)
        said, _ = started.communicate()  # which ends its input
    assert journal.exists(), said
    done = journal.read_bytes().count(b"\n") - 1
    if number == signal.SIGTERM:
        assert started.returncode == 128 + number
        assert "interrupted by SIGTERM: " in said and "--from 2026-03-02T09:35:" in said and "to go on" in said
    rest = command("replay", "--events", events, "--rules", "rules", "-o", "json", *span)
    assert rest.code == 0 and "going on: " in rest.err and not journal.exists()
    whole = command("replay", "--events", events, "--rules", "rules", "-o", "json", "--state", "other.db", *span).json
    assert done >= 20
    for rule, again in zip(rest.json["rules"], whole["rules"], strict=True):
        # A window that was cut off is searched again: what was written of it is known the second time, and made once.
        assert abs(rule["windows"] - again["windows"]) <= 1
        assert 0 <= again["created"] - rule["created"] <= 100
    alerts, expected = (
        sorted(
            alert["id"] for alert in command("alerts", "list", "--limit", 9_999, "-o", "json", *state).json["alerts"]
        )
        for state in ((), ("--state", "other.db"))
    )
    assert alerts == expected and len(set(alerts)) == len(alerts) > 50


def test_a_replay_of_other_events_begins_anew(command: Command, events: Path, tmp_path: Path) -> None:
    written(tmp_path / "rule-runner.db.replay", rule_run(5), identity="other")
    answer = command("replay", "--events", events, "-o", "json")
    assert (answer.json["created"], "going on" in answer.err) == (PLANTED, False)
    assert not (tmp_path / "rule-runner.db.replay").exists()


def test_a_replay_makes_nothing_owed_that_was_not(command: Command, events: Path) -> None:
    shipped = ("--rules", ROOT / "rules" / "linux")
    command("replay", "--events", events, *shipped)
    assert [rule["last_run"] for rule in command("status", "-o", "json", *shipped).json["rules"]] == [None, None]
    assert command("status", "--gaps", *shipped).out.startswith("No gaps")


def test_a_replay_closes_a_gap_of_the_past(command: Command, events: Path, tmp_path: Path) -> None:
    shell = "48b3d2e3-f4e8-41e6-95e6-9b2091228db3"
    hour = timedelta(hours=1)

    async def fill() -> None:
        store = SqliteStore(tmp_path / "rule-runner.db")
        for start, end in ((END - 9 * hour, END - 2 * hour), (END - hour, END)):
            await store.record(RuleRun(shell, "S", "e", "succeeded", Window(start, end), end), "f")
        await store.close()

    def gaps() -> list[str]:
        found = command("status", "--gaps", "-o", "json", env={"RUNNER_CATCH_UP": "0s"}).json["gaps"]
        return [f"{gap['from'][11:16]}-{gap['to'][11:16]}" for gap in found][:-1]  # the last one lasts until now

    asyncio.run(fill())
    assert gaps() == ["08:05-09:05"]
    span = ("--from", "2026-03-02T08:05:00Z", "--to", "2026-03-02T09:05:00Z")
    assert command("replay", "--events", events, *span).code == 0
    assert gaps() == []


def test_a_replay_of_a_cluster(
    command: Command, tmp_path: Path, eql_proxy: Proxy, elasticsearch_url: str, namespace: str
) -> None:
    with Elasticsearch(elasticsearch_url) as client:
        stream = make_stream(client, namespace)
    write_rule(tmp_path, "bash", 'process where process.name == "bash"', index=[stream])
    env = {
        "ELASTICSEARCH_HOSTS": eql_proxy.url,
        "RUNNER_ALERTS_ALIAS": f"{namespace}-alerts",
        "RUNNER_RUNS_INDEX": f"{namespace}-runs",
        "RUNNER_STATE_INDEX": f"{namespace}-state",
    }
    span = ("--from", "2026-01-01T11:50:00Z", "--to", "2026-01-01T12:10:00Z")
    asked = ("replay", "--rules", "rules", *span, "-o", "json")
    without_span = command("replay", "--rules", "rules", env=env)
    assert without_span.code == 3 and "replay of a cluster needs --from and --to" in without_span.err
    rehearsed = command(*asked, "--dry-run", env=env).json
    assert (rehearsed["created"], rehearsed["windows"]) == (2, 4)
    eql_proxy.partial_next(times=2, failures=0, timed_out=True, obey=False)
    failing = command(*asked, env=env)
    failed = failing.json["rules"][0]["failed"]
    assert (failing.code, 1 <= failed < 4) == (2, True)
    assert "to search those alone" in failing.err
    rest = command(*asked, env=env)
    assert (rest.code, rest.json["created"], rest.json["rules"][0]["failed"]) == (0, 2, 0)
    assert f"going on: {4 - failed} of 4 windows were searched before" in rest.err
    again = command(*asked, env=env).json
    assert (again["created"], again["rules"][0]["duplicates"] > 0) == (0, True)
