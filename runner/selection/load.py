"""Override files: where they are, and what they had before they were broken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.errors import Problem
from runner.rules.discovery import OVERRIDES, Stamp, stamp_of
from runner.selection.override import RuleOverride
from runner.selection.override_file import OverrideFile, StatedAllowance, StatedReplacement, read_override_file

OFF = Path("off")
"""Named alone: no overrides, also not those beside the rules."""

_KEPT = "kept the last good version of the overrides: the file is broken since its last change"


@dataclass(frozen=True, slots=True)
class OverrideFiles:
    """All override files at one time; what stands later wins."""

    files: tuple[OverrideFile, ...] = ()

    @property
    def overrides(self) -> tuple[RuleOverride, ...]:
        return tuple(override for file in self.files for override in file.overrides)

    @property
    def replacements(self) -> tuple[StatedReplacement, ...]:
        return tuple(one for file in self.files for one in file.replacements)

    @property
    def allowances(self) -> tuple[StatedAllowance, ...]:
        return tuple(one for file in self.files for one in file.allowances)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(problem for file in self.files for problem in file.problems)


def load_overrides(
    named: Sequence[Path], rules: Sequence[Path] = (), previous: OverrideFiles | None = None
) -> OverrideFiles:
    """The overrides of the named files, else of the files called `overrides.toml` beside and in the folders of rules.

    `previous` itself if no file has changed; a file that is broken or gone unreadable since then keeps what it had.
    """
    before = previous if previous is not None else OverrideFiles()
    known = {file.path: file for file in before.files}
    automatic = not named
    paths = _beside(rules) if automatic else [path for path in named if path != OFF]
    files = tuple(_read_again(path, known.get(path), named=not automatic) for path in paths)
    if len(files) == len(before.files) and all(one is other for one, other in zip(files, before.files, strict=True)):
        return before
    return OverrideFiles(files)


def _beside(rules: Sequence[Path]) -> list[Path]:
    """The override files in the folders of the named rules, next to these, and in and next to each folder above that is
    called `rules`: what is nearer wins."""
    found: dict[str, Path] = {}
    for path in rules:
        folder = path if path.is_dir() else path.parent
        above = folder.absolute().parents
        outer = [place for one in above if one.name == "rules" for place in (one, one.parent)][::-1]
        places = [*map(_from_here, outer), _from_here(folder.absolute().parent), folder]
        for file in (place / OVERRIDES for place in places):
            if os.path.lexists(file):  # what is no file is a problem, not nothing
                found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _from_here(folder: Path) -> Path:
    """The folder as a path from the working folder, if it is in there."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _read_again(path: Path, before: OverrideFile | None, *, named: bool) -> OverrideFile:
    """The file as it is now; the one of before if it has not changed, or if it was sound and is broken now."""
    if before is not None and before.stamp == _stamp(path):
        return before
    now = read_override_file(path, named=named)
    if before is None:
        return now
    if now.is_broken and (before.overrides or before.replacements):
        kept = Problem(path, 0, 0, "error", _KEPT, code="kept-version")
        problems = (*now.problems, kept)
        now = replace(now, overrides=before.overrides, replacements=before.replacements, problems=problems)
    return before if now == before else now


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path.stat())
    except OSError:
        return None
