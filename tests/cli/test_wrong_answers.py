"""A server that does not answer as Elasticsearch does: each command says what it asked and what came instead."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.cli.conftest import Command
from tests.cli.test_sources import RULE
from tests.cluster.elasticsearch_stand_in import JSON, KINDS, Elasticsearch, standing_in

SOURCE = {"@timestamp": "2026-03-02T10:00:00.000Z", "event": {"category": "process"}, "process": {"name": "nc"}}
EVENT = {
    "_index": "logs-x",
    "_id": "1",
    "_source": SOURCE,
    "fields": {"@timestamp": ["2026-03-02T10:00:00.000Z"], "process.name": ["nc"], "event.category": ["process"]},
}
SPAN = ("--from", "2026-03-02T09:58:00Z", "--to", "2026-03-02T10:01:00Z")
COMMANDS = {
    "once": ("once", "--rules", "rules"),
    "replay": ("replay", "--rules", "rules", *SPAN, "--restart"),
    "search": ("search", "process where true"),
    "status": ("status", "--rules", "rules"),
    "gaps": ("status", "--rules", "rules", "--gaps"),
    "doctor": ("doctor", "--rules", "rules"),
    "setup": ("setup", "--roles"),
    "list": ("alerts", "list"),
    "show": ("alerts", "show", "0"),
    "export": ("alerts", "export"),
}
BODIES = {
    "array": b"[]",
    "object": b"{}",
    "text": b'"x"',
    "null": b"null",
    "number": b"7",
    "nothing": b"",
    "cut": b'{"hits": {"hits": [{"_id"',
    "error": b'{"error": {"type": "x_exception", "reason": "it is late"}, "status": 400}',
    "no hits": b'{"hits": null, "items": null, "fields": null, "version": null, "id": null}',
    "null hits": b'{"hits": {"hits": null, "events": null}, "items": [null], "fields": {"a": null}, "version": {}}',
    "odd hits": b'{"hits": {"hits": [1], "events": ["x"]}, "items": [{}], "fields": {"a": {"b": 1}}, "id": 7}',
    "html": b"<html><body>Sign in</body></html>",
}
HARMLESS = {"eql delete", "close point", "refresh", "exists", "nodes", "other", "api key"}
"""Kinds of requests whose answers decide nothing."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Elasticsearch]:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rule.toml").write_text(RULE)
    with standing_in(events=[EVENT]) as found:
        yield found


QUICK = {("once", True), ("replay", False), ("search", True), ("gaps", True)}


def settings(cluster: Elasticsearch) -> dict[str, str]:
    return {"ELASTICSEARCH_HOSTS": cluster.url, "ELASTICSEARCH_API_KEY": "a:b", "ELASTICSEARCH_REQUEST_TIMEOUT": "5s"}


@pytest.mark.parametrize(
    "body", [name if name in ("object", "html") else pytest.param(name, marks=pytest.mark.slow) for name in BODIES]
)
def test_a_server_that_always_answers_the_same_is_no_cluster(
    command: Command, cluster: Elasticsearch, body: str
) -> None:
    kind = "text/html" if body == "html" else JSON
    cluster.hostile = {name: (BODIES[body], kind) for name, _ in KINDS}
    for name, asked in COMMANDS.items():
        found = command(*asked, env=settings(cluster))
        assert found.code in ((1, 4) if name == "doctor" else (2, 4)), (name, found)
        if name != "doctor":
            assert "Elasticsearch at http://127.0.0.1" in found.err and len(found.err) < 3_000, (name, found.err)


