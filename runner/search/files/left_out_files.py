"""`LeftOutFiles`: which files of the folders were named as not read, so that each is named once."""

from __future__ import annotations

from collections.abc import Collection

from runner.events.files.discovery import EVENT_FILES


class LeftOutFiles:
    """The files that the last warning was about."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def warning(self, left_out: Collection[str]) -> tuple[str, ...]:
        """A warning of those that are new, by number and example; nothing without any. What is gone is forgotten, and
        named if it comes again."""
        new = sorted(set(left_out) - self._named)
        self._named = set(left_out)
        if not new:
            return ()
        files = "1 file is" if len(new) == 1 else f"{len(new):,} files are"
        return (f"{files} left out, such as {new[0]}: files are read if {EVENT_FILES}",)
