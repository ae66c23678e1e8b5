"""Rules over files: what is refused before anything is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.rules.rule import Rule
from runner.search.files import file_search
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.windows import Window
from tests.compiled import compiled

FILTER = {"meta": {"disabled": False, "negate": True}, "query": {"match_phrase": {"host.name": "lab"}}}
UNKNOWN = {"meta": {}, "query": {"script": {"script": "true"}}}


def rule_with(**fields: Any) -> Rule:
    base = {"rule_id": "r", "name": "r", "description": "r", "type": "eql", "language": "eql", "severity": "low"}
    return Rule.model_validate({**base, "risk_score": 1, "query": "process where true", **fields})


@pytest.mark.parametrize(
    ("filters", "paths", "refused"),
    [
        ([UNKNOWN], ["events.ndjson"], True),
        ([FILTER, UNKNOWN], ["events.ndjson"], True),
        ([FILTER], ["events.ndjson"], False),
        ([{**UNKNOWN, "meta": {"disabled": True}}], ["events.ndjson"], False),
        ([], ["events.ndjson"], False),
        ([UNKNOWN], [], False),  # `check` reads no events: in a cluster the rule runs
    ],
)
async def test_a_rule_with_a_filter_that_cannot_be_applied_is_refused_over_files(
    filters: list[Any], paths: list[str], refused: bool
) -> None:
    problems = await FileSearch([Path(path) for path in paths]).prepare([compiled(rule_with(filters=filters))])
    assert [problem.severity for problem in problems] == (["error"] if refused else [])
    assert all("over files the rule is not run: `script` queries" in problem.message for problem in problems)


def event(time: str, **more: Any) -> bytes:
    return orjson.dumps({"@timestamp": time, "event": {"category": "process"}, **more})


@pytest.mark.parametrize("workers", [1, 2])
async def test_events_of_indices_that_no_rule_names_are_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(file_search, "_WORTH_WORKERS", 0)
    noon = "2026-03-01T12:00:00Z"
    source = orjson.loads(event(noon))
    lines = [
        *(orjson.dumps({"_index": "winlogbeat-7.1", "_id": str(number), "_source": source}) for number in range(3)),
        event(noon, data_stream={"dataset": "system.syslog"}),
        event(noon, data_stream={"dataset": "endpoint.events.process"}),
        event(noon),  # names none: every rule sees it
        event("2020-01-01T00:00:00Z", data_stream={"dataset": "old"}),
    ]
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    rules = [compiled(rule_with(rule_id=name, index=[f"logs-{name}*"])) for name in ("endpoint", "windows")]
    search = FileSearch([tmp_path], workers=workers)
    await search.prepare(rules)
    window = Window(datetime(2026, 3, 1, 11, tzinfo=UTC), datetime(2026, 3, 1, 13, tzinfo=UTC))
    for _ in range(2):
        async for result in search.run([SearchRequest(rule, window, 10) for rule in rules]):
            assert result.error is None or not result.error
    await search.close()
    told = [record.message for record in caplog.records if "that no rule names" in record.message]
    assert len(told) == 1
    assert "such as " in told[0] and "the rules name logs-endpoint*, logs-windows*" in told[0]
    assert re.match(r"[45] events are of indices", told[0])