def kinds_of(cluster: Elasticsearch, command: Command, asked: tuple[str, ...]) -> list[str]:
    """The kinds of requests that a command sends."""
    cluster.asked.clear()
    command(*asked, env=settings(cluster))
    return [kind for kind in cluster.asked if kind not in HARMLESS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "has_eql"),
    [
        pytest.param(name, has_eql, marks=[] if (name, has_eql) in QUICK else [pytest.mark.slow])
        for name in COMMANDS
        for has_eql in (True, False)
    ],
)
def test_one_wrong_answer_is_an_error_that_says_so(
    command: Command, cluster: Elasticsearch, name: str, has_eql: bool
) -> None:
    cluster.has_eql, cluster.is_running = has_eql, has_eql and name in ("search", "replay")
    assert command("setup", "--roles", env=settings(cluster)).code == 0
    assert command("replay", "--rules", "rules", *SPAN, env=settings(cluster)).code == 0
    stored = len(cluster.documents("rule-runner-alerts-default"))
    assert stored == 1
    bodies = ("object", "odd hits", "html", "error")
    for number, kind in enumerate(kinds_of(cluster, command, COMMANDS[name])):
        if kind == "eql" and not has_eql:
            continue  # that the cluster has none is the right answer
        body = bodies[number % len(bodies)]
        cluster.hostile = {kind: (BODIES[body], "text/html" if body == "html" else JSON)}
        cluster.asked.clear()
        found = command(*COMMANDS[name], env=settings(cluster))
        cluster.hostile = {}
        if not cluster.asked[kind]:
            continue  # this time there was nothing to ask for
        if kind in ("alias", "read policy", "read role", "read stream", "mapping") and body == "object":
            continue  # what an empty object says: there is none
        assert found.code in ((1, 4) if name == "doctor" else (2, 4)), (kind, body, found)


@pytest.mark.slow
@pytest.mark.parametrize("body", ["odd hits", *(pytest.param(name, marks=pytest.mark.slow) for name in BODIES)])
@pytest.mark.parametrize("kind", ["eql", "field caps", "open point", "search point", "search", "bulk"])
def test_a_window_with_a_wrong_answer_stays_owed(
    command: Command, cluster: Elasticsearch, kind: str, body: str
) -> None:
    cluster.has_eql = kind in ("eql", "search", "bulk")
    asked = ("replay", "--rules", "rules", *SPAN, "-o", "json")
    assert command("setup", env=settings(cluster)).code == 0
    cluster.hostile = {kind: (BODIES[body], JSON)}
    assert command(*asked, env=settings(cluster)).code in (2, 4)
    cluster.hostile = {}
    again = command(*asked, env=settings(cluster))
    assert (again.code, again.json["created"]) == (0, 1), again


REPLACEMENTS: tuple[Any, ...] = (None, [], {}, "x", "", -1, 1e300, True, [None], [[]], {"x": None}, [{"_id": 1}])


def spoilt(answer: Any, choice: random.Random) -> Any:
    """The answer with one of its parts replaced, renamed or left out."""
    if not isinstance(answer, dict | list) or not answer or choice.random() < 0.15:
        return choice.choice(REPLACEMENTS)
    if isinstance(answer, list):
        number = choice.randrange(len(answer))
        return [spoilt(one, choice) if place == number else one for place, one in enumerate(answer)]
    name = choice.choice(list(answer))
    if choice.random() < 0.15:
        return {other: value for other, value in answer.items() if other != name}
    return {other: spoilt(value, choice) if other == name else value for other, value in answer.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 80))])
def test_no_part_of_any_answer_makes_a_traceback(command: Command, cluster: Elasticsearch, seed: int) -> None:
    choice = random.Random(seed)
    cluster.has_eql, cluster.is_running = seed % 2 == 0, seed % 4 == 0
    cluster.uuid = f"uuid-{seed}"
    assert command("setup", env=settings(cluster)).code == 0
    assert command("replay", "--rules", "rules", *SPAN, env=settings(cluster)).code == 0
    names = choice.sample(sorted(COMMANDS), 5)

    def spoil(kind: str, answer: Any) -> Any:
        return spoilt(answer, choice) if answer is not None and choice.random() < 0.3 else answer

    cluster.spoil = spoil
    for name in names:
        found = command(*COMMANDS[name], env=settings(cluster))  # which fails the test for a traceback
        assert found.code in (0, 1, 2, 3, 4)
        assert "unexpected error" not in found.out + found.err, found
    cluster.spoil = lambda kind, answer: answer
    assert orjson.dumps(cluster.documents("rule-runner-alerts-default"))
