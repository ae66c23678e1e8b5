"""Value lists: text files, one value a line; blank lines and those that begin with `#` are none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from runner.exceptions.item import ValueList
from runner.messages.suggestions import did_you_mean
from runner.rules.discovery import Stamp, reason, stamp_of
from runner.rules.toml_file import decoded, read_bytes

_LARGEST = 64 << 20
"""In bytes; Kibana takes 9 MB."""
SUFFIXES = (".txt", ".csv", ".list")


class ValueLists:
    """The value lists of some folders, each read when it is first asked for. An id is a file's name, with or without
    its suffix."""

    def __init__(self, paths: Iterable[Path] = (), before: ValueLists | None = None) -> None:
        """`before` are those of an earlier time: files that have not changed are not read again."""
        self.paths = list(paths)
        self._by_name: dict[str, Path] = {}
        for path in self.paths:
            self._by_name.setdefault(path.name, path)
        for path in tuple(self._by_name.values()):
            self._by_name.setdefault(path.stem, path)
        self._read: dict[Path, tuple[Stamp, ValueList | None, str]] = {} if before is None else dict(before._read)

    def by_id(self, list_id: str) -> ValueList:
        """The list of an id. Raises ValueError, saying what is missing."""
        path = self._by_name.get(list_id)
        if path is None:
            near = did_you_mean(list_id, self._by_name)
            raise ValueError(f"no value list `{list_id}`: expected a file of that name beside the exceptions{near}")
        return self.at(path)

    def at(self, path: Path) -> ValueList:
        """The list in a file. Raises ValueError, saying why it cannot be read."""
        try:
            stamp = stamp_of(path.stat())
            known = self._read.get(path)
            if known is None or known[0] != stamp:
                known = self._load(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"the value list {path} cannot be read: {reason(error)}") from None
        self._read[path] = known
        if known[1] is None:
            raise ValueError(f"the value list {path} {known[2]}")
        return known[1]

    @staticmethod
    def inline(values: tuple[str, ...], path: Path) -> ValueList:
        """Values that stand in an exception itself."""
        return ValueList("", path, tuple(dict.fromkeys(values)))

    def changed(self) -> bool:
        """Whether a file that was read is another one now."""
        for path, (stamp, _, _) in self._read.items():
            try:
                if stamp_of(path.stat()) != stamp:
                    return True
            except OSError:
                return True
        return False

    def _load(self, path: Path) -> tuple[Stamp, ValueList | None, str]:
        data, stamp = read_bytes(path, _LARGEST)
        text, problem = decoded(path, data, expected="value list", largest=_LARGEST)
        if problem is not None:
            return stamp, None, problem.message
        lines = (line.strip() for line in text.split("\n"))
        values = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
        return (stamp, ValueList(path.name, path, values), "") if values else (stamp, None, "has no values")
