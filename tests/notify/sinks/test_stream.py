"""Alerts as lines: whole ones, into whatever file has the name now, through faults of disk and reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.notify.sinks.delivery import Delivery
from runner.notify.sinks.stream import StreamSink, append_lines
from runner.notify.target import stream_to
from runner.store.outbox import OutboxMessage, message_id
from runner.store.protocol import StoredAlert
from tests.notify.owing import an_alert, an_item
from tests.paths import ROOT
from tests.store.alerts import START, alert_id


async def write(place: object, *names: object) -> Delivery:
    items = tuple(an_item(name) for name in names)
    stored = {alert_id(name): StoredAlert(alert_id(name), "sqlite", an_alert(name).document) for name in names}
    message = OutboxMessage(message_id("stream", items), "digest", items, START)
    return await StreamSink(stream_to(str(place))).send(message, stored, START)


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["kibana.alert.uuid"] for line in path.read_text(encoding="utf-8").splitlines()]


async def test_each_alert_is_a_line_with_its_document(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    assert (await write(path, "a", "b")).ok
    assert (await write(path, "c")).ok
    assert ids_in(path) == [alert_id(name) for name in "abc"]
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0]) == an_alert("a").document
    assert path.stat().st_mode & 0o007 == 0


async def test_a_rotated_or_truncated_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    await write(path, "a")
    path.rename(tmp_path / "alerts.ndjson.1")
    await write(path, "b")
    assert ids_in(path) == [alert_id("b")]
    os.truncate(path, 0)
    await write(path, "c")
    assert ids_in(path) == [alert_id("c")]
    path.unlink()
    await write(path, "d")
    assert ids_in(path) == [alert_id("d")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a":1}\n{"b":', b'{"a":1}\n{"c":3}\n'),  # a process was killed within its line
        (b'{"a":', b'{"c":3}\n'),
        (b'{"a":1}', b'{"a":1}\n{"c":3}\n'),  # a line of someone else without an end
        (b"notes of mine", b'notes of mine\n{"c":3}\n'),
        (b"", b'{"c":3}\n'),
        (b'{"x":"' + b"y" * 200_000, b'{"c":3}\n'),
    ],
)
def test_what_a_line_without_an_end_becomes(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "alerts.ndjson"
    path.write_bytes(before)
    append_lines(path, b'{"c":3}\n')
    assert path.read_bytes() == after


_LIMITED = """
import resource, signal, sys
from pathlib import Path
from runner.notify.sinks.stream import append_lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
append_lines(Path(sys.argv[1]), b'{"a":"' + b"x" * 500 + b'"}\\n')
try:
    append_lines(Path(sys.argv[1]), b'{"b":"' + b"x" * 800 + b'"}\\n')
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "alerts.ndjson"
    done = subprocess.run([sys.executable, "-c", _LIMITED, path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert path.stat().st_size == 509
    assert path.read_bytes().endswith(b'"}\n')


async def test_what_cannot_be_written_is_no_delivery(tmp_path: Path) -> None:
    full = await write("/dev/full", "a")
    assert (full.ok, full.is_closed) == (False, False) and "No space left on device" in full.reason
    folder = await write(tmp_path, "a")
    assert "Is a directory" in folder.reason
    os.mkfifo(tmp_path / "pipe")
    nobody = await write(tmp_path / "pipe", "a")
    assert "nobody reads this pipe" in nobody.reason


async def test_a_named_pipe_gets_lines_while_someone_reads_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert (await write(pipe, "a")).ok
    assert json.loads(os.read(reader, 65_536)) == an_alert("a").document
    os.close(reader)
