"""The files of a sample: lines, compression, hits, and the list of what was planted."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from runner.errors import AccessError, SettingsError
from runner.events.files.compression import zstd
from runner.sample_data import SampleSummary, write_sample

END = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def write(out: Path, **more: Any) -> SampleSummary:
    return write_sample(out, **{"events": 700, "attacks": 6, "seed": 5, "end": END, **more})


def test_file_has_a_document_per_line_and_the_summary_says_what_it_holds(tmp_path: Path) -> None:
    summary = write(tmp_path / "events.ndjson")
    lines = (tmp_path / "events.ndjson").read_bytes().splitlines(keepends=True)
    found = [orjson.loads(line) for line in lines]
    assert (summary.events, summary.attacks, summary.near_misses) == (700, 6, 6) and len(found) == 700
    assert summary.size == sum(map(len, lines))
    assert summary.hosts == 13 and summary.last == 1_772_359_200 * 10**9
    assert found[-1]["@timestamp"] == "2026-03-01T10:00:00.000000000Z"
    assert all(document["event"]["ingested"] <= "2026-03-01T10:00:00Z" for document in found[:-1])


def test_compressed_files_hold_the_same_bytes_and_are_equal_each_time(tmp_path: Path) -> None:
    for name in ("a.ndjson", "a.ndjson.gz", "b.ndjson.gz", "a.ndjson.zst", "b.ndjson.zst"):
        write(tmp_path / name)
    plain = (tmp_path / "a.ndjson").read_bytes()
    assert gzip.decompress((tmp_path / "a.ndjson.gz").read_bytes()) == plain
    with zstd.open(tmp_path / "a.ndjson.zst", "rb") as file:
        assert file.read() == plain
    assert (tmp_path / "a.ndjson.gz").read_bytes() == (tmp_path / "b.ndjson.gz").read_bytes()
    assert (tmp_path / "a.ndjson.zst").read_bytes() == (tmp_path / "b.ndjson.zst").read_bytes()


def test_hits_wrap_the_same_documents(tmp_path: Path) -> None:
    write(tmp_path / "plain.ndjson")
    write(tmp_path / "hits.ndjson", hits=True)
    plain = [orjson.loads(line) for line in (tmp_path / "plain.ndjson").read_bytes().splitlines()]
    hits = [orjson.loads(line) for line in (tmp_path / "hits.ndjson").read_bytes().splitlines()]
    assert [hit["_source"] for hit in hits] == plain
    assert len({hit["_id"] for hit in hits}) == 700
    assert all(
        hit["_index"].startswith(f".ds-logs-{hit['_source']['data_stream']['dataset']}-default-2026.03.01-")
        for hit in hits
    )


def test_truth_names_events_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "events.ndjson", truth=tmp_path / "truth.ndjson", near_misses=20)
    ids = {
        document["event"]["id"]: document
        for document in map(orjson.loads, (tmp_path / "events.ndjson").read_bytes().splitlines())
    }
    truth = [orjson.loads(line) for line in (tmp_path / "truth.ndjson").read_bytes().splitlines()]
    assert len(truth) == 26
    for item in truth:
        label = "variant" if item["kind"] == "attack" else "reason"
        assert set(item) == {"kind", "rule_id", label, "host", "event_ids", "timestamp", "gap_ms"}
        first = ids[item["event_ids"][0]]
        assert first["host"]["name"] == item["host"]
        earlier = min(ids[name]["@timestamp"].rstrip("Z").ljust(29, "0") for name in item["event_ids"])
        assert item["timestamp"] == earlier + "Z"


def test_standard_output_takes_the_lines(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_sample("-", events=300, attacks=2, seed=5, end=END)
    printed = capfdbinary.readouterr().out
    write(tmp_path / "events.ndjson", events=300, attacks=2)
    assert printed == (tmp_path / "events.ndjson").read_bytes()


def test_progress_counts_up_to_the_number_of_events(tmp_path: Path) -> None:
    seen: list[int] = []
    write(tmp_path / "events.ndjson", events=4_500, progress=seen.append)
    assert seen == [2_000, 4_000, 4_500]


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"cannot write .*absent.events\.ndjson: No such file or directory"):
        write(tmp_path / "absent" / "events.ndjson")


def test_same_file_for_events_and_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot both go to"):
        write(tmp_path / "one.ndjson", truth=tmp_path / "one.ndjson")


def test_refused_sample_leaves_an_existing_file_alone(tmp_path: Path) -> None:
    out = tmp_path / "events.ndjson"
    out.write_text("mine\n")
    with pytest.raises(SettingsError):
        write(out, events=10)
    assert [path.name for path in tmp_path.iterdir()] == ["events.ndjson"]
    assert out.read_text() == "mine\n"
