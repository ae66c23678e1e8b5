"""Events that stand as JSON within other documents: told of, and read where the setting says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.columns.batch import Columns
from runner.events.files.event_files import EventFiles, ReadReport, TimeWanted
from runner.events.files.time_index import TimeIndex
from runner.file_formats.inner_events import InnerEvents
from tests.events.files.test_event_files import TIME, line, numbers_in

INNER = [line(number).decode() for number in range(4)]


def read(path: Path, *fields: str, **more: Any) -> tuple[list[int], ReadReport]:
    with EventFiles([path], inner=InnerEvents(fields), **more) as files:
        return numbers_in(files), files.report()


def docker(text: str) -> str:
    return json.dumps({"log": f"{text}\n", "stream": "stdout", "time": "2026-03-02T10:00:00Z"})


SHAPES: dict[str, tuple[str, Any]] = {
    "docker": ("log", docker),
    "a shipper": ("message", lambda text: json.dumps({"@timestamp": "2026-03-02T00:00:00Z", "message": text})),
    "a pipeline": ("event.original", lambda text: json.dumps({"event": {"original": text}})),
    "a dotted name": ("event.original", lambda text: json.dumps({"event.original": text})),
    "printed over lines": ("message", lambda text: json.dumps({"message": json.dumps(json.loads(text), indent=2)})),
    "an object": ("result", lambda text: json.dumps({"preview": False, "result": json.loads(text)})),
    "an array of one": ("message", lambda text: json.dumps({"message": [text]})),
    "CRI": ("line", lambda text: f"2026-03-02T10:00:00.1Z stdout F {text}"),
    "docker compose": ("line", lambda text: f"endpoint-1  | {text}"),
    "syslog": ("line", lambda text: f"<13>1 2026-03-02T10:00:00Z host app 42 - - {text}"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_events_within_documents_are_told_and_read_with_the_setting(tmp_path: Path, name: str) -> None:
    field, wrap = SHAPES[name]
    path = tmp_path / "container.log"
    path.write_text("\n".join(map(wrap, INNER)))
    with EventFiles([path]) as files:
        assert sum(map(len, files.batches(Columns([TIME])))) in (0, 4)
        (note,) = files.report().notes
    assert f"`--unwrap {field}` (RUNNER_UNWRAP={field})" in note
    numbers, report = read(path, field)
    assert (numbers, report.untimed, report.warnings()) == ([0, 1, 2, 3], 0, ())


def test_a_hit_keeps_index_and_id(tmp_path: Path) -> None:
    path = tmp_path / "hits.ndjson"
    path.write_text(json.dumps({"_index": "logs", "_id": "1", "_source": {"message": INNER[3]}}))
    with EventFiles([path], inner=InnerEvents(("message",))) as files:
        for batch in files.batches(Columns([TIME])):
            files.keep(batch, batch.all_rows())
        assert files.fetch(0) == {"_index": "logs", "_id": "1", "_source": json.loads(INNER[3])}


def test_other_documents_stay_as_they_are_and_cut_ones_are_broken(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    texts = [
        docker(INNER[0]),
        docker("starting up"),
        line(7).decode(),
        docker(INNER[1][:-5]),
        "broken",
        docker(INNER[2]),
    ]
    path.write_text("\n".join(texts))
    with EventFiles([path], inner=InnerEvents(("log",))) as files:
        events = sum(map(len, files.batches(Columns([TIME]))))
        report = files.report()
    assert (events, report.broken, report.untimed) == (4, 2, 1)
    assert [example.split(": ")[0] for example in report.examples] == [f"{path}:4", f"{path}:5"]
    assert report.notes == ("2 documents hold no JSON object in log: read as it stands",)


@pytest.mark.parametrize(
    "text",
    [
        '{"event": {"category": "process", "original": "{\\"a\\": 1}"}}',  # an event that keeps its source
        '{"message": "{not JSON}"}',
        '{"message": "{}"}',
        "plain text with {braces}",
        '{"number": 0, "x": "a {\\"b\\": 1}"}',
    ],
)
def test_nothing_is_told_of_what_is_an_event_itself(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.ndjson"
    path.write_text(text)
    with EventFiles([path]) as files:
        assert sum(map(len, files.batches(Columns([TIME])))) <= 1
        assert files.report().notes == ()


def test_the_first_field_that_holds_an_event_counts(tmp_path: Path) -> None:
    path = tmp_path / "mixed.log"
    both = json.dumps({"log": INNER[1], "message": INNER[0]})
    path.write_text("\n".join([both, f"a  | {docker(INNER[2])}", f"b  | {INNER[3]}"]))
    assert read(path, "line", "message", "log")[0] == [0, 2, 3]


def test_a_live_file_is_read_on_and_only_where_its_time_is(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    many = 20_000
    path.write_text("".join(docker(line(number).decode()) + "\n" for number in range(many)))
    index, inner = TimeIndex(), InnerEvents(("log",))
    wanted = TimeWanted(("@timestamp",), ((0, 1),))
    for extra in range(2):
        with EventFiles([tmp_path], inner=inner, index=index) as files:
            read_events = sum(map(len, files.batches(Columns([TIME]), wanted=wanted)))
            assert files.report().events == many + extra
            assert read_events == (many if not extra else 1)
        with path.open("a") as file:
            file.write(docker(line(extra).decode()) + "\n")


def test_an_old_file_with_young_events_is_not_left_out(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    path.write_text(docker(INNER[0]) + "\n")
    os.utime(path, (0, 0))
    after = 1_772_000_000.0
    with EventFiles([tmp_path], inner=InnerEvents(("log",)), modified_after=after) as files:
        assert sum(map(len, files.batches(Columns([TIME])))) == 1


@given(document=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8) | st.none(), max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_document_comes_out_as_it_went_in(document: dict[str, Any]) -> None:
    outer = json.dumps({"log": json.dumps(document, indent=1)}).encode()
    found = InnerEvents(("log",)).event(outer)
    assert found is not None and b"\n" not in found
    assert json.loads(found) == document
