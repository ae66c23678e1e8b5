"""One document spoils only itself: hostile documents between good ones, from the file to the stored alert."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from runner.alerts.build import AlertContext
from runner.alerts.ecs_alert import alert_document, external_document
from runner.cli.pages.alert_table import alert_table
from runner.json_text import deep_stack, read_document, write_json
from runner.rule_run import RuleRun
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.service.execution import Execution
from runner.store.protocol import AlertFilter
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.triage.triage import triage
from runner.windows import Window
from tests.compiled import compiled
from tests.search.files.test_file_search import rule_with

pytestmark = pytest.mark.slow

FUZZ = int(os.environ.get("RUNNER_FUZZ", "300"))
COUNT = min(FUZZ, 2_000)
"""Hostile documents of a round."""
BEGIN = datetime(2026, 3, 1, 10, tzinfo=UTC)
WINDOW = Window(BEGIN - timedelta(minutes=1), BEGIN + timedelta(hours=1))
MOST = 10 * COUNT + 1_000
RULES = [
    rule_with(rule_id=name, query=query, max_signals=MOST)
    for name, query in {
        "good": 'process where process.name == "good"',
        "every": "any where true",
        "numbers": "any where process.pid > 5 or custom.n > 1e300 or custom.n == 5 or process.parent.pid in (1, 2)",
        "texts": 'any where startsWith(custom.s, "x") or process.args : "*x*" or length(host.name) > 3',
        "dates": 'any where process.start > "2020-01-01" or cidrMatch(source.ip, "10.0.0.0/8")',
        "joined": 'sequence by process.entity_id [process where process.name == "good"] [process where custom.second]',
        "odd keys": "sequence by custom.s with maxspan=1m [any where custom.s != null] [any where custom.s != null]",
        "odd numbers": "sequence by custom.n with maxspan=1m [any where custom.n != null] [any where custom.n != null]",
        "sample": "sample by host.name [any where custom.n != null] [any where custom.s != null]",
    }.items()
]
VALUES = [
    b"1e400", b"-1e400", b"1e-400", b"9" * 25, b"-" + b"9" * 30, b"9" * 400, b"9" * 5_000, b"18446744073709551616",
    b"0." + b"1" * 2_000, b"1.50", b"1E5", b"-0", b"NaN", b"Infinity", b"tru", b"01", b"null", b"true", b"[]", b"{}",
    b'"\\ud83d"', b'"x\\udce9"', b'{"\\ud83d": 1}', b'{"": 1}', b'{".": 1}', b'{"a..b": 1}', b'"\\u0000"', b'""',
    b'"\xff"', b'"\xed\xa0\xbd"', b'{"\xff": 1}', b'"' + b"x" * 40_000 + b'"', b"[null, [], {}, [[1]]]",
    b"[" * 100 + b"]" * 100, b'{"a":' * 300 + b"1" + b"}" * 300, b'{"a":' * 900 + b"1e400" + b"}" * 900,
    b"[" * 990 + b'"\\ud83d"' + b"]" * 990, b"[" * 1_500 + b"]" * 1_500, b'[{"a":' * 20_000 + b"1" + b"}]" * 20_000,
    b'"2026-03-01T10:00:00Z"', b"-62135596800001", b'"+999999999-01-01"', b'"::ffff:10.0.0.1"', b'["x", 1, true, null]',
    *[b'"x"', b"5", b'"1"', b"7.5", b'["x", "y"]', b"true", b'"10.0.0.1"'] * 5, b"9223372036854775808",
    b'"9' + b"9" * 400 + b'"', b'"\\u202e\\u001b[2J"', b'{"x": "' + b"y" * 9_000 + b'"}',
]  # fmt: skip
PATHS = [
    "process.pid", "process.parent.pid", "process.name", "process.args", "process.start", "process", "host",
    "host.name", "custom.n", "custom.s", "custom", "user.id", "source.ip", "event.category", "event.id", "event",
    "@timestamp", "_id", "_source", "_index", "labels.a", "kibana.alert.uuid", "agent.id", "data_stream",
    "other.deep.one",
]  # fmt: skip
AROUND = [*[b""] * 8, b"\0" * 9, b"\0" * 70_000, b"\xef\xbb\xbf", b"\xef\xbb\xbf\0\0", b"\n" * 3_000, b"\r\n"]
AROUND += [b" " * 2_000, b"{", b'{"a": "']


def good(number: int, *, second: bool = False) -> dict[str, Any]:
    """A good event; a second one of the same process belongs to the sequence."""
    time = BEGIN + timedelta(milliseconds=number)
    name = "second" if second else "good"
    return {
        "@timestamp": time.isoformat(),
        "agent": {"id": "a"},
        "event": {"category": ["process"], "id": f"{name}-{number}"},
        "process": {"name": name, "entity_id": f"p{number // 2}", "pid": 4},
        **({"custom": {"second": True}} if second else {}),
    }


def hostile(rng: Random, number: int) -> bytes:
    """A document with some odd values, or with some bytes changed, after odd bytes."""
    event = good(number)
    event["process"] = {"name": "bad", "args": ["x"]}
    event["event"]["id"] = f"bad-{number}"
    values = {f"<{place}>": rng.choice(VALUES) for place in range(rng.randint(1, 3))}
    for mark in values:
        path = rng.choice(PATHS)
        if rng.random() < 0.3:
            event[path] = mark
        else:
            at: Any = event
            *parents, last = path.split(".")
            for parent in parents:
                at[parent] = at = at.get(parent) if isinstance(at.get(parent), dict) else {}
            at[last] = mark
    line = json.dumps(event).encode()
    for mark, value in values.items():
        line = line.replace(f'"{mark}"'.encode(), value)
    for _ in range(rng.choice((0,) * 9 + (1, 5))):
        place = rng.randrange(len(line))
        line = line[:place] + bytes([rng.randrange(256)]) + line[place + rng.randint(0, 2) :]
    return rng.choice(AROUND) + line.replace(b"\n", b" ")


def lines(rng: Random, count: int) -> Iterator[bytes]:
    """Hostile documents, each after a good one."""
    for number in range(count):
        yield json.dumps(good(number, second=number % 2 == 1)).encode()
        yield hostile(rng, number)


async def runs_over(path: Path, store: SqliteStore) -> dict[str, RuleRun]:
    search, rules = FileSearch([path]), [compiled(rule) for rule in RULES]
    assert not [problem for problem in await search.prepare(rules) if problem.severity == "error"]
    execution = Execution(search, store, store, clock=lambda: WINDOW.end, context=AlertContext(WINDOW.end, ""))
    requests = [SearchRequest(rule, WINDOW, MOST) for rule in rules]
    try:
        return {run.rule_id: run async for run in execution.run(requests)}
    finally:
        await search.close()


@pytest.mark.parametrize(
    ("form", "seed"),
    [
        *(pytest.param(form, seed, marks=pytest.mark.slow) for form, seed in (("packed", 1), ("array", 2))),
        *(("lines", seed) for seed in range(3, 3 + FUZZ // COUNT)),
    ],
)
async def test_hostile_documents_between_good_ones(tmp_path: Path, form: str, seed: int) -> None:
    rng = Random(seed)
    documents = list(lines(rng, COUNT))
    if form == "array":
        # Where nothing says where a broken document ends, the file is damaged; here every document begins a line.
        documents = [re.sub(rb"[\0\n]+", b"", line) for line in documents]
    path = tmp_path / {"lines": "events.ndjson", "packed": "events.ndjson.gz", "array": "events.json"}[form]
    text = b"[" + b",\n".join(documents) + b"]" if form == "array" else b"\n".join(documents) + b"\n"
    path.write_bytes(gzip.compress(text, 1) if form == "packed" else text)
    store = SqliteStore(tmp_path / "state.db")
    runs = await runs_over(path, store)
    assert {name: run.messages for name, run in runs.items() if not run.complete} == {}
    found = [alert async for alert in store.find(AlertFilter(building_blocks=True))]
    assert runs["good"].created >= COUNT - COUNT // 2
    assert runs["joined"].created >= COUNT // 2
    expected = {f"{'second' if number % 2 else 'good'}-{number}" for number in range(COUNT)}
    made: dict[str, set[Any]] = {}
    for alert in found:
        id_ = alert.document.get("kibana.alert.original_event.id")
        made.setdefault(str(alert.document["kibana.alert.rule.rule_id"]), set()).add(
            id_ if isinstance(id_, str) else ""
        )
    assert expected - made["every"] == set()
    assert {id_ for id_ in expected if id_.startswith("good")} - made["good"] == set()
    heads = [alert for alert in found if alert.document.get("kibana.alert.group.index") is None]
    with deep_stack():
        for alert in found:
            assert read_document(write_json(alert.document)) == alert.document
            write_json(alert_document(external_document(alert.document, stream="logs-x-y")))
        for alert in rng.sample(heads, min(100, len(heads))):
            triage(alert, ())
    alert_table(found)
    repeated = await runs_over(path, store)
    assert {run.created for run in repeated.values()} == {0}
    await store.close()
