"""`FileLock`: one process works with a state file; the error of the others names it.

An advisory lock of the operating system (flock) on a file beside the state file. It ends with the process, however that
ends, so that there are no stale locks. (Not on the state file itself: closing any handle of it would drop the locks
that SQLite holds on it.)
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from runner.errors import StoreError

_POLL_S: Final = 0.1
"""Seconds between two attempts to get a lock that another process holds."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: the process as its own machine numbers it, and what it is doing."""

    pid: int
    host: str
    command: str

    def __str__(self) -> str:
        return f"`rule-runner {self.command}` (process {self.pid} on {self.host})"


class HeldError(StoreError):
    """Another process holds the lock; `holder` is None where it is not known."""

    def __init__(self, message: str, *, holder: Holder | None) -> None:
        super().__init__(message)
        self.holder = holder


class FileLock:
    """The lock of one state file, for a process that does `command`. Implements `Leases`: who has it leads every rule.

    A process has it once: two `FileLock`s of one file exclude each other in one process, too.
    """

    def __init__(self, state: Path, command: str) -> None:
        self._state = state
        self._path = state.with_name(state.name + ".lock")
        self._command = command
        self._file: int | None = None

    async def hold(self, wanted: Collection[str]) -> frozenset[str]:
        """All of them; raises HeldError if another process works with the file."""
        self.acquire()
        return frozenset(wanted)

    async def release(self) -> None:
        """Unlock the file."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)  # which unlocks it; the file stays, as taking it away would race with the next one
            self._file = None

    def acquire(self) -> None:
        """Lock the file, unless this has it already; raises HeldError, and StoreError if there can be no lock."""
        if self._file is not None:
            return
        try:
            file = open_locked(self._path)
        except HeldError as error:
            text = f"{self._state}: {error.holder or 'another process'} works with this file"
            text += "; stop it first, or name another file with --state"
            raise HeldError(text, holder=error.holder) from None
        try:
            os.ftruncate(file, 0)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": self._command}
            os.pwrite(file, orjson.dumps(holder), 0)
        except OSError as error:
            os.close(file)
            raise StoreError(f"{self._path} cannot be locked: {error.strerror or error}") from None
        self._file = file

    async def wait_for(self, command: str, *, seconds: float, enough: Callable[[], bool]) -> None:
        """Lock the file, waiting that long for a process that does `command` and no other, or until `enough`.

        Raises HeldError, and StoreError if there can be no lock.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.acquire()
            except HeldError as error:
                other = error.holder is not None and error.holder.command != command
                if other or enough() or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_POLL_S)


def open_locked(path: Path) -> int:
    """A descriptor of the file, locked until it is closed; the file is made if absent, readable by its owner alone.

    Raises HeldError if another process, or another descriptor of this one, has the lock, and StoreError.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror or error}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _read_holder(file)
        os.close(file)
        raise HeldError(f"{path} is locked by another process", holder=holder) from None
    except OSError as error:
        os.close(file)
        raise StoreError(f"{path} cannot be locked: {error.strerror or error}") from None
    return file


def _read_holder(file: int) -> Holder | None:
    """The process that has locked the file; None if it has not written that yet."""
    try:
        content = orjson.loads(os.pread(file, 4_096, 0))
        return Holder(int(content["pid"]), str(content["host"]), str(content["command"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
