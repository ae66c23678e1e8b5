#!/usr/bin/env python3
"""The text of a release, from CHANGELOG.md: `release_notes.py v0.2.0` prints the section `## 0.2.0`.

Exits with 1, saying why, if there is no such section, if it is empty, or if the package has another version.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class ReleaseError(Exception):
    """There is no text for the release, or it is not the version of the package."""


def section(changelog: str, version: str) -> str:
    """What stands under the heading of a version."""
    parts = re.split(r"^## (\S+).*$", changelog, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if version not in sections:
        raise ReleaseError(f"CHANGELOG.md has no section `## {version}`, only {', '.join(sections)}")
    if not (text := sections[version].strip()):
        raise ReleaseError(f"the section `## {version}` of CHANGELOG.md is empty")
    return text


def version_of_package(init: str) -> str:
    """The version that `runner/__init__.py` names."""
    found = re.search(r'^__version__ = "([^"]+)"$', init, re.MULTILINE)
    if found is None:
        raise ReleaseError("runner/__init__.py names no version")
    return found[1]


def notes(tag: str, *, root: Path = ROOT) -> str:
    """The text of the release of a tag, `v` and the version."""
    version = tag.removeprefix("v")
    packaged = version_of_package((root / "runner" / "__init__.py").read_text("utf-8"))
    if version != packaged:
        raise ReleaseError(f"the tag is {tag}, but the package has version {packaged}")
    return section((root / "CHANGELOG.md").read_text("utf-8"), version)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: release_notes.py TAG", file=sys.stderr)
        return 3
    try:
        print(notes(sys.argv[1]))
    except ReleaseError as error:
        print(f"release_notes.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
