"""The commands over files that are no lines of documents: they agree, and say what they did not read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.cli.test_once import write_rule

pytestmark = pytest.mark.slow

INDEX = "logs-endpoint.events.process-default"
TIMES = ("10:01:00", "10:02:00")
EVENTS: list[dict[str, Any]] = [
    {
        "@timestamp": f"2026-03-02T{time}Z",
        "event": {"category": ["process"], "id": f"e{place}"},
        "process": {"name": "nc"},
        "host": {"name": "web-1"},
    }
    for place, time in enumerate(TIMES, 1)
]
HITS: list[dict[str, Any]] = [
    {"_index": INDEX, "_id": f"d{place}", "_source": event} for place, event in enumerate(EVENTS, 1)
]


def flat(event: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        "@timestamp": [event["@timestamp"]],
        "event.category": event["event"]["category"],
        "event.id": [event["event"]["id"]],
        "process.name": ["nc"],
        "host.name": ["web-1"],
    }


def zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("logs/events.json", text)
    return file.getvalue()


def bulk() -> str:
    actions = [{"create": {"_index": hit["_index"], "_id": hit["_id"]}} for hit in HITS]
    return "".join(json.dumps(part) + "\n" for pair in zip(actions, EVENTS, strict=True) for part in pair)


def saved(hits: list[Any]) -> dict[str, Any]:
    return {"took": 1, "timed_out": False, "hits": {"total": {"value": 2}, "hits": hits}}


SHAPES: dict[str, Callable[[], str | bytes]] = {
    "bulk": bulk,
    "msearch": lambda: json.dumps({"took": 1, "responses": [saved(HITS)]}),
    "inspector": lambda: json.dumps({"rawResponse": saved(HITS), "isPartial": False}, indent=2),
    "fields": lambda: json.dumps(
        saved([{"_index": INDEX, "_id": hit["_id"], "fields": flat(hit["_source"])} for hit in HITS])
    ),
    "indented array": lambda: json.dumps(HITS, indent=24),
    "zip": lambda: zipped("\n".join(map(json.dumps, HITS))),
    "UTF-16": lambda: "\n".join(map(json.dumps, HITS)).encode("utf-16"),
    "es_archiver": lambda: "\n\n".join(
        json.dumps({"type": "doc", "value": {"id": f"d{place}", "index": INDEX, "source": event}}, indent=1)
        for place, event in enumerate(EVENTS, 1)
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_search_run_and_replay_find_the_same_events(command: Command, tmp_path: Path, name: str) -> None:
    write_rule(tmp_path)
    content = SHAPES[name]()
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / ("events.zip" if name == "zip" else "events.json")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = command("search", 'process where process.name : "n*"', "--events", path)
    assert found.code == 0, found.err
    assert [(event["_index"], event["_id"]) for event in found.json["hits"]["events"]] == [
        (INDEX, "d1"),
        (INDEX, "d2"),
    ]
    once = command("once", "--events", folder, "--rules", "rules", "--now", "latest", "--output", "json")
    assert (once.code, once.json["created"]) == (0, 2), once.err
    again = command("replay", "--events", path, "--rules", "rules", "--output", "json")
    assert again.code == 0, again.err
    listed = command("alerts", "list", "--output", "json").json["alerts"]
    assert len(listed) == 2  # the same alerts, by index and id
    shown = command("alerts", "show", listed[0]["id"], "--output", "json").json["alert"]
    (origin,) = shown["kibana.alert.ancestors"]
    assert (origin["index"], origin["id"]) in ((INDEX, "d1"), (INDEX, "d2"))


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [("Security.evtx", b"ElfFile\0", "evtx_dump -o jsonl"), ("events.json", b"%PDF-1.7\n", "a PDF document")],
)
def test_what_is_no_file_of_events_is_named_and_no_success(
    command: Command, tmp_path: Path, name: str, start: bytes, said: str
) -> None:
    write_rule(tmp_path)
    (tmp_path / name).write_bytes(start + b"\0" * 5_000)
    found = command("search", "any where true", "--events", name)
    assert found.code == 1
    assert found.json["is_partial"] is True
    assert f"{name}: cannot be read: it is" in found.err and said in found.err
    once = command("once", "--events", name, "--rules", "rules", "--output", "json")
    assert once.code == 2
    assert said in once.out


def test_a_search_names_the_files_of_a_folder_that_it_left_out(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.ndjson").write_text(json.dumps(EVENTS[0]) + "\n")
    (folder / "Security.evtx").write_bytes(b"ElfFile\0")
    found = command("search", "any where true", "--events", folder)
    assert found.code == 0
    assert "1 file left out, such as" in found.err and "Security.evtx" in found.err


def test_events_within_documents_are_read_by_every_command(command: Command, tmp_path: Path) -> None:
    write_rule(tmp_path)
    lines = [json.dumps({"log": json.dumps(event) + "\n", "stream": "stdout"}) for event in EVENTS]
    (tmp_path / "container.log").write_text("\n".join(lines) + "\n")
    query = ("search", 'process where process.name == "nc"', "--events", "container.log")
    assert "`--unwrap log`" in command(*query).err
    assert command(*query, "--unwrap", "log").json["hits"]["total"]["value"] == 2
    explained = command(*query, "--unwrap", "log", "--explain", "--event", "e2")
    assert explained.code == 0 and "container.log:2" in explained.out
    unwrap = {"RUNNER_UNWRAP": "message,log"}
    once = command(
        "once", "--events", "container.log", "--rules", "rules", "--now", "latest", "--output", "json", env=unwrap
    )
    assert (once.code, once.json["created"]) == (0, 2)
    assert command("replay", "--events", "container.log", "--rules", "rules", "--unwrap", "log").code == 0
    assert len(command("alerts", "list", "--output", "json").json["alerts"]) == 2
    doctor = command("doctor", "--events", "container.log", "--rules", "rules", "--output", "json")
    assert "--unwrap log" in doctor.out
