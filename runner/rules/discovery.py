"""Rule files on disk: which files the given paths name, and where the rules are when none are given."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import Problem, Severity

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and times of the last change of content and of the file itself, in nanoseconds."""

OVERRIDES = "overrides.toml"
"""The name of the file, in a folder of rules or beside it, that changes rules without touching their files."""
NOTIFICATIONS = "notifications.toml"
"""The name of the file, in a folder of rules, beside it or beside the state, that says whom alerts are sent to."""

CONFIG_FILE = "rule-runner.toml"
"""The name of the file of settings, which may lie in a folder that is searched for rules."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to read; `named` says that it was named itself, not found in a folder."""

    path: Path
    stamp: Stamp
    named: bool


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files that paths lead to, each once, and what is wrong with the paths.

    `lost` are the paths that could not be read: nothing is known about the files in them.
    """

    files: tuple[FoundFile, ...]
    problems: tuple[Problem, ...]
    lost: tuple[Path, ...]


def stamp_of(status: os.stat_result) -> Stamp:
    """A value that differs between two states of a file, without reading it."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def find_rule_files(paths: Sequence[Path]) -> FoundFiles:
    """The named files, and the `*.toml` files in the named folders and below, sorted within each folder named.

    Tests of rules (`*.test.toml`), the overrides of a named folder, settings (`rule-runner.toml`), hidden files and
    folders are skipped; links are followed, but no folder or file is taken twice.
    """
    found = find_files(paths, _is_rule_file, "rule files (*.toml)")
    others = {path / name for path in paths for name in (OVERRIDES, NOTIFICATIONS)}
    files = tuple(file for file in found.files if file.named or file.path not in others)
    return replace(found, files=files, problems=tuple(one for one in found.problems if one.file not in others))


def find_files(paths: Sequence[Path], is_wanted: Callable[[str], bool], called: str) -> FoundFiles:
    """The named files, and those in the named folders and below whose names are wanted; `called` what they are."""
    search = _Walk(is_wanted, called)
    for path in paths:
        search.look(path)
    return FoundFiles(tuple(search.files), tuple(search.problems), tuple(search.lost))


class _Walk:
    """One walk over the named paths."""

    def __init__(self, is_wanted: Callable[[str], bool], called: str) -> None:
        self._is_wanted, self._called = is_wanted, called
        self.files: list[FoundFile] = []
        self.problems: list[Problem] = []
        self.lost: list[Path] = []
        self._seen: set[tuple[int, int]] = set()

    def look(self, path: Path) -> None:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError) and not path.is_symlink()
            self._problem(path, "no such file or folder" if missing else f"cannot be read: {reason(error)}")
            self.lost.append(path)
            return
        if stat.S_ISREG(status.st_mode):
            self._take(FoundFile(path, stamp_of(status), named=True))
        elif not stat.S_ISDIR(status.st_mode):
            self._problem(path, "is neither a file nor a folder")
        elif self._is_new(status):
            files = sorted(self._below(path), key=lambda file: file.path.parts)
            if not files and path not in self.lost:
                self._problem(path, f"no {self._called} in this folder", severity="warning")
            for file in files:
                self._take(file)

    def _take(self, file: FoundFile) -> None:
        identity = file.stamp[:2]
        if identity not in self._seen:
            self._seen.add(identity)
            self.files.append(file)

    def _is_new(self, status: os.stat_result) -> bool:
        identity = (status.st_dev, status.st_ino)
        new = identity not in self._seen
        self._seen.add(identity)
        return new

    def _below(self, top: Path) -> Iterator[FoundFile]:
        """The rule files in a folder and in the folders below it, without recursion: folders may be nested deeply."""
        folders = [top]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
            except OSError as error:
                self._problem(folder, f"this folder cannot be read: {reason(error)}")
                self.lost.append(folder)
                continue
            for name in names:
                path = folder / name
                try:
                    status = path.stat()
                except OSError as error:
                    if self._is_wanted(name):
                        self._problem(path, f"cannot be read: {reason(error)}")
                    continue
                if stat.S_ISDIR(status.st_mode) and self._is_new(status):
                    folders.append(path)
                if not self._is_wanted(name):
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield FoundFile(path, stamp_of(status), named=False)
                else:
                    self._problem(path, self._no_file(status), severity="warning")

    def _no_file(self, status: os.stat_result) -> str:
        """What a message says of something with the name of a wanted file."""
        is_folder = stat.S_ISDIR(status.st_mode)
        rest = f"; {self._called} in it are read" if is_folder else ": it is passed over"
        return f"is {file_kind(status)}, expected a file{rest}"

    def _problem(self, path: Path, message: str, *, severity: Severity = "error") -> None:
        self.problems.append(Problem(path, 0, 0, severity, message, code="unreadable-file"))


def _is_rule_file(name: str) -> bool:
    """Whether a file in a folder is taken for a rule, by its name: rule tests stand beside the rules they are for."""
    return name.endswith(".toml") and not name.endswith(".test.toml") and name != CONFIG_FILE


def file_kind(status: os.stat_result) -> str:
    """What stands at a path that is no regular file."""
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((f"a {name}" for is_one, name in kinds if is_one(status.st_mode)), "a device")


def reason(error: OSError | ValueError) -> str:
    """Why the system refused, without the path, which the problem names already."""
    return str(getattr(error, "strerror", None) or error)


def default_rules_path() -> Path:
    """Where rules are when none are named: `rules` here, else those that came with the package, else the source's."""
    here = Path("rules")
    if here.is_dir():
        return here
    package = Path(__file__).resolve().parent.parent
    shipped = package / "shipped_rules"
    return shipped if shipped.is_dir() else package.parent / "rules"
