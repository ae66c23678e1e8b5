"""`Journal`: the runs that a replay has done, in a file, so that one which was interrupted can go on.

NDJSON: a first line that identifies the replay, then a line for each run, written after its alerts and the ledger. A
kill may leave half a last line, which is ignored. The writer holds a lock on the file. Windows that failed and those
that left matches over are not done: they are searched again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from runner.errors import SettingsError, StoreError
from runner.rule_run import COUNTS, RuleRun
from runner.store.file_lock import HeldError, open_locked
from runner.windows import Window, from_nanoseconds, nanoseconds

_VERSION = 1


def identity_of(parts: Iterable[object]) -> str:
    """A hash of everything that decides what a replay finds: the `str()` of its parts."""
    text = "\0".join(map(str, parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Done:
    """The progress of an interrupted replay: its runs that did not fail, and the windows that need no search."""

    runs: tuple[RuleRun, ...] = ()
    windows: frozenset[tuple[str, datetime]] = field(default_factory=frozenset)
    """Rule id and end of each window that was searched to its end."""


class Journal:
    """The journal of one replay, open and locked from `begin` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def begin(self, identity: str, *, anew: bool = False) -> Done:
        """The progress of the replay of that identity; none, and an empty journal, if it is another's or `anew`.

        Raises SettingsError if another process holds it, StoreError if it cannot be written.
        """
        try:
            self._file = file = os.fdopen(open_locked(self._path), "r+b")
        except HeldError:
            text = f"{self._path}: another replay is under way with this state; name another --state"
            raise SettingsError(text) from None
        lines = list(_whole_lines(file))
        if not anew and lines and lines[0] == {"version": _VERSION, "identity": identity}:
            runs = tuple(run for run in map(_read_run, lines[1:]) if run is not None and run.status != "failed")
            return Done(runs, frozenset((run.rule_id, run.window.end) for run in runs if run.complete))
        file.seek(0)
        file.truncate()
        self._append({"version": _VERSION, "identity": identity})
        return Done()

    def record(self, run: RuleRun) -> None:
        """Add a run that is done. Raises StoreError if it cannot be written."""
        value = {
            "rule": run.rule_id,
            "name": run.name,
            "window": [nanoseconds(run.window.start), nanoseconds(run.window.end)],
            "started": nanoseconds(run.started),
            "status": run.status,
            "complete": run.complete,
            "counts": [*run.counts.values(), run.took_ms],
            "messages": run.messages,
        }
        self._append(value)

    def close(self, *, finished: bool) -> None:
        """Close and unlock the journal; delete it if the replay is finished."""
        if self._file is None:
            return
        if finished:
            self._path.unlink(missing_ok=True)
        self._file.close()
        self._file = None

    def _append(self, value: dict[str, Any]) -> None:
        assert self._file is not None
        try:
            self._file.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()
        except OSError as error:
            raise StoreError(f"{self._path} cannot be written: {error.strerror or error}") from None


def _whole_lines(file: BinaryIO) -> Iterator[Any]:
    """The lines up to the first that is not whole, where the file is cut off."""
    end = 0
    for line in file:
        try:
            value = orjson.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            value = None
        if not isinstance(value, dict):
            break
        end += len(line)
        yield value
    file.seek(end)
    file.truncate()


def _read_run(value: dict[str, Any]) -> RuleRun | None:
    try:
        *counts, took_ms = value["counts"]
        return RuleRun(
            rule_id=value["rule"],
            name=value["name"],
            execution_id="",
            status=value["status"],
            window=Window(*map(from_nanoseconds, value["window"])),
            started=from_nanoseconds(value["started"]),
            **dict(zip(COUNTS, counts, strict=True)),
            took_ms=took_ms,
            complete=value["complete"],
            messages=tuple(value["messages"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
