"""What queries in KQL and in Lucene's syntax find in documents, by the specifications, through each door."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from runner import kql
from runner.messages.query_errors import QueryError
from tests.cli.conftest import Command
from tests.cli.conftest import command as command  # the fixture
from tests.paths import SPECS

NAMES = {"kuery": "kql", "lucene": "lucene"}
SPEC = {language: tomllib.loads((SPECS / name / "search.toml").read_text()) for language, name in NAMES.items()}
CASES = [(language, case) for language, spec in SPEC.items() for case in spec["case"]]
NOW_NS = 1_790_000_000_000_000_000


def hits(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"_index": "x", "_id": id_, "_source": json.loads(text)} for id_, text in spec["documents"].items()]


def expected(case: dict[str, Any], spec: dict[str, Any]) -> list[str]:
    return case["finds"] if "finds" in case else sorted(set(spec["documents"]) - set(case["all_but"]))


@pytest.mark.parametrize(("language", "case"), CASES, ids=[f"{language} {case['query']}" for language, case in CASES])
def test_documents_found(language: str, case: dict[str, Any]) -> None:
    spec = SPEC[language]
    asked: dict[str, Any] = {"language": language, "mapping": json.loads(spec["mapping"]), "size": 100}
    if "error" in case:
        with pytest.raises(QueryError) as caught:
            kql.search(case["query"], hits(spec), **asked)
        assert str(caught.value) == case["error"]
        return
    answer = kql.search(case["query"], hits(spec), now_ns=NOW_NS, **asked)
    assert sorted(hit["_id"] for hit in answer["hits"]["hits"]) == expected(case, spec)
    assert answer["hits"]["total"] == {"value": len(expected(case, spec)), "relation": "eq"}


@pytest.mark.parametrize("language", NAMES)
def test_the_command_finds_the_same_in_files(language: str, command: Command) -> None:
    spec = SPEC[language]
    Path("mapping.json").write_text(spec["mapping"])
    Path("events.ndjson").write_text("".join(json.dumps(hit) + "\n" for hit in hits(spec)))
    for case in [case for case in spec["case"] if "error" not in case][::6]:
        arguments = ("--language", language, "--events", "events.ndjson", "--mapping", "mapping.json", "--size", 100)
        answer = command("search", case["query"], *arguments)
        assert answer.code == 0, answer.err
        assert sorted(hit["_id"] for hit in answer.json["hits"]["hits"]) == expected(case, spec), case["query"]


EVENT = {"@timestamp": "2026-01-01T00:00:00Z", "process": {"name": "bash", "pid": 7}, "own": {"size": 5, "tag": "x y"}}


def test_without_a_mapping_types_come_from_the_table_and_the_values() -> None:
    def found(query: str, language: str = "kuery") -> int:
        return len(kql.search(query, [EVENT], language=language)["hits"]["hits"])

    queries = ["process.name: b*", "own.size > 4", "own.tag: x y", "own.*: 5", "bash", "own:{ size: 5 and tag: *y }"]
    assert [found(query) for query in queries] == [1, 1, 1, 1, 1, 1]
    assert [found(query) for query in ("own.size > 5", "own.tag: x", "nothing", "own.none: *")] == [0, 0, 0, 0]
    assert found('own.size:[4 TO 6] AND own.tag:"x y"', "lucene") == 1


def test_the_first_or_the_last_are_returned_in_the_order_of_time() -> None:
    events = [{"@timestamp": f"2026-01-01T00:00:0{number}Z", "n": number} for number in (3, 1, 2)]

    def numbers(position: Any) -> list[int]:
        answer = kql.search("n: *", events, size=2, result_position=position)
        assert answer["hits"]["total"] == {"value": 2, "relation": "gte"}
        return [hit["_source"]["n"] for hit in answer["hits"]["hits"]]

    assert (numbers("head"), numbers("tail")) == ([1, 2], [2, 3])


def test_ids_and_indices_of_hits_can_be_asked() -> None:
    events: list[dict[str, Any]] = [{"_index": "logs", "_id": id_, "_source": {}} for id_ in ("a", "b")]
    found = kql.search("_id: b and _index: lo*", events, mapping={"properties": {}})["hits"]["hits"]
    assert [hit["_id"] for hit in found] == ["b"]


@pytest.mark.parametrize("language", ["eql", "sql", ""])
def test_another_language_is_refused(language: str) -> None:
    with pytest.raises(QueryError, match="expected the language kuery or lucene"):
        kql.search("x", [], language=language)


class TestTheCommand:
    def test_a_fault_has_its_place_and_picture(self, command: Command) -> None:
        Path("e.ndjson").write_text(json.dumps(EVENT))
        answer = command("search", "process.pid: x", "--language", "kql", "--events", "e.ndjson")
        assert answer.code == 3
        assert answer.err.splitlines() == [
            'query:1:14: cannot read ["x"] as a value of field [process.pid] of type [long]',
            "     1 | process.pid: x",
            "       |              ^",
        ]

    def test_an_unknown_field_has_a_near_name(self, command: Command) -> None:
        Path("e.ndjson").write_text(json.dumps(EVENT))
        answer = command("search", "not process.nam: x", "--language", "kuery", "--events", "e.ndjson")
        assert answer.code == 0
        assert answer.json["hits"]["total"]["value"] == 1
        assert "query:1:5: there is no field [process.nam], did you mean [process.name" in answer.err

    def test_what_looks_like_a_comparison_is_told_to_be_a_text(self, command: Command) -> None:
        Path("e.ndjson").write_text(json.dumps(EVENT))
        answer = command("search", "process.pid = 7", "--language", "kuery", "--events", "e.ndjson")
        assert "query:1:1: this is searched as a text, in all fields" in answer.err

    def test_a_language_that_is_none_has_a_near_name(self, command: Command) -> None:
        answer = command("search", "x", "--language", "kueri", "--events", "e.ndjson")
        assert answer.code == 3
        assert "--language kueri: expected eql, kuery (kql) or lucene; did you mean `kuery`?" in answer.err

    @pytest.mark.parametrize(
        ("language", "query"),
        [
            ("kuery", "process.name: (ba* or zsh) and not own.size > 9"),
            ("lucene", "process.name:bsah~ AND own.size:[1 TO 9]"),
        ],
    )
    def test_explain_says_how_the_query_was_read_and_why_an_event_matches(
        self, language: str, query: str, command: Command
    ) -> None:
        Path("e.ndjson").write_text(json.dumps(EVENT) + "\n")
        arguments = ("search", query, "--language", language, "--events", "e.ndjson", "--explain")
        read = command(*arguments)
        assert read.code == 0, read.err
        assert "1 event found" in read.out
        assert "process.name  keyword  shipped table" in read.out
        verdict = command(*arguments, "--event", "1")
        assert "query: met" in verdict.out
        assert 'found "bash"' in verdict.out


@pytest.mark.parametrize("language", NAMES)
def test_a_query_may_begin_with_the_timestamp(language: str, command: Command) -> None:
    Path("events.ndjson").write_text(json.dumps(EVENT) + "\n")
    answer = command("search", "@timestamp:[2025 TO 2027]", "--language", "lucene", "--events", "events.ndjson")
    assert answer.json["hits"]["total"]["value"] == 1
    answer = command("search", "@timestamp >= 2025", "--language", "kql", "--events", "events.ndjson")
    assert answer.json["hits"]["total"]["value"] == 1
    Path("query").write_text("process.pid: 7")
    answer = command("search", "@query", "--language", language, "--events", "events.ndjson")
    assert answer.json["hits"]["total"]["value"] == 1
