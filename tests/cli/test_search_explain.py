"""`search --explain`: the pages it prints, and how events are named on the command line."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.events.files.compression import zstd
from tests.cli.conftest import Command
from tests.paths import ROOT

pytestmark = pytest.mark.slow

SPEC = tomllib.loads((ROOT / "tests/specs/eql/explain.toml").read_text())
SOURCE = (
    '{{"@timestamp":"2026-03-01T10:00:0{0}Z","event":{{"id":"id-{0}","category":"process"}},"process":{{"pid":{0}}}}}'
)
LINE = SOURCE + "\n"
HIT = '{{"_index":"logs-x","_id":"doc-{0}","_source":' + SOURCE + "}}\n"
LINES = [LINE.format(number) for number in range(1, 6)]
QUERY = "any where process.pid == 4"


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in SPEC["case"]])
def test_pages(case: dict[str, Any], command: Command) -> None:
    Path("events.ndjson").write_text(SPEC["mapped_events"] if case.get("mapped") else SPEC["events"])
    Path("mapping.json").write_text(SPEC["mapping"])
    answer = command("search", *case["args"], "--events", "events.ndjson")
    assert answer.out == case["page"], case["why"]
    assert answer.code == 0


def named(command: Command, *references: str, events: str = "e.ndjson") -> str:
    """The place of the one event that a reference names, as the page's first line says it."""
    arguments = [part for reference in references for part in ("--event", reference)]
    answer = command("search", QUERY, "--events", events, "--explain", *arguments)
    assert answer.code == 0, answer.err
    return answer.out.split(" ", 1)[0]


