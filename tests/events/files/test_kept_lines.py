"""Lines that are read again after a pass: of a file that was rotated meanwhile, in every way that logs are rotated."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from runner.errors import EventsError
from runner.events.columns.batch import Columns
from runner.events.fields.schema import DataType, Field
from runner.events.files.event_files import EventFiles

TIME = Field("@timestamp", DataType.DATE)


def lines(kind: str, *, count: int = 1000) -> bytes:
    """Lines of equal length, whatever the kind."""
    return b"".join(
        orjson.dumps({"@timestamp": "2026-03-02T10:00:00Z", "kind": kind, "number": f"{number:05}"}) + b"\n"
        for number in range(count)
    )


@contextmanager
def kept(log: Path, *, every: int = 7) -> Iterator[tuple[EventFiles, list[int]]]:
    """A log whose every seventh line was kept by a pass."""
    log.write_bytes(lines("good"))
    with EventFiles([log]) as files:
        numbers: list[int] = []
        for batch in files.batches(Columns([TIME])):
            rows = batch.all_rows()[::every]
            files.keep(batch, rows)
            numbers += [batch.base + int(row) for row in rows]
        yield files, numbers


def rename(log: Path) -> None:
    log.rename(log.with_suffix(".log.1"))
    log.write_bytes(lines("evil"))


def compress(log: Path) -> None:
    Path(f"{log}.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    log.write_bytes(lines("evil"))


def delete(log: Path) -> None:
    log.unlink()


def move_over(log: Path) -> None:
    other = log.with_suffix(".new")
    other.write_bytes(lines("evil"))
    other.replace(log)


@pytest.mark.parametrize("rotate", [rename, compress, delete, move_over])
def test_a_file_that_was_moved_away_is_still_read(tmp_path: Path, rotate: Callable[[Path], None]) -> None:
    log = tmp_path / "events.log"
    with kept(log) as (files, numbers):
        rotate(log)
        found = [files.fetch(number) for number in numbers]
    assert [(one["kind"], int(one["number"])) for one in found] == [("good", 7 * place) for place in range(143)]


def truncate(log: Path) -> None:
    with log.open("r+b") as file:
        file.truncate(0)


def copytruncate(log: Path) -> None:
    shutil.copyfile(log, f"{log}.1")
    with log.open("r+b") as file:
        file.truncate(0)
        file.write(lines("evil"))


def cut(log: Path) -> None:
    with log.open("r+b") as file:
        file.truncate(10)


def overwrite_one_letter(log: Path) -> None:
    text = log.read_bytes().replace(b'"good"', b'"goog"')
    with log.open("r+b") as file:
        file.write(text)


@pytest.mark.parametrize("change", [truncate, copytruncate, cut, overwrite_one_letter])
def test_a_line_that_has_changed_is_no_document(tmp_path: Path, change: Callable[[Path], None]) -> None:
    log = tmp_path / "events.log"
    with kept(log) as (files, numbers):
        change(log)
        for number in numbers:
            with pytest.raises(EventsError, match="changed while it was being read"):
                files.fetch(number)


def test_lines_that_were_not_kept_may_change(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    with kept(log, every=40) as (files, numbers):
        text = log.read_bytes().split(b"\n")
        text[1] = text[1].replace(b'"good"', b'"evil"')
        with log.open("r+b") as file:
            file.write(b"\n".join(text))
        assert [int(files.fetch(number)["number"]) for number in numbers] == list(range(0, 1000, 40))


def test_more_files_than_are_held_open_are_opened_by_name_and_checked(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.log").write_bytes(lines("good", count=2))
    with EventFiles([tmp_path]) as files:
        numbers: list[int] = []
        for batch in files.batches(Columns([TIME])):
            files.keep(batch, batch.all_rows())
            numbers += range(batch.base, batch.base + len(batch))
        first = files.fetch(numbers[0])
        assert first["kind"] == "good"
        rename(tmp_path / "000.log")  # held
        rename(tmp_path / "299.log")  # not held
        assert files.fetch(numbers[1])["kind"] == "good"
        with pytest.raises(EventsError, match=r"299\.log: cannot be read again: .*replaced"):
            files.fetch(numbers[-1])
        assert files.fetch(numbers[-3])["kind"] == "good"


def test_a_byte_order_mark_is_no_change(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_bytes(b"\xef\xbb\xbf" + lines("good", count=3))
    with EventFiles([log]) as files:
        for batch in files.batches(Columns([TIME])):
            files.keep(batch, batch.all_rows())
            assert [files.fetch(batch.base + row)["number"] for row in range(3)] == ["00000", "00001", "00002"]
