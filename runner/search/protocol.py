"""The search protocol and its records: what is asked of the events, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from runner.errors import Problem
from runner.rules.rule import Rule
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


@dataclass(frozen=True, slots=True)
class Match:
    """One event that a rule matched, or the events of one sequence or sample in stage order."""

    hits: tuple[Hit, ...]
    is_sequence: bool
    join_keys: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the matches of a rule reach in time.

    `maxspan` is the longest time between the events of a match (zero for single events and for sequences without one:
    nothing is known of those). `leading` and `trailing` say that the first or the last term is a missing event.
    `bounded` is False where the events of a match may lie anywhere in the window, or where one match depends on all
    others: sequences without a maxspan, samples, queries with pipes.
    """

    maxspan: timedelta = timedelta(0)
    leading: bool = False
    trailing: bool = False
    bounded: bool = True


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One rule asked over one window; `size` is how many matches are wanted at least, earliest first."""

    rule: Rule
    window: Window
    size: int
    reach: Reach = Reach()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one request.

    `matches` is ascending in time and may make its items only when they are reached (documents of matches are fetched
    late), so iterate it once, in order. `exhausted` is False if the search stopped at `size` and more may exist.
    `error` is set if the search failed or was partial: then `matches` is empty and the window stays owed.
    `retryable` is False where asking the same again can not help, such as a field that no index has.
    """

    request: SearchRequest
    matches: Sequence[Match] = ()
    exhausted: bool = True
    warnings: tuple[str, ...] = ()
    error: str | None = None
    complete: bool = True
    """False: a part of the events could not be read; the matches are those of the rest, and the window stays owed."""
    retryable: bool = True
    took_ms: float = 0.0


class Unreachable(SearchResult):
    """A result whose search failed because the cluster could not be reached."""


class Search(Protocol):
    """A place where rules are asked over windows of events."""

    async def prepare(self, rules: Sequence[Rule]) -> Sequence[Problem]:
        """Compile or check all rules; returns every problem at once. A rule with an error must not be asked."""
        ...

    def run(self, requests: Sequence[SearchRequest]) -> AsyncIterator[SearchResult]:
        """One result per request, as they are done; a failing request yields a result with `error`."""
        ...

    async def close(self) -> None: ...
