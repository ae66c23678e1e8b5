"""`first_state`: the state that a rule begins with over a source without a ledger.

It is made of what was recorded for sources that share a name with it, so that a path or an address that is added, left
out or renamed forgets nothing that is owed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from runner.store.protocol import RuleState, kept_spans, without
from runner.store.source import UNNAMED, EventSource
from runner.windows import Window, merge, subtract


def first_state(source: EventSource, known: Mapping[EventSource, RuleState]) -> RuleState | None:
    """The state that a rule begins with over a source without a ledger, from those over other sources; None if none
    counts for it.

    Of each name counts what was searched over any source that has it; what is owed for one of the names is owed.
    """
    akin = {other: state for other, state in known.items() if source.is_akin(other)}
    if not akin:
        return known.get(UNNAMED) if source.kind == "files" else None
    parts = []
    for name in source.names:
        states = [state for other, state in akin.items() if name in other.names]
        if states:
            parts.append(_any_of(states))
    return _all_of(parts)


def _any_of(states: Iterable[RuleState]) -> RuleState:
    """Accounted for is what is so in one of the states."""
    found = sorted(states, key=_newest)
    last = found[-1]
    if len(found) == 1:
        return last
    paused = last.paused if all(state.paused is not None for state in found) else None
    skipped = merge(span for state in found for span in state.skipped)
    searched = merge(span for state in found for span in state.searched)
    late = merge(without((span for state in found for span in state.late), searched))
    return replace(last, searched=kept_spans(searched), skipped=skipped, paused=paused, late=late)


def _all_of(states: Iterable[RuleState]) -> RuleState:
    """Accounted for is what is so in each of the states, or lies before it begins."""
    found = sorted(states, key=_newest)
    last = found[-1]
    if all(state == last for state in found):
        return last
    begins = [state.searched[0].start for state in found if state.searched]
    if not begins:
        return last
    first, end = min(begins), max(span.end for state in found for span in state.accounted)
    whole = Window(first, end)
    owed: list[Window] = []
    for state in found:
        before = Window(first, state.searched[0].start) if state.searched else whole
        owed += subtract(whole, (*state.accounted, before))
    searched = subtract(whole, owed)
    paused = last.paused if all(state.paused is not None for state in found) else None
    late = merge(without((span for state in found for span in state.late), searched))
    searched = merge((Window(first, first), *searched))
    return replace(last, searched=kept_spans(searched), skipped=(), paused=paused, late=late)


def _newest(state: RuleState) -> float:
    return state.last.started.timestamp() if state.last is not None else 0.0