class TestNamingEvents:
    @pytest.mark.parametrize("reference", ["id-4", "4", "e.ndjson:4"])
    def test_by_id_and_by_line(self, reference: str, command: Command) -> None:
        Path("e.ndjson").write_text("".join(LINES))
        assert named(command, reference) == "e.ndjson:4"

    def test_lines_are_counted_with_those_that_hold_no_event(self, command: Command) -> None:
        Path("e.ndjson").write_text("\ufeff" + LINES[0] + "\n" + "broken\n" + LINES[3] + LINES[4])
        assert named(command, "4") == "e.ndjson:4"
        assert named(command, "id-5") == "e.ndjson:5"

    def test_an_id_that_looks_like_a_line_is_an_id(self, command: Command) -> None:
        Path("e.ndjson").write_text("".join(LINES[::-1]).replace('"id-2"', '"1"'))
        assert named(command, "1") == "e.ndjson:4"

    def test_hits_by_document_id(self, command: Command) -> None:
        Path("e.ndjson").write_text("".join(HIT.format(number) for number in range(1, 6)))
        assert named(command, "doc-4") == "e.ndjson:4"

    def test_compressed_files(self, command: Command) -> None:
        Path("e.ndjson.gz").write_bytes(gzip.compress("".join(LINES).encode()))
        Path("e.ndjson.zst").write_bytes(zstd.compress("".join(LINES).encode()))
        assert named(command, "id-4", events="e.ndjson.gz") == "e.ndjson.gz:4"
        assert named(command, "id-4", events="e.ndjson.zst") == "e.ndjson.zst:4"

    def test_a_damaged_file_as_far_as_it_can_be_read(self, command: Command) -> None:
        whole = gzip.compress("".join(LINES * 2000).encode())
        Path("e.ndjson.gz").write_bytes(whole[: len(whole) - 20])
        answer = command("search", QUERY, "--events", "e.ndjson.gz", "--event", "4")
        assert answer.out.startswith("e.ndjson.gz:4 ")
        assert "could not be read to its end" in answer.err

    def test_one_of_several_files(self, command: Command) -> None:
        Path("folder").mkdir()
        Path("folder/a.ndjson").write_text("".join(LINES[:3]))
        Path("folder/b.ndjson").write_text("".join(LINES[3:]))
        assert named(command, "b.ndjson:1", events="folder") == "folder/b.ndjson:1"
        assert named(command, "id-4", events="folder") == "folder/b.ndjson:1"
        answer = command("search", QUERY, "--events", "folder", "--event", "1")
        assert answer.code == 3
        assert "there are 2 files, so a line is named as FILE:1" in answer.err

    def test_standard_input(self, tmp_path: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNNER_")}
        ran = subprocess.run(
            [sys.executable, "-m", "runner", "search", QUERY, "--events", "-", "--event", "4"],
            input="".join(LINES),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            check=True,
        )
        assert ran.stdout.startswith("standard input:4 (2026-03-01T10:00:04.000Z, event.id id-4)\n  query: met\n")

    @pytest.mark.parametrize(
        ("references", "message"),
        [
            (["nobody"], "--event nobody: no event has this event.id or _id"),
            (["77"], "--event 77: no event has this event.id or _id, and line 77 of e.ndjson holds no event"),
            (["f.ndjson:1"], "--event f.ndjson:1: no event has this event.id or _id, and no single file of --events"),
            (["1", "2"], "several --event name the events of a sequence in stage order"),
        ],
    )
    def test_references_that_cannot_be_followed(self, references: list[str], message: str, command: Command) -> None:
        Path("e.ndjson").write_text("".join(LINES))
        arguments = [part for reference in references for part in ("--event", reference)]
        answer = command("search", QUERY, "--events", "e.ndjson", *arguments)
        assert answer.code == 3
        assert message in answer.err
        assert answer.out == ""

    def test_more_events_than_stages(self, command: Command) -> None:
        Path("e.ndjson").write_text("".join(LINES))
        query = "sequence with maxspan=1m [any where true] ![any where false] [any where true]"
        answer = command("search", query, "--events", "e.ndjson", "--event", "1", "--event", "2", "--event", "3")
        assert answer.code == 3
        assert "--event was given 3 times, but the sequence has 2 stages with an event" in answer.err


def test_optional_fields_are_looked_for_in_the_events(command: Command) -> None:
    Path("e.ndjson").write_text(SPEC["events"])
    answer = command("search", "process where ?custom.level > 3", "--events", "e.ndjson")
    assert [hit["_source"]["event"]["id"] for hit in answer.json["hits"]["events"]] == ["a3"]


@pytest.mark.parametrize(
    ("timestamp", "times"),
    [
        ({"type": "date_nanos"}, ["2026-03-01T10:00:00.000000002Z", "2026-03-01T10:00:00.000000001Z"]),
        ({"type": "date", "format": "dd/MM/yyyy HH:mm:ss"}, ["01/03/2026 10:00:02", "01/03/2026 10:00:01"]),
        ({"type": "date", "format": "epoch_second"}, [1772359202, 1772359201]),
    ],
)
def test_the_mapping_counts_for_the_timestamp(timestamp: dict[str, str], times: list[str], command: Command) -> None:
    events = [{"@timestamp": at, "event": {"category": kind}} for at, kind in zip(times, "ba", strict=True)]
    Path("e.ndjson").write_bytes(b"\n".join(map(orjson.dumps, events)))
    category = {"properties": {"category": {"type": "keyword"}}}
    Path("m.json").write_bytes(orjson.dumps({"properties": {"@timestamp": timestamp, "event": category}}))
    query = "sequence with maxspan=1s [a where true] [b where true]"
    assert len(command("search", query, "--events", "e.ndjson", "--mapping", "m.json").json["hits"]["sequences"]) == 1
    explained = command("search", query, "--events", "e.ndjson", "--mapping", "m.json", "--explain")
    assert "1 sequence found" in explained.out


class TestRefusals:
    def test_a_cluster_cannot_be_explained(self, command: Command) -> None:
        answer = command("search", QUERY, "--explain", env={"ELASTICSEARCH_HOSTS": "http://127.0.0.1:9"})
        assert answer.code == 3
        assert "--explain works on files" in answer.err

    def test_a_query_with_an_error_shows_it(self, command: Command) -> None:
        Path("e.ndjson").write_text("".join(LINES))
        answer = command("search", "any where process.pidd == 4", "--events", "e.ndjson", "--explain")
        assert answer.code == 3
        assert "Unknown column [process.pidd]" in answer.err

    def test_an_unknown_format(self, command: Command) -> None:
        Path("e.ndjson").write_text("".join(LINES))
        answer = command("search", QUERY, "--events", "e.ndjson", "--explain", "--explain-format", "yaml")
        assert answer.code == 3
        assert "--explain-format yaml: expected text or json" in answer.err


def test_the_explanation_as_json(command: Command) -> None:
    Path("e.ndjson").write_text("".join(LINES))
    query = "sequence with maxspan=1s [any where process.pid == 1] [any where process.pid == 4]"
    answer = command("search", query, "--events", "e.ndjson", "--explain", "--explain-format", "json")
    explained = answer.json
    assert explained["reading"]["kind"] == "sequence"
    assert [stage["left"] for stage in explained["stages"]] == [1, 1]
    assert explained["steps"][0]["fates"] == [["maxspan", 1]]
    assert explained["steps"][0]["nearest"] == {"fate": "maxspan", "events": [0], "by": 3, "span_ns": 3_000_000_000}
    assert explained["places"] == {"0": "e.ndjson:1", "3": "e.ndjson:4"}
    assert explained["complete"] == 0
