"""`ExceptedAnswer`: what one query finds in files without what exceptions except."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from runner import eql
from runner.engine.plan import EventProgram
from runner.engine.sequence.sequence_matcher import FoundSequence
from runner.errors import UnreadableEventError
from runner.events.fields.schema import Schema
from runner.exceptions.conditions import excepting, resolve_items
from runner.exceptions.item import ExceptionItem
from runner.search.protocol import hit_of

_Program = TypeVar("_Program", eql.Program, EventProgram, eql.Program | EventProgram)


class ExceptedAnswer:
    """Exceptions over events of a schema, and how much each has left out of a query's answer.

    Those of scope event leave events out of the search, those of scope alert drop finished matches.
    """

    def __init__(self, items: Sequence[ExceptionItem], schema: Schema) -> None:
        self.of_events = resolve_items([item for item in items if item.scope == "event"], schema)
        self.of_alerts = resolve_items([item for item in items if item.scope == "alert"], schema)
        self.events: Counter[ExceptionItem] = Counter()
        self.matches: Counter[ExceptionItem] = Counter()

    def excepting(self, program: _Program) -> _Program:
        """The query without the events that an exception hits."""
        condition = self.of_events.condition
        return program if condition is None else replace(program, plan=excepting(program.plan, condition))

    def asked(self, ask: eql.Ask) -> eql.Ask:
        """What to ask of a matcher: all matches, if some of them may be dropped afterwards."""
        return replace(ask, limits=None) if self.of_alerts.items else ask

    def left(self, found: eql.Found, ask: eql.Ask, fetch: Callable[[int], Mapping[str, Any]]) -> eql.Found:
        """What is left of an answer within the limits of `ask`; counts what is not. `fetch` gives documents."""
        for one in found.excluded:
            self.events[self.of_events.item_of(one)] += one.events
        if not self.of_alerts.items or found.error is not None:
            return found
        kept = [match for match in found.matches if not self._is_dropped(match, fetch, ask.now_ns)]
        for limit in ask.limits[:1] if ask.limits is not None else ():  # the pipes are applied, the size is not
            kept = kept[: limit.count] if limit.side == "head" else kept[max(0, len(kept) - limit.count) :]
        return replace(found, matches=kept)

    def _is_dropped(self, match: FoundSequence, fetch: Callable[[int], Mapping[str, Any]], now_ns: int) -> bool:
        for number in match.events:
            if number is None:
                continue
            try:
                source = hit_of(fetch(number)).source
            except UnreadableEventError:
                return False  # the answer itself says so
            if (item := self.of_alerts.item_for(source, now_ns)) is not None:
                self.matches[item] += 1
                return True
        return False
