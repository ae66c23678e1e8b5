"""A process that writes the events of a plan to logs as they happen, and rotates these logs as it is asked to.

`LogWriter` starts it; `python -m tests.scenarios.log_writer PLAN JOURNAL` is it, in the folder of the logs. It stays in
that folder wherever that is moved to, as the server of a mount does. It rotates the logs itself, so that `copytruncate`
loses no line of its own accord. Every event that was written to its end stands in the journal, with the time of that.
"""

from __future__ import annotations

import bz2
import gzip
import heapq
import json
import lzma
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runner.events.files.compression import zstd
from tests.scenarios.starter import ENVIRONMENT

PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda text: zstd.compress(text),
}
_ANSWERED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Written:
    """One event of the journal."""

    id: str
    visible: datetime
    """When its line was in the log."""


class LogWriter:
    """The process, for whoever gives it orders; a context manager."""

    def __init__(self, folder: Path, *, plan: Path, journal: Path) -> None:
        """`plan` holds an event a line: `at` (seconds since 1970), `log`, `id`, `document`; `journal` is a folder."""
        journal.mkdir()
        self._journal = journal
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.scenarios.log_writer", str(plan), str(journal)],
            cwd=folder,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def ask(self, what: str, **more: object) -> bool:
        """Have something done; false if it cannot be done now. Raises RuntimeError if the process is gone or hangs."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps({"what": what, **more}).encode() + b"\n")
        stdin.flush()
        if not select.select([stdout], [], [], _ANSWERED_WITHIN_S)[0] or not (line := stdout.readline()):
            raise RuntimeError("the process that writes logs does not answer")
        return bool(json.loads(line))

    def finish(self) -> list[Written]:
        """Write nothing new, complete what was begun; returns what was written, in this order."""
        self.ask("finish")
        self._process.wait(_ANSWERED_WITHIN_S)
        lines = (self._journal / "visible.txt").read_text(encoding="utf-8").splitlines()
        rows = [line.split(" ", 1) for line in lines]
        return [Written(id_, datetime.fromtimestamp(float(seconds), UTC)) for seconds, id_ in rows]


@dataclass(slots=True)
class _Log:
    """One log that is written to. Names are within the current folder."""

    name: str
    file: int = -1
    appends: bool = True
    half: bytes = b""
    """What is still to come of a line that was cut in half."""
    cut_next: float = 0.0
    """How many seconds the next line is to be incomplete; 0: none."""
    waiting: list[Mapping[str, Any]] = field(default_factory=list)
    """Events behind the line that is incomplete; the first is that of the line."""
    busy: int = 0
    """Rotations that are under way."""

    def open(self, *, appends: bool) -> None:
        if self.file >= 0:
            os.close(self.file)
        self.appends = appends
        self.file = os.open(self.name, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if appends else 0), 0o644)
        os.lseek(self.file, 0, os.SEEK_END)


class _Writer:
    """The work of the process."""

    def __init__(self, plan: Sequence[Mapping[str, Any]], journal: Path) -> None:
        self._plan = list(reversed(plan))
        self._logs = {name: _Log(name) for name in sorted({event["log"] for event in plan})}
        for log in self._logs.values():
            log.open(appends=True)
        self._documents = (journal / "events.ndjson").open("ab", buffering=0)
        self._visible = (journal / "visible.txt").open("ab", buffering=0)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def work(self) -> None:
        """Write what has happened by now, and go on with what is due."""
        while self._due and self._due[0][0] <= time.time():
            heapq.heappop(self._due)[2]()
        while self._plan and self._plan[-1]["at"] <= time.time():
            self._write(self._plan.pop())

    def finish(self) -> None:
        """Complete what was begun, at once."""
        while self._due:
            heapq.heappop(self._due)[2]()
        self._documents.close()
        self._visible.close()

    def do(self, what: str, order: Mapping[str, Any]) -> bool:
        """Begin what was ordered; whether that can be done now."""
        log = self._logs[order.get("log") or min(self._logs)]
        match what:
            case "rename":
                return self._rename(log, order)
            case "copytruncate":
                return self._copy_and_truncate(log, hole=order["hole"])
            case "cut":
                log.cut_next = order["seconds"]
            case "lines":
                for event in order["events"]:
                    self._write(event)
            case "file":
                self._deliver(order["name"], order["events"], packing=order["packing"], modified=order["modified"])
            case _:
                raise ValueError(what)
        return True

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (time.time() + seconds, self._count, step))

    def _write(self, event: Mapping[str, Any]) -> None:
        log = self._logs[event["log"]]
        if log.half:
            log.waiting.append(event)
            return
        line = _line(event)
        if log.cut_next and not event["id"].endswith("-end"):  # an absence is decided as soon as it can be
            size, seconds = len(line) * 2 // 3, log.cut_next
            log.cut_next, log.half, log.waiting = 0.0, line[size:], [event]
            os.write(log.file, line[:size])
            self._after(seconds, lambda: self._complete(log))
            return
        os.write(log.file, line)
        self._note(event)

    def _complete(self, log: _Log) -> None:
        os.write(log.file, log.half)
        (event, *more), log.half, log.waiting = log.waiting, b"", []
        self._note(event)
        for other in more:
            self._write(other)

    def _note(self, event: Mapping[str, Any]) -> None:
        self._documents.write(_line(event))
        self._visible.write(f"{time.time():.6f} {event['id']}\n".encode())

    def _rename(self, log: _Log, order: Mapping[str, Any]) -> bool:
        """Give the log another name; the writer goes over to a new one at once or later, and then it is compressed."""
        if log.busy:
            return False
        target = self._free_name(log, order["style"])
        Path(log.name).rename(target)
        log.busy += 1

        def reopen() -> None:
            if log.half:
                self._after(0.05, reopen)
                return
            log.open(appends=True)
            if order["packing"] and not order["later"]:
                self._pack(target, order["packing"], done)
            else:
                done()

        def done() -> None:
            log.busy -= 1

        before = self._uncompressed(log, target) if order["later"] else ""
        if before:
            log.busy += 1
            self._pack(before, order["packing"], done)
        self._after(order["reopen"], reopen)
        return True

    def _copy_and_truncate(self, log: _Log, *, hole: bool) -> bool:
        if log.busy or log.half:
            return False
        if hole:
            log.open(appends=False)  # goes on at its offset, behind NUL bytes
        target = self._free_name(log, "number")
        text = Path(log.name).read_bytes()
        _write_in_parts(target, text)
        os.ftruncate(log.file, 0)
        return True

    def _pack(self, name: str, packing: str, done: Callable[[], None]) -> None:
        """Compress a file beside itself, then delete it, as gzip does; done in steps that can be seen."""
        packed = PACKINGS[packing](Path(name).read_bytes())
        target = f"{name}.{packing}"
        half = len(packed) // 2
        Path(target).write_bytes(packed[:half])

        def rest() -> None:
            with Path(target).open("ab") as file:
                file.write(packed[half:])
            self._after(0.02, remove)

        def remove() -> None:
            Path(name).unlink()
            done()

        self._after(0.05, rest)

    def _deliver(self, name: str, events: Sequence[Mapping[str, Any]], *, packing: str, modified: float | None) -> None:
        """Put a file with these events into the folder, under its name from the beginning."""
        text = b"".join(map(_line, events))
        _write_in_parts(name, PACKINGS[packing](text) if packing else text)
        if modified is not None:
            os.utime(name, (modified, modified))
        for event in events:
            self._note(event)

    def _free_name(self, log: _Log, style: str) -> str:
        """The name of the log that is rotated now; with `number` the earlier ones are renamed to make room."""
        moment = datetime.now(UTC)
        self._count += 1
        match style:
            case "date":
                return f"{log.name}-{moment:%Y%m%d}-{int(moment.timestamp())}{self._count:04}"
            case "stamp":
                return f"{log.name.removesuffix('.ndjson')}-{moment:%Y%m%dT%H%M%S}-{self._count:04}.ndjson"
            case _:
                for number, path in sorted(self._numbered(log), reverse=True):
                    Path(path).rename(f"{log.name}.{number + 1}{path.removeprefix(f'{log.name}.{number}')}")
                return f"{log.name}.1"

    def _numbered(self, log: _Log) -> list[tuple[int, str]]:
        parts = [(path.name, path.name.removeprefix(f"{log.name}.").split(".")[0]) for path in Path().iterdir()]
        return [(int(number), path) for path, number in parts if path.startswith(f"{log.name}.") and number.isdigit()]

    def _uncompressed(self, log: _Log, newest: str) -> str:
        """The youngest numbered log but the newest that is not compressed yet; "" without one."""
        paths = [path for _, path in sorted(self._numbered(log)) if path.removeprefix(f"{log.name}.").isdigit()]
        return next((path for path in paths if path != newest), "")


def _write_in_parts(name: str, data: bytes) -> None:
    """Write a file as a copy from elsewhere would: for a moment it is cut off in the middle."""
    with Path(name).open("wb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        time.sleep(0.01)
        file.write(data[len(data) // 2 :])


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event["document"]).encode() + b"\n"


def serve(plan: Path, journal: Path) -> None:
    """Work until asked to finish; each line of the standard input is answered with one line."""
    writer = _Writer([json.loads(line) for line in plan.read_text(encoding="utf-8").splitlines()], journal)
    text = b""
    while True:
        writer.work()
        if not select.select([0], [], [], 0.01)[0]:
            continue
        piece = os.read(0, 1 << 16)
        if not piece:
            return
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if order["what"] == "finish":
                writer.finish()
                os.write(1, b"true\n")
                return
            os.write(1, json.dumps(writer.do(order["what"], order)).encode() + b"\n")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
