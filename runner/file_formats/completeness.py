"""`Completeness`: what saved answers of Elasticsearch say of how complete they are."""

from __future__ import annotations

from typing import Any

import orjson

TELLING = frozenset({"total", "timed_out", "_shards", "is_partial", "error"})
"""The keys of an answer that say whether it is whole."""
_MOST_FAULTS = 5


class Completeness:
    """What answers say of how complete they are."""

    def __init__(self) -> None:
        self.count = 0
        """The hits that were read."""
        self.faults: list[str] = []
        self._total = self._parts = 0
        self._is_more = False

    def take(self, key: str, text: str, *, is_part: bool) -> None:
        """Take in the value of one of the keys of `TELLING`."""
        try:
            value: Any = orjson.loads(text)
        except ValueError:
            return
        if key == "total":
            found = value.get("value") if isinstance(value, dict) else value
            self._is_more |= isinstance(value, dict) and value.get("relation") == "gte"
            total = found if isinstance(found, int) else 0
            self._parts += total * is_part
            self._total = max(self._total, total * (not is_part))
        elif key == "error":
            reason = value.get("reason", value.get("type")) if isinstance(value, dict) else value
            self._add(f"one of its answers is an error: {str(reason)[:200]}")
        elif key == "_shards":
            if isinstance(value, dict) and value.get("failed"):
                self._add(f"an answer lacks {value['failed']} of {value.get('total')} shards")
        elif value is True:
            self._add("an answer is partial" if key == "is_partial" else "an answer's search timed out")

    def _add(self, text: str) -> None:
        if text not in self.faults and len(self.faults) < _MOST_FAULTS:
            self.faults.append(text)

    def notes(self) -> list[str]:
        """How many hits were not saved."""
        total = self._total + self._parts
        if self.count >= total:
            return []
        hits = f"{self.count:,} of {total:,} {'or more ' * self._is_more}hits of its search"
        return [f"it holds {hits}: search again with a larger `size` for all"]
