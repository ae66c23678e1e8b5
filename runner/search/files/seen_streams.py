"""`SeenStreams`: the indices and data streams of the events that were read, and which of them rules name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from runner.events.fields.index_patterns import index_selector

_MOST_NAMED = 20
"""Index patterns that one message names."""


class SeenStreams:
    """The indices and data streams that events name; None stands for those that name none, which every rule sees."""

    def __init__(self) -> None:
        self._streams: set[str | None] = set()
        self._told: set[str] = set()
        self._selectors: dict[tuple[str, ...], Callable[[str | None], bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._streams)

    def add(self, streams: Collection[str | None]) -> None:
        """Take in those of more events."""
        self._streams |= set(streams)

    def has_any_of(self, indices: tuple[str, ...]) -> bool:
        """Whether one of them is among those that the patterns of a rule name."""
        return any(self._selects(indices, stream) for stream in self._streams)

    def why_unseen(self, indices: tuple[str, ...], where: str) -> str:
        """Why a rule could not have seen any event; "" if it could. `where` is what was read without an event."""
        if not self._streams:
            return f"no event was read: {where}" if where else ""
        if self.has_any_of(indices):
            return ""
        return f"no event read so far is of {', '.join(indices)}: the rule sees none"

    def unnamed(self, counts: Mapping[str | None, int], patterns: Collection[tuple[str, ...]]) -> str:
        """What to tell of events, counted by their index, that no rule sees; each index is told of once.

        `patterns` are those of each rule.
        """
        new = {
            stream: count
            for stream, count in counts.items()
            if stream is not None
            and stream not in self._told
            and not any(self._selects(indices, stream) for indices in patterns)
        }
        self._told.update(new)
        if not new or not patterns:
            return ""
        events, names = sum(new.values()), sorted({name for indices in patterns for name in indices})
        subject = "1 event is of an index" if events == 1 else f"{events:,} events are of indices"
        more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        return (
            f"{subject} that no rule names, such as {min(new)}: no rule sees them; the rules name "
            f"{', '.join(names[:_MOST_NAMED])}{more}"
        )

    def _selects(self, indices: tuple[str, ...], stream: str | None) -> bool:
        if indices not in self._selectors:
            self._selectors[indices] = index_selector(indices)
        return self._selectors[indices](stream)
