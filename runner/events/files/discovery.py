"""Which files of a folder hold events, and in which order they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from runner.messages.suggestions import near_name

_KINDS = r"\.(?:ndjson|jsonl|json|log)"
_EVENT_FILE = re.compile(
    rf"(?P<name>[^.].*?{_KINDS})"
    # What rotation adds: a count, a date with or without a time, an epoch, `old`; logrotate and log4j may add several.
    r"(?P<rotation>(?:[.-](?:\d+(?:[-_.T:]\d+)*Z?|old|bak|prev|backup))*)"
    r"(?:\.(?:gz|zst|bz2|xz))?",
    re.IGNORECASE | re.DOTALL,
)
_ARCHIVE = re.compile(r"[^.].*\.(?:zip|tar|tar\.(?:gz|bz2|xz|zst)|tgz|tbz2?|txz|tzst)", re.IGNORECASE | re.DOTALL)
_LOOKS_LIKE_EVENTS = re.compile(
    rf"[^.].*(?:{_KINDS}\b.*|\.(?:evtx|csv|tar|tgz|zip|7z|parquet|avro)(?:\.\w+)?)", re.IGNORECASE | re.DOTALL
)
"""Names that a user may expect to be read: those that are not are counted, and one is named."""
EVENT_FILES = (
    "their names end in .ndjson, .jsonl, .json or .log, then what rotation adds (a number, a date, .old), "
    "then .gz, .zst, .bz2 or .xz if they are compressed; or .zip, .tar, .tar.gz and the like with such files in them"
)
"""Which files of a folder are read, in words."""
_DATE_DIGITS = 6
"""A number this long is no count of rotations but a date or an epoch: the larger, the newer."""
_ATTEMPTS = 5
"""Listings until two in a row are equal: a rotation takes much less time than that."""

FileKey = tuple[int, int]
"""Device and inode of a file."""


@dataclass(slots=True)
class Listing:
    """The event files below a folder, in the order in which they are read."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    """By path."""
    unread: list[str] = field(default_factory=list)
    """What may hold events and could not be looked into, each with the reason."""
    left_out: list[str] = field(default_factory=list)
    """Files whose names look like events but are not of the names that are read."""

    def is_same(self, other: Listing) -> bool:
        """Whether the same files have the same names."""
        return {(path, key_of(found)) for path, found in self.files.items()} == {
            (path, key_of(found)) for path, found in other.files.items()
        }


def files_in(folder: Path) -> Listing:
    """The event files below a folder, by name, rotated logs before the one that is written to, the oldest first.

    A listing takes some time, in which a log may be rotated and be missed, or be seen twice. So the folder is listed
    until two listings in a row are equal; if they never are, that is said in `unread`.
    """
    before = _listed(folder)
    for _ in range(_ATTEMPTS):
        listing = _listed(folder)
        if listing.is_same(before):
            return listing
        before = listing
    listing.unread.append(f"{folder}: files were renamed while they were listed, {_ATTEMPTS} times in a row")
    return listing


def _listed(folder: Path) -> Listing:
    listing = Listing()

    def refused(error: OSError) -> None:
        listing.unread.append(f"{error.filename}: cannot be read: {(error.strerror or str(error)).lower()}")

    for root, folders, names in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names, key=_age):
            path = os.path.join(root, name)  # noqa: PTH118 - a Path for each of thousands of names is slow
            if not is_event_file(name) and not is_archive(name):
                if looks_like_events(name):
                    listing.left_out.append(path)
                continue
            try:
                found = os.stat(path)  # noqa: PTH116
            except FileNotFoundError:
                if os.path.islink(path):  # noqa: PTH114
                    listing.left_out.append(path)
                continue  # renamed or deleted since: the next listing differs
            except OSError as error:
                refused(error)
                continue
            if os.path.isfile(path):  # noqa: PTH113
                listing.files[path] = found
    return listing


def is_event_file(name: str) -> bool:
    """Whether a file of this name is read in a folder."""
    return _EVENT_FILE.fullmatch(name) is not None


def is_archive(name: str) -> bool:
    """Whether this is the name of an archive whose event files are read."""
    return _ARCHIVE.fullmatch(name) is not None


def looks_like_events(name: str) -> bool:
    """Whether a user may expect a file of this name to be read."""
    return _LOOKS_LIKE_EVENTS.fullmatch(name) is not None


def key_of(found: os.stat_result) -> FileKey:
    """Device and inode."""
    return found.st_dev, found.st_ino


def _age(name: str) -> tuple[str, int, tuple[int, ...], str]:
    """Sort key of a name: `a.log.20260301`, then `a.log.2`, `a.log.1`, `a.log.old`, `a.log`."""
    found = _EVENT_FILE.fullmatch(name)
    if found is None:
        return name, 0, (), name
    numbers = tuple(map(int, re.findall(r"\d+", found["rotation"])))
    if not found["rotation"]:
        return found["name"], 3, (), name
    if not numbers:
        return found["name"], 2, (), name
    if len(numbers) > 1 or len(str(numbers[0])) >= _DATE_DIGITS:
        return found["name"], 0, numbers, name
    return found["name"], 1, (-numbers[0],), name


def near_file(path: str) -> str:
    """`; did you mean ...?` with the nearest name in the folder of a missing file, or an empty text."""
    folder = Path(path).parent
    names: Iterable[str] = [path.name for path in folder.iterdir()] if folder.is_dir() else ()
    near = near_name(Path(path).name, names)
    return f"; did you mean {folder / near}?" if near else ""
