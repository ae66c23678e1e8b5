"""Which files of a folder hold events, and in which order they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_EVENT_FILE = re.compile(
    r"(?P<name>[^.].*\.(?:ndjson|jsonl|json|log))(?:\.(?P<number>\d+))?(?:\.gz|\.zst)?", re.IGNORECASE | re.DOTALL
)
EVENT_FILES = "their names end in .ndjson, .jsonl, .json or .log, with a number, .gz or .zst after it if need be"
"""Which files of a folder are read, in words: logs that were rotated and compressed are among them."""
_DATE_DIGITS = 6
"""A number this long is no count of rotations but a date, and so the larger the newer."""
_BEFORE_ALL = 1e30


def files_in(folder: Path, modified_after: float | None, unread: list[str]) -> list[str]:
    """The event files below a folder, by name, rotated logs before the one that is written to, the oldest first.

    `modified_after` (seconds since 1970) leaves out those that were last written to before. What of the folder cannot
    be looked into is told in `unread`.
    """

    def refused(error: OSError) -> None:
        unread.append(f"{error.filename}: cannot be read: {(error.strerror or str(error)).lower()}")

    found = []
    for root, folders, names in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names, key=_age):
            path = Path(root, name)
            if not _EVENT_FILE.fullmatch(name):
                continue
            try:
                is_wanted = path.is_file() and (modified_after is None or path.stat().st_mtime >= modified_after)
            except OSError:
                continue  # rotated away between the listing and now: it is there under its new name next time
            if is_wanted:
                found.append(str(path))
    return found


def _age(name: str) -> tuple[str, float, str]:
    """What names are ordered by: `events.log.20260301`, `events.log.2`, `events.log.1`, `events.log`."""
    found = _EVENT_FILE.fullmatch(name)
    if found is None:
        return name, 0.0, name
    number = float(found["number"] or 0)
    is_date = len(found["number"] or "") >= _DATE_DIGITS
    return found["name"], number - _BEFORE_ALL if is_date else -number, name


def near_file(path: str) -> str:
    """`; did you mean ...?` with the name in the same folder that is nearest to one that is not there, or nothing."""
    from difflib import get_close_matches

    folder = Path(path).parent
    names: Iterable[str] = [path.name for path in folder.iterdir()] if folder.is_dir() else ()
    near = get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {folder / near[0]}?" if near else ""
