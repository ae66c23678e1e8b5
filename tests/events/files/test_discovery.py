"""Which files of a folder are read: names that rotation gives, links, and files that are renamed meanwhile."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from runner.events.columns.batch import Columns
from runner.events.fields.schema import DataType, Field
from runner.events.files.discovery import files_in
from runner.events.files.event_files import EventFiles

TIME = Field("@timestamp", DataType.DATE)
LINE = orjson.dumps({"@timestamp": "2026-03-01T10:00:00Z"}) + b"\n"

READ = [
    "endpoint.ndjson",
    "endpoint.ndjson-20260301",
    "endpoint.ndjson-20260301.gz",
    "endpoint.ndjson.2026-03-01",
    "endpoint.log.2026-03-01-10",
    "endpoint.log.2026-03-01_10-15",
    "endpoint.ndjson-20260301-1772359200",
    "endpoint.ndjson-20260301T101500Z",
    "endpoint.ndjson.old",
    "endpoint.ndjson.1.old",
    "endpoint.ndjson.1.bz2",
    "endpoint.ndjson.1.xz",
    "endpoint.log.1.20260301",
    "endpoint-20260301.ndjson",
    "events.json.1",
    "EVENTS.JSONL.2.GZ",
    "a\nb.log",
    "events.tar.gz",
    "events.zip",
    "events.TGZ",
]
LEFT_OUT = ["endpoint.ndjson.tmp", "endpoint.log.swp", "Security.evtx", "events.csv", "events.7z"]
NO_EVENTS = ["README.md", "notes.txt", ".hidden.ndjson", "rules.toml", "log", "ndjson", ".hidden.zip"]


def test_names(tmp_path: Path) -> None:
    for name in (*READ, *LEFT_OUT, *NO_EVENTS):
        (tmp_path / name).touch()
    listing = files_in(tmp_path)
    assert {Path(path).name for path in listing.files} == set(READ)
    assert {Path(path).name for path in listing.left_out} == set(LEFT_OUT)
    assert listing.unread == []


@pytest.mark.parametrize(
    "names",
    [
        ["a.log.20260228", "a.log.20260301", "a.log.10", "a.log.2", "a.log.1", "a.log.old", "a.log"],
        ["a.log-20260301-1772359200", "a.log-20260301-1772362800", "a.log"],
        ["a.log.2026-02-28.gz", "a.log.2026-03-01.gz", "a.log.2026-03-02", "a.log"],
        ["a.log", "b.log.1", "b.log"],
    ],
)
def test_rotated_logs_come_before_newer_ones(tmp_path: Path, names: list[str]) -> None:
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [Path(path).name for path in files_in(tmp_path).files] == names


def events_of(*paths: Path) -> int:
    with EventFiles(paths) as files:
        return sum(len(batch) for batch in files.batches(Columns([TIME])))


def test_a_file_is_read_once_whatever_its_names(tmp_path: Path) -> None:
    log = tmp_path / "alerts.json"
    log.write_bytes(LINE * 2)
    dated = tmp_path / "2026" / "alerts-01.json"
    dated.parent.mkdir()
    dated.hardlink_to(log)
    (tmp_path / "newest.json").symlink_to(log)
    assert events_of(tmp_path) == 2
    assert events_of(log, dated, log, tmp_path) == 2


def test_a_link_to_nothing_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(LINE)
    (tmp_path / "newest.log").symlink_to(tmp_path / "gone")
    listing = files_in(tmp_path)
    assert list(listing.files) == [str(tmp_path / "a.log")]
    assert listing.left_out == [str(tmp_path / "newest.log")]
