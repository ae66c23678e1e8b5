"""`StreamSink`: alerts as NDJSON, one stored document a line, appended to a file or written to standard output.

The file is opened for each message, so that one that was renamed, removed or truncated is followed. A line is whole or
not there: what a full disk, or a process that was killed, has left unfinished is taken away before the next one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import stat
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from runner.json_text import write_json
from runner.messages.printable import escaped_json
from runner.notify.sinks.aside import Aside, HangingError
from runner.notify.sinks.delivery import DELIVERED, Delivery
from runner.notify.target import NotificationTarget
from runner.store.outbox import OutboxItem, OutboxMessage
from runner.store.protocol import StoredAlert

STDOUT: Final = "-"
_MODE: Final = 0o640
_TAIL: Final = 64 * 1024
_LARGEST_LINE: Final = 256 * 1024 * 1024
_PATIENCE_S: Final = 60.0
"""For a file; a pipe whose reader is slow is waited for."""


class StreamSink:
    """Writes to one place."""

    def __init__(self, target: NotificationTarget) -> None:
        self._place = target.url
        self._aside = Aside(f"stream {target.url}")

    async def send(self, message: OutboxMessage, alerts: Mapping[str, StoredAlert], now: datetime) -> Delivery:
        lines = b"".join(alert_line(item, alerts.get(item.id)) for item in message.items)
        called = "standard output" if self._place == STDOUT else "the file"
        try:
            async with asyncio.timeout(_PATIENCE_S if Path(self._place).is_file() else None):
                await self._aside.run(lambda: self._write(lines))
        except (BrokenPipeError, ConnectionError):
            return Delivery(False, f"{called}: its reader is gone", is_closed=self._place == STDOUT)
        except TimeoutError:
            return Delivery(False, f"{called} could not be written within {_PATIENCE_S:g} s")
        except HangingError as error:
            return Delivery(False, f"{called}: {error}")
        except OSError as error:
            nobody = error.errno == errno.ENXIO
            return Delivery(False, "nobody reads this pipe" if nobody else error.strerror or str(error))
        return DELIVERED

    async def close(self) -> None:
        """Nothing is open between two messages."""

    def _write(self, lines: bytes) -> None:
        if self._place == STDOUT:
            _write_all(1, lines)
        else:
            append_lines(Path(self._place), lines)


def alert_line(item: OutboxItem, stored: StoredAlert | None) -> bytes:
    """The line of an alert; of one whose document is gone, what was kept of it."""
    document: Mapping[str, Any] = stored.document if stored is not None else _kept(item)
    return escaped_json(write_json(document).decode()).encode() + b"\n"


def _kept(item: OutboxItem) -> dict[str, Any]:
    names = {"severity": "kibana.alert.severity", "rule": "kibana.alert.rule.name", "reason": "kibana.alert.reason"}
    shown = {field: item.summary[name] for name, field in names.items() if name in item.summary}
    return {"kibana.alert.uuid": item.id, **shown}


def append_lines(path: Path, lines: bytes) -> None:
    """Append whole lines; after an error none of them is there. Raises OSError."""
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    is_file = not path.exists() or path.is_file()
    file = os.open(path, flags | (os.O_RDWR if is_file else os.O_WRONLY), _MODE)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            _write_all(file, lines)
            return
        end = _mended(file)
        try:
            _write_all(file, lines)
            os.fsync(file)
        except OSError:
            os.ftruncate(file, end)
            raise
    finally:
        os.close(file)


def _mended(file: int) -> int:
    """The length of the file after a line without an end, if it has one, was ended, or removed if it is not whole."""
    end = os.fstat(file).st_size
    if not end or os.pread(file, 1, end - 1) == b"\n":
        return end
    tail, start = b"", end
    while start and b"\n" not in tail and len(tail) < _LARGEST_LINE:
        size = min(_TAIL, start)
        start -= size
        tail = os.pread(file, size, start) + tail
    line = tail.rpartition(b"\n")[2]
    if line.startswith(b"{") and not _is_json(line):
        end -= len(line)
        os.ftruncate(file, end)
        return end
    _write_all(file, b"\n")
    return end + 1


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except ValueError:
        return False
    return True


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(file, view) :]
        except BlockingIOError:
            select.select([], [file], [])
