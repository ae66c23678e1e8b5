"""What a pass over files has found for a request, as its matches: documents are read when a match is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from runner import eql
from runner.engine.plan import Plan
from runner.engine.sequence.open_matches import distinct
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.engine.sequence.stage_sink import MOST_KEYS
from runner.errors import UnreadableEventError
from runner.search.files.lazy_matches import LazyMatches
from runner.search.protocol import Hit, Match, MatchedIndicator, hit_of

Fetch: TypeAlias = Callable[[int], Mapping[str, Any]]
"""Reads a document by its number. Raises UnreadableEventError."""
Indicators: TypeAlias = Callable[[Mapping[str, Any]], tuple[MatchedIndicator, ...]]
"""The indicators that an event matches, given as the content of `_source`."""


def matches_of(answer: eql.Found, plan: Plan, fetch: Fetch, *, whole: bool) -> LazyMatches[FoundSequence]:
    """The matches of an answer to a pass over `whole` files, or over a part of them."""
    found = answer.matches if whole else _without_absences(answer.matches, plan)
    return LazyMatches(distinct(found), partial(_match, fetch=fetch, is_sequence=plan.kind != "event"))


def indicator_matches(answer: eql.Found, fetch: Fetch, indicators: Indicators, *, is_exact: bool) -> Sequence[Match]:
    """The events that match an indicator, with these. Unless the engine's answer `is_exact`, all are read at once."""

    def made(found: FoundSequence) -> Match:
        match = _match(found, fetch=fetch, is_sequence=False)
        return match if match.unreadable else replace(match, indicators=indicators(match.hits[0].source))

    found = distinct(answer.matches)
    if is_exact:
        return LazyMatches(found, made)
    return [one for one in map(made, found) if one.indicators or one.unreadable]


def crowded_text(answer: eql.Found) -> str:
    """The warning about events that were left out of a rule's sequences; "" without any."""
    if not answer.crowded:
        return ""
    what = "1 event was" if len(answer.crowded) == 1 else f"{len(answer.crowded):,} events were"
    return f"{what} left out: lists of values make over {MOST_KEYS:,} combinations of join keys"


def _without_absences(found: Sequence[FoundSequence], plan: Plan) -> Sequence[FoundSequence]:
    """The matches that hold whatever else there is; those of a missing event or an `until` may not."""
    if plan.until is not None:
        return ()
    return found if not any(stage.missing for stage in plan.stages) else ()


def _match(found: FoundSequence, fetch: Callable[[int], Mapping[str, Any]], *, is_sequence: bool) -> Match:
    """The match of some events; `fetch` gives a document by its number."""
    try:
        hits = (Hit("", "", {}, missing=True) if number is None else hit_of(fetch(number)) for number in found.events)
        return Match(tuple(hits), is_sequence, found.key)
    except UnreadableEventError as error:
        return Match((), is_sequence, found.key, unreadable=str(error))
