"""Paths of an `.env` file that docker compose shares with the command line of the host.

In the container the folders that `CERTS_FOLDER`, `RULES_FOLDER` and `EVENTS_FOLDER` name are /certs, /rules and
/events: a path below them means the same file on the host.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

_MOUNTS: Final = {
    "/certs": ("CERTS_FOLDER", "certs"),
    "/rules": ("RULES_FOLDER", "rules"),
    "/events": ("EVENTS_FOLDER", ""),
    "/run/secrets": ("", ""),
}
"""Folders of the container, each with the variable that names the host's folder and what that is by default."""


@dataclass(slots=True)
class HostPaths:
    """Values of variables as this machine uses them."""

    values: dict[str, str] = field(default_factory=dict)
    """By variable, those that differ; empty where nothing of the value is here."""
    missing: dict[str, str] = field(default_factory=dict)
    """By variable, why a path of the container is not used here."""


def host_paths(given: Mapping[str, str], names: Collection[str], folder: Path) -> HostPaths:
    """The host's paths for those of the variables `names` that name paths of the container alone.

    `given` are the variables of the file that lies in `folder`. A path that exists as it stands is left alone.
    """
    found = HostPaths()
    for name in sorted(given.keys() & set(names)):
        items = given[name].split(os.pathsep)
        here = [_here(PurePosixPath(item.strip()), given, folder) for item in items]
        changed = [item if path is None else path for item, path in zip(items, here, strict=True)]
        if changed == items:
            continue
        found.values[name] = os.pathsep.join(item for item in changed if item)
        if lost := [item for item, path in zip(items, here, strict=True) if path == ""]:
            kind = "is a path" if len(lost) == 1 else "are paths"
            found.missing[name] = f"{', '.join(lost)} {kind} of the container that this machine does not have: not used"
    return found


def _here(path: PurePosixPath, given: Mapping[str, str], folder: Path) -> str | None:
    """The path on this machine: None for the same one, "" if there is none."""
    for mount, (variable, default) in _MOUNTS.items():
        if not path.is_relative_to(mount) or os.path.lexists(path):
            continue
        if not (source := given.get(variable) or default):
            return ""
        there = folder / Path(source).expanduser() / path.relative_to(mount)
        return str(there) if there.exists() else ""
    return None
