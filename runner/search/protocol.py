"""The search protocol and its records: requests, results, matches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from runner.errors import Problem
from runner.exceptions.item import ExceptionItem
from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule, Reach
from runner.windows import Window


@dataclass(frozen=True, slots=True)
class Hit:
    """One event of a match, as the EQL search API returns it."""

    index: str
    """The concrete index, or "" for a plain document that names none."""
    id: str
    """The document's `_id`, or "" for a plain document."""
    source: Mapping[str, Any]
    fields: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    missing: bool = False
    """True for the placeholder of a missing event `![...]`; it has no document."""


def hit_of(document: Mapping[str, Any]) -> Hit:
    """The event of a document read from a file: a plain one, or one with `_index`, `_id` and `_source`."""
    source = document.get("_source")
    if isinstance(source, dict):
        return Hit(str(document.get("_index") or ""), str(document.get("_id") or ""), source)
    return Hit("", "", document)


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """What tells one row of an ES|QL answer from all others."""

    query: str
    window: Window
    key: Mapping[str, Any]
    """The columns by which the row is known in other windows; of a document's row those of MV_EXPAND."""
    is_document: bool = False
    """Whether it is the row of a document, which index and id name."""
    is_dated: bool = False
    """Whether a time is among the key, so that rows of different windows with the same key are one."""


@dataclass(frozen=True, slots=True)
class MatchedIndicator:
    """An indicator that an event matches: the event's field, its value, and the document of the indicator."""

    field: str
    value: Any
    hit: Hit | None
    """None: it cannot be read any more."""


@dataclass(frozen=True, slots=True)
class Match:
    """One event that a rule matched, or the events of one sequence or sample in stage order."""

    hits: tuple[Hit, ...]
    is_sequence: bool
    join_keys: tuple[Any, ...] = ()
    """The values by which the events are joined; of a new-terms rule those that are new."""
    others: tuple[Hit, ...] = ()
    """Of a new-terms rule some later events with the same values: an alert of one of them is the alert of the match."""
    row: AnswerRow | None = None
    """Of a match by ES|QL. Its event is then the document with the columns over it, or the columns alone."""
    alert_id: str = ""
    """The id of its alert where its events do not give it: of the events that a threshold rule has counted."""
    alert_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its alert beside those of its events."""
    indicators: tuple[MatchedIndicator, ...] = ()
    """Of a rule of type threat_match."""
    unreadable: str = ""
    """Why an event of the match cannot be read, with its place: then `hits` is empty, and there can be no alert."""


@dataclass(frozen=True, slots=True)
class BucketEvent:
    """One event of a bucket; `time` in nanoseconds since 1970, by which the rule has selected it."""

    number: int
    time: int
    values: frozenset[Any] = frozenset()
    """Its different values of the field of which a threshold rule counts the values."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The events of a threshold rule that agree in the values of its fields."""

    terms: tuple[Any, ...]
    """A value for each field of the rule, in its order."""
    events: tuple[BucketEvent, ...]


@dataclass(frozen=True, slots=True)
class Buckets:
    """All buckets of a window that may meet a threshold rule's condition."""

    found: Sequence[Bucket] = ()
    hit: Callable[[int], Hit] = lambda number: Hit("", "", {})
    """What identifies the event of a number. Raises UnreadableEventError."""
    digests: dict[int, bytes] = field(default_factory=dict)
    """Digests of what identifies events, by number, for the buckets of other windows of the same pass to use again."""


@dataclass(frozen=True, slots=True)
class ExceptedEvents:
    """The events that an exception has kept from a rule, and some of them."""

    item: ExceptionItem
    events: int
    newest: datetime | None = None
    """The newest time of the events, if it is known."""
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One rule over one window; `size` is how many matches are wanted at least, earliest first.

    Of excepted events those of the times `counted` count; None: all.
    """

    compiled: CompiledRule
    window: Window
    size: int
    counted: tuple[Window, ...] | None = None

    @property
    def rule(self) -> Rule:
        return self.compiled.rule

    @property
    def reach(self) -> Reach:
        return self.compiled.reach


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The matches of one request.

    `matches` is ascending in time and may read an item's documents only when it is reached (late materialisation), so
    iterate it once, in order. `exhausted` is False if the search stopped at `size` and more may exist.
    `error` is set if the search failed or was partial: then `matches` is empty and the window stays owed.
    `retryable` is False where the same request would fail again, such as for a field that no index has.
    """

    request: SearchRequest
    matches: Sequence[Match] = ()
    exhausted: bool = True
    warnings: tuple[str, ...] = ()
    error: str | None = None
    complete: bool = True
    """False: a part of the events could not be read; the matches are those of the rest, and the window stays owed."""
    retryable: bool = True
    blind: bool = False
    """True: nothing is there that the rule's index patterns name, so that it could not have seen any event."""
    took_ms: float = 0.0
    notes: tuple[str, ...] = ()
    """What should be known of the run and is no warning."""
    excepted: tuple[ExceptedEvents, ...] = ()
    """What exceptions of scope event have left out."""
    buckets: Buckets | None = None
    """Of a threshold rule, in place of matches."""


class Unreachable(SearchResult):
    """A result whose search failed because the cluster could not be reached."""


class Search(Protocol):
    """Searches rules over windows of events."""

    async def prepare(self, rules: Sequence[CompiledRule]) -> Sequence[Problem]:
        """Every problem of the rules that shows before they are searched. A rule with an error must not be searched."""
        ...

    def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        """One result per request, as they are done; a failing request yields a result with `error`."""
        ...

    async def close(self) -> None: ...
