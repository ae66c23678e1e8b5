"""`Heartbeat`: the sign of life that a running service leaves in a file, for health checks from beside it.

A file, because it works the same with a read-only root, without a cluster and while the cluster is away. The ledger
would not do: a rule with an interval of an hour has nothing in it for up to an hour after the start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from runner.windows import iso

_SHORTEST_PAUSE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When the service was last at work, and what kept it from searching."""

    at: datetime
    patience: timedelta
    """How long the service may be silent at most: a few ticks, and the longest that one search may take."""
    trouble: str = ""
    """Why nothing could be searched at the last tick; empty if it could."""

    def complaint(self, now: datetime) -> str | None:
        """What is wrong with the service at `now`; None if it is well."""
        silence = now - self.at
        if silence > self.patience:
            return f"the service has been silent since {iso(self.at)}, for {silence.total_seconds():.0f} s"
        return f"nothing is searched: {self.trouble}" if self.trouble else None


class HeartbeatFile:
    """Writes heartbeats into a file, at most one a second unless the trouble changes. A file that cannot be written is
    reported once, through `on_failure`: the service goes on without it."""

    def __init__(self, path: Path, patience: timedelta, *, on_failure: Callable[[str], None]) -> None:
        self._path = path
        self._patience = patience
        self._on_failure = on_failure
        self._last: Heartbeat | None = None
        self._failed = False

    def update(self, at: datetime, trouble: str) -> None:
        """Write that the service was at work then, with what keeps it from searching."""
        last = self._last
        if last is not None and trouble == last.trouble and timedelta(0) <= at - last.at < _SHORTEST_PAUSE:
            return
        self._last = Heartbeat(at, self._patience, trouble)
        try:
            write_heartbeat(self._path, self._last)
        except OSError as error:
            if not self._failed:
                self._on_failure(f"{self._path}: cannot be written: {error.strerror or error}")
            self._failed = True

    def remove(self) -> None:
        """Delete the file: the service has stopped on purpose."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self._on_failure(f"{self._path}: cannot be removed: {error.strerror or error}")


def write_heartbeat(path: Path, heartbeat: Heartbeat) -> None:
    """Replace the file's content in one step, readable by its owner alone. Raises OSError."""
    content = {
        "at": heartbeat.at.isoformat(),
        "patience_s": heartbeat.patience.total_seconds(),
        "trouble": heartbeat.trouble,
    }
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    # O_EXCL: the folder may be one for temporary files, where another user may have put a file or a link.
    draft.unlink(missing_ok=True)
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(number, orjson.dumps(content))
    finally:
        os.close(number)
    draft.replace(path)


def read_heartbeat(path: Path) -> Heartbeat | None:
    """The heartbeat in the file; None if there is none or it is not this user's. Raises OSError."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(number, "rb") as file:
        if os.fstat(number).st_uid not in (os.getuid(), 0):
            return None
        text = file.read(65_536)
    try:
        content = orjson.loads(text)
        patience = timedelta(seconds=float(content["patience_s"]))
        return Heartbeat(datetime.fromisoformat(content["at"]), patience, str(content["trouble"]))
    except (ValueError, KeyError, TypeError):
        return None
