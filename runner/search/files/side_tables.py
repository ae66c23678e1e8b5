"""`SideTables`: what the rules of one pass go by beside the events of their windows: terms seen before, indicators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from runner import eql
from runner.engine.plan import Plan
from runner.events.fields.schema import Schema
from runner.search.files.found_matches import Fetch, indicator_matches, matches_of
from runner.search.files.indicator_search import IndicatorAnswer, IndicatorPass, IndicatorSearch
from runner.search.files.lazy_matches import LazyMatches
from runner.search.files.term_search import TermAnswer, TermPass, term_match
from runner.search.protocol import Match, SearchRequest


@dataclass(frozen=True, slots=True)
class SideTables:
    """The new-terms and the threat-match requests of one pass."""

    terms: TermPass = field(default_factory=lambda: TermPass((), {}, timedelta(0)))
    indicators: IndicatorPass = field(default_factory=IndicatorPass)

    def ask(self, request: SearchRequest, ask: eql.Ask, schema: Schema) -> eql.Ask:
        """What is asked of the engine for a request."""
        return self.indicators.ask(request, self.terms.ask(request, ask, schema))

    def matches(
        self,
        request: SearchRequest,
        answer: eql.Found,
        plan: Plan,
        fetch: Fetch,
        *,
        known: IndicatorSearch,
        whole: bool,
    ) -> Sequence[Match]:
        """The matches of a request; none of a rule that counts. `known` reads the documents of indicators."""
        if request.rule.type == "threshold":
            return ()
        if request.rule.type == "new_terms":
            return LazyMatches(self._terms(request).found, partial(term_match, fetch=fetch))
        if request.rule.type != "threat_match":
            return matches_of(answer, plan, fetch, whole=whole)
        table = self._indicators(request).table
        if table is None:
            return ()
        return indicator_matches(answer, fetch, partial(known.of_event, table), is_exact=table.is_exact)

    def warnings(self, request: SearchRequest) -> tuple[str, ...]:
        """What is wrong with the tables of a request."""
        return (*self._terms(request).warnings, *self.indicators.told(request))

    def notes(self, request: SearchRequest) -> tuple[str, ...]:
        """What should be known of them and is no warning."""
        return self._terms(request).notes

    def error(self, request: SearchRequest) -> str | None:
        """Why the tables of a request are not there."""
        return self._terms(request).error or self._indicators(request).error

    def is_whole(self, request: SearchRequest) -> bool:
        """Whether the tables of a request have all that they should."""
        return self.indicators.is_whole_for(request)

    def _terms(self, request: SearchRequest) -> TermAnswer:
        return self.terms.answers.get(id(request), TermAnswer())

    def _indicators(self, request: SearchRequest) -> IndicatorAnswer:
        return self.indicators.answers.get(id(request), IndicatorAnswer())
