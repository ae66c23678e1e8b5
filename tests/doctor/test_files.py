"""What the doctor says of files of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from runner.doctor.checks import Check
from runner.doctor.files import check_files
from runner.rules.rule import Rule
from tests.doctor.examination import the, told
from tests.search.lab import NOON, process, rule


def looked_at(folder: Path, lines: Iterable[Mapping[str, Any] | bytes], rules: list[Rule]) -> list[Check]:
    path = folder / "events.ndjson"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines))
    return check_files([path], rules, now=lambda: NOON)


def test_all_is_well(tmp_path: Path) -> None:
    checks = looked_at(tmp_path, [process(-5, "bash")], [rule('process where process.name == "a"')])
    assert {check.outcome for check in checks} == {"ok"}
    assert told(checks, "files") == ["ok events: 1 event in 1 file"]
    assert told(checks, "events") == ["ok newest: the newest event is 5.0 s old"]


def test_fields_that_no_event_has(tmp_path: Path) -> None:
    rules = [
        rule('process where process.name == "a"', name="fits"),
        rule('process where process.hash.md5 == "a" or my.own == 1', name="two missing"),
        rule("any where my.own == 2", name="own missing"),
    ]
    checks = looked_at(tmp_path, [process(-5, "bash"), process(-4, "sh")], rules)
    found = {check.subject: [one.name for one in check.rules] for check in checks if check.name == "field"}
    assert found == {"my.own": ["own missing", "two missing"], "process.hash.md5": ["two missing"]}
    assert {check.outcome for check in checks if check.name == "field"} == {"warning"}


def test_a_field_that_only_the_last_event_has(tmp_path: Path) -> None:
    many = [process(-5, "bash")] * 3_000
    checks = looked_at(tmp_path, [*many, process(-4, "sh", **{"my.own": 1})], [rule("any where my.own == 2")])
    assert {check.outcome for check in checks} == {"ok"}


def test_rules_whose_indices_no_event_is_of(tmp_path: Path) -> None:
    hits = [
        {"_index": ".ds-logs-endpoint.events.process-default-2026.03.01-000001", "_id": "1", "_source": process(0, "a")}
    ]
    rules = [
        rule("any where 1 == 1", index=["logs-endpoint.*"], name="sees"),
        rule("any where missing.field == 1", index=["winlogbeat-*"], name="blind"),
    ]
    checks = looked_at(tmp_path, hits, rules)
    blind = the(checks, "index", "winlogbeat-*")
    assert blind.outcome == "warning"
    assert [one.name for one in blind.rules] == ["blind"]
    # What a rule that sees nothing misses besides would be noise.
    assert not [check for check in checks if check.name == "field"]


def test_broken_lines(tmp_path: Path) -> None:
    checks = looked_at(tmp_path, [process(0, "a"), b"junk", process(1, "b")], [rule()])
    lines = the(checks, "files", "lines")
    assert lines.outcome == "warning"
    assert "1 of 3 lines (33.3%) hold no event" in lines.found
    few = looked_at(tmp_path, [*[process(0, "a")] * 500, b"junk"], [rule()])
    assert the(few, "files", "lines").outcome == "ok"
    none = looked_at(tmp_path, [b"junk", b"more"], [rule()])
    assert the(none, "files", "lines").outcome == "problem"
    assert the(none, "files", "events").found == "no events in 1 file"


def test_events_that_no_window_holds(tmp_path: Path) -> None:
    checks = looked_at(tmp_path, [process(-86_400, "a"), {"event.category": "process"}], [rule()])
    assert "1 of 2 events have no readable timestamp" in the(checks, "files", "timestamps").found
    newest = the(checks, "events", "newest")
    assert newest.outcome == "warning"
    assert newest.found == "the newest event is 1 d old: further back than these rules look (6 m)"
    assert "--now latest" in newest.remedy


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (found,) = check_files([tmp_path / "none"], [rule()], now=lambda: NOON + timedelta(0))
    assert found.outcome == "problem"
    assert "no such file or folder" in found.found


def test_events_that_are_ingested_late_and_events_ahead_of_the_clock(tmp_path: Path) -> None:
    def ingested(second: float, lag: float) -> dict[str, Any]:
        return {**process(second, "a"), "event.ingested": (NOON + timedelta(seconds=second + lag)).isoformat()}

    rules = [rule(name="short"), rule(name="own time", timestamp_override="event.ingested")]
    checks = looked_at(
        tmp_path, [ingested(-900, 600), ingested(-60, 5), process(3_600, "a"), process(10**9, "a")], rules
    )
    clock, lag = the(checks, "clock", "events"), the(checks, "lag", "events")
    assert (clock.outcome, clock.found) == ("warning", "2 events ahead of our time: in no window until then")
    assert told(checks, "events") == ["ok newest: the newest event is 1 m old"]
    assert "of the newest 2 events the slowest arrived 10 m after it happened" in lag.found
    assert (lag.outcome, [one.name for one in lag.rules]) == ("warning", ["short"])
