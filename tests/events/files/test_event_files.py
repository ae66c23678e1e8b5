"""Reading event files: every form of file and line, counted and placed, and fetched again as it stood."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import EventsError
from runner.events.columns.batch import Columns
from runner.events.fields.schema import DataType, Field
from runner.events.files.compression import zstd
from runner.events.files.event_files import MAX_LINE, EventFiles, ReadReport

pytestmark = pytest.mark.slow

TIME = Field("@timestamp", DataType.DATE)


def line(number: int) -> bytes:
    return orjson.dumps({"@timestamp": f"2026-03-02T10:{number // 60 % 60:02}:{number % 60:02}Z", "number": number})


def numbers_in(files: EventFiles) -> list[int]:
    """The `number` of every event, from the documents fetched again after the reading."""
    events: list[int] = []
    for batch in files.batches(Columns([TIME])):
        files.keep(batch, batch.all_rows())
        events.extend(range(batch.base, batch.base + len(batch)))
    return [int(files.fetch(number)["number"]) for number in sorted(events)]


def read(*paths: Path | str) -> tuple[list[int], ReadReport]:
    with EventFiles(paths) as files:
        return numbers_in(files), files.report()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".ndjson": bytes,
    ".ndjson.gz": gzip.compress,
    ".ndjson.zst": lambda text: zstd.compress(text),
    ".ndjson.bz2": lambda text: bz2.compress(text, 1),
    ".ndjson.xz": lzma.compress,
}
PACKED = [suffix for suffix in PACK if suffix != ".ndjson"]


@pytest.mark.parametrize("suffix", PACK)
def test_plain_and_compressed_files_are_read_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events{suffix}"
    path.write_bytes(PACK[suffix](b"\n".join(map(line, range(5_000)))))
    numbers, report = read(path)
    assert numbers == list(range(5_000))
    assert (report.files, report.events, report.broken, report.warnings()) == (1, 5_000, 0, ())
    assert report.newest_ns == 1_772_449_199_000_000_000


@pytest.mark.parametrize("suffix", PACKED)
def test_files_of_several_members_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events{suffix}"
    path.write_bytes(b"".join(PACK[suffix](line(number) + b"\n") for number in range(40)))
    assert read(path)[0] == list(range(40))


@pytest.mark.parametrize("suffix", PACKED)
def test_of_a_damaged_file_what_can_be_read_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events{suffix}"
    whole = PACK[suffix](b"".join(line(number) + b"\n" for number in range(30_000)))
    path.write_bytes(whole[: len(whole) * 2 // 3])
    numbers, report = read(path)
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 30_000
    assert f"{path}: could not be read to its end" in report.warnings()[0]
    path.write_bytes(b"no archive at all")
    numbers, report = read(path)
    assert numbers == []
    assert (report.broken, report.failures) == (1, ())  # what a file is, its first bytes say, not its name


@given(
    parts=st.lists(
        st.sampled_from(["good", "broken", "empty", "blank", "array", "number", "text", "bytes"]), max_size=60
    ),
    ending=st.sampled_from([b"\n", b"\r\n"]),
    mark=st.booleans(),
    closed=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_line_is_an_event_or_counted_with_its_place(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], ending: bytes, mark: bool, closed: bool
) -> None:
    others = {
        "broken": b'{"a": ',
        "empty": b"",
        "blank": b"  \t",
        "array": b"[1]",
        "number": b"7",
        "text": b'"x"',
        "bytes": b"\x00\xff\xfe",
    }
    lines = [line(place) if part == "good" else others[part] for place, part in enumerate(parts)]
    path = tmp_path_factory.mktemp("read") / "events.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" * mark + ending.join(lines) + ending * closed)
    numbers, report = read(path)
    assert numbers == [place for place, part in enumerate(parts) if part == "good"]
    bad = [place for place, part in enumerate(parts, 1) if part not in ("good", "empty", "blank")]
    assert report.broken == len(bad)
    assert [int(example.split(":")[1]) for example in report.examples] == bad[:5]


def test_long_lines_are_skipped_and_the_rest_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    with path.open("wb") as file:
        file.write(line(0) + b"\n")
        file.write(b"x" * (MAX_LINE + 5_000_000))
        file.write(b"\n" + line(2) + b"\nbroken\n" + line(4) + b"\n")
    numbers, report = read(path)
    assert numbers == [0, 2, 4]
    assert (report.oversized, report.broken) == (1, 1)
    assert report.examples[0].startswith(f"{path}:4: ")
    assert report.warnings()[1] == f"1 line over 32 MiB skipped: {path}:2"


def test_a_long_line_that_is_the_last_is_skipped_too(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    with path.open("wb") as file:
        file.write(line(0) + b"\n")
        file.write(b"x" * (MAX_LINE + 5_000_000))
        file.write(b"x")
    numbers, report = read(path)
    assert (numbers, report.oversized, report.broken) == ([0], 1, 0)


def test_an_event_of_a_megabyte_is_an_event(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    large = orjson.dumps({"@timestamp": "2026-03-02T10:00:00Z", "number": 1, "text": "x" * 5_000_000})
    path.write_bytes(b"\n".join([line(0), large, line(2)]))
    assert read(path)[0] == [0, 1, 2]


def test_a_folder_gives_its_event_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for place, name in enumerate(
        ["b/1.ndjson", "a.jsonl", "c.json", "d.log", ".e.ndjson", ".hidden/f.ndjson", "g.txt"]
    ):
        (tmp_path / name).write_bytes(line(place))
    (tmp_path / "dangling.ndjson").symlink_to(tmp_path / "nowhere")
    assert sorted(read(tmp_path)[0]) == [0, 1, 2, 3]
    assert read(tmp_path / "g.txt")[0] == [6]


def test_files_untouched_for_long_can_be_left_out(tmp_path: Path) -> None:
    written = {  # when the file was last written to, and the times of its events, in seconds since 1970
        "old": (1_000, (900, 1_000)),
        "new": (2_000, (1_000, 2_000)),
        "clock ahead": (1_000, (900, 1_600)),
        "clock far ahead": (1_000, (9_000, 9_100)),
        "no times": (1_000, ()),
    }
    for number, (name, (modified, times)) in enumerate(written.items()):
        events = [{"@timestamp": time * 1000, "number": number} for time in times] or [{"number": number}]
        path = tmp_path / f"{name}.ndjson"
        path.write_bytes(b"\n".join(map(orjson.dumps, events)))
        os.utime(path, (modified, modified))
    with EventFiles([tmp_path], modified_after=1_500.0) as files:
        assert sorted(set(numbers_in(files))) == [1, 2, 3]
    with EventFiles([tmp_path / "old.ndjson"], modified_after=1_500.0) as files:
        assert numbers_in(files) == [0, 0]


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").touch()
    with pytest.raises(EventsError, match=r"no such file or folder; did you mean .*events\.ndjson") as error:
        EventFiles([tmp_path / "evets.ndjson"])
    assert error.value.path == str(tmp_path / "evets.ndjson")
    with pytest.raises(EventsError, match="no such file or folder"):
        EventFiles([tmp_path / "no" / "such"])


def test_times_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    lines = [b'{"@timestamp": "2026-03-02T10:00:00.5Z"}', b'{"@timestamp": "noon"}', b"{}", b'{"@timestamp": null}']
    path.write_bytes(b"\n".join(lines))
    with EventFiles([path]) as files:
        assert sum(len(batch) for batch in files.batches(Columns([TIME]))) == 4
        report = files.report()
    assert (report.untimed, report.newest_ns) == (3, 1_772_445_600_500_000_000)
    assert report.warnings() == ("3 events without a readable timestamp",)


def test_a_file_that_is_gone_when_a_match_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(line(0) + b"\n" + line(1))
    with EventFiles([path]) as files:
        for batch in files.batches(Columns([TIME])):
            files.keep(batch, batch.all_rows())
        path.write_bytes(b"")
        with pytest.raises(EventsError, match="changed while it was being read"):
            files.fetch(1)


def test_progress_tells_every_stored_byte_once(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.ndjson", tmp_path / "b.ndjson.gz"
    plain.write_bytes(b"".join(line(number) + b"\n" for number in range(20_000)))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    told: list[int] = []
    with EventFiles([tmp_path]) as files:
        for _ in files.batches(Columns([TIME]), progress=told.append):
            pass
        assert sum(told) == files.size() == plain.stat().st_size + packed.stat().st_size


@pytest.mark.parametrize(
    "name", ["a.ndjson.1", "a.log.2.gz", "A.NDJSON", "a.json", "a.jsonl.zst", "a.log-20260301.bz2", "a.ndjson.3.xz"]
)
def test_rotated_and_compressed_files_of_a_folder_are_read(tmp_path: Path, name: str) -> None:
    text = line(0) + b"\n"
    (tmp_path / name).write_bytes(PACK.get(f".ndjson{Path(name).suffix}", bytes)(text))
    (tmp_path / "notes.txt").write_bytes(text)
    with EventFiles([tmp_path]) as files:
        assert sum(len(batch) for batch in files.batches(Columns([TIME]))) == 1
        assert files.report().files == 1


def test_how_a_file_is_compressed_is_seen_from_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    for pack in PACK.values():
        path.write_bytes(pack(line(0)))
        with EventFiles([path]) as files:
            for batch in files.batches(Columns([TIME])):
                files.keep(batch, batch.all_rows())
            assert files.fetch(0)["@timestamp"]


def test_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(line(0) + b"\n",))
    writer.start()
    with EventFiles([path]) as files:
        writer.join()
        for _ in range(2):
            assert sum(len(batch) for batch in files.batches(Columns([TIME]))) == 1


def test_a_file_that_cannot_be_read_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    for name in ("a.ndjson", "b.ndjson"):
        (tmp_path / name).write_bytes(line(0) + b"\n")
    with EventFiles([tmp_path]) as files:
        (tmp_path / "b.ndjson").unlink()
        assert sum(len(batch) for batch in files.batches(Columns([TIME]))) == 1
        (said,) = files.report().unread
    assert said == f"{tmp_path / 'b.ndjson'}: cannot be read: no such file or directory"


def test_rotated_logs_are_read_before_the_one_that_is_written_to(tmp_path: Path) -> None:
    names = ["b.log.20260301", "b.log.20260302.gz", "b.log.10", "b.log.2", "b.log.1.gz", "b.log", "c.log"]
    for place, name in enumerate(["a.log", *names]):
        text = line(place) + b"\n"
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with EventFiles([tmp_path]) as files:
        assert [Path(path).name for path in files.paths] == ["a.log", *names]
    assert read(tmp_path)[0] == list(range(8))


@pytest.mark.parametrize("suffix", PACK)
def test_some_events_of_some_batches_can_be_had_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events{suffix}"
    lines = [line(number) if number % 7 else b"broken" for number in range(70_000)]
    path.write_bytes(PACK[suffix](b"\n".join(lines)))
    wanted: dict[int, int] = {}
    with EventFiles([path]) as files:
        number = 0
        for batch in files.batches(Columns([TIME])):
            rows = batch.all_rows()[3::50]
            files.keep(batch, rows)
            good = [place for place in range(number, 70_000) if place % 7][: len(batch)]
            wanted.update({batch.base + row: good[row] for row in rows.tolist()})
            number = good[-1] + 1
        for event in sorted(wanted, key=lambda event: event * 7919 % 1009):
            assert files.fetch(event)["number"] == wanted[event]


def test_standard_input_can_be_fetched_from_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = b"".join(line(number) + b"\n" for number in range(60_000))
    writer = threading.Thread(target=path.write_bytes, args=(text,))
    writer.start()
    with EventFiles([path]) as files:
        writer.join()
        found: list[int] = []
        for batch in files.batches(Columns([TIME])):
            files.keep(batch, batch.all_rows())
            found.extend(files.fetch(number)["number"] for number in range(batch.base, batch.base + len(batch), 1_000))
            assert files.fetch(batch.base)["number"] == found[-(len(range(0, len(batch), 1_000)))]
        assert found == sorted(found)
        assert len(found) > 60


def test_files_that_follow_each_other_are_read_in_that_order(tmp_path: Path) -> None:
    for name, start in (("a", 2_000), ("b", 0), ("c", 1_000)):
        (tmp_path / f"{name}.ndjson").write_bytes(b"".join(line(start + number) + b"\n" for number in range(900)))
    with EventFiles([tmp_path]) as files:
        read_first = [batch.timestamps("@timestamp")[0] for batch in files.batches(Columns([TIME]))]
    assert read_first == sorted(read_first)
    assert read(tmp_path)[0] == [*range(2_000, 2_900), *range(900), *range(1_000, 1_900)]


def test_the_horizon_is_where_the_file_that_is_the_furthest_back_has_come_to(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 300)):
        lines = [line(start + number) + b" " * 4_000 + b"\n" for number in range(1_000)]
        (tmp_path / f"{name}.ndjson").write_bytes(b"".join(lines))
    with EventFiles([tmp_path]) as files:
        last = 0
        for batch in files.batches(Columns([TIME])):
            horizon, number = files.watermark(tight=True)
            assert horizon >= last
            assert int(batch.timestamps("@timestamp").min()) >= last
            assert files.watermark()[0] == horizon - 600 * 10**9
            assert number == -1 or number == batch.base + len(batch) - 1
            last = horizon
