"""The event files of a folder, in the order of reading."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from runner.messages.suggestions import near_name

_EVENT_FILE = re.compile(
    r"(?P<name>[^.].*\.(?:ndjson|jsonl|json|log))(?:\.(?P<suffix>\d+))?(?:\.gz|\.zst)?", re.IGNORECASE | re.DOTALL
)
EVENT_FILES = "their names end in .ndjson, .jsonl, .json or .log, with a number, .gz or .zst after it if need be"
"""The names of event files, as text for a message; rotated and compressed logs are included."""
_DATE_DIGITS = 6
"""Digits from which on a suffix is a date, larger if newer, and not a rotation count, larger if older."""
_BEFORE_ALL = 1e30


def files_in(folder: Path, modified_after: float | None, unread: list[str]) -> list[str]:
    """The event files below a folder by name, rotated logs from the oldest to the one that is written to.

    Files last written before `modified_after` (seconds since 1970) are left out. Unreadable folders are appended to
    `unread`.
    """

    def report(error: OSError) -> None:
        unread.append(f"{error.filename}: cannot be read: {(error.strerror or str(error)).lower()}")

    found = []
    for root, folders, names in os.walk(folder, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names, key=_rotation_order):
            path = Path(root, name)
            if not _EVENT_FILE.fullmatch(name):
                continue
            try:
                is_wanted = path.is_file() and (modified_after is None or path.stat().st_mtime >= modified_after)
            except OSError:
                continue  # rotated since the listing: the next listing has its new name
            if is_wanted:
                found.append(str(path))
    return found


def _rotation_order(name: str) -> tuple[str, float, str]:
    """The sort key of a name: `events.log.20260301`, `events.log.2`, `events.log.1`, `events.log`."""
    found = _EVENT_FILE.fullmatch(name)
    if found is None:
        return name, 0.0, name
    suffix = float(found["suffix"] or 0)
    is_date = len(found["suffix"] or "") >= _DATE_DIGITS
    return found["name"], suffix - _BEFORE_ALL if is_date else -suffix, name


def near_file(path: str) -> str:
    """`; did you mean ...?` with the nearest name in the folder of a missing file, or an empty text."""
    folder = Path(path).parent
    names: Iterable[str] = [path.name for path in folder.iterdir()] if folder.is_dir() else ()
    near = near_name(Path(path).name, names)
    return f"; did you mean {folder / near}?" if near else ""
