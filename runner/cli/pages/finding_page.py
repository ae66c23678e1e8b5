"""The page of what a rule makes of the events that it finds: counted keys, and terms that are new or known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from runner.alerts.explain.counted_keys import CountedKey, CountedKeys
from runner.alerts.explain.judged_terms import JudgedTerm, JudgedTerms
from runner.alerts.explain.met_indicators import MetIndicators, texts_of
from runner.cli.console import moment, printable
from runner.messages.quantities import counted, in_whole_units
from runner.windows import from_nanoseconds

_LONGEST = 160


def counts_page(counts: CountedKeys) -> Iterator[Text]:
    """What was counted: the condition, the keys with alerts, and those that came near."""
    yield Text()
    yield Text("what was counted", style="bold")
    values = (
        f" with {counts.cardinality_needed:,} values of {counts.cardinality_field}" if counts.cardinality_field else ""
    )
    together = f"by {', '.join(counts.fields)}" if counts.fields else "all together"
    within = in_whole_units(counts.reach // 1_000_000)
    yield Text(f"  {counts.needed:,} events{values} within {within} make an alert; counted {together}")
    total = (
        f"{counted(counts.keys, 'key')}; {counted(counts.alerts, 'alert')}, if none of the events was counted before"
    )
    yield Text(f"  {total}", style="green" if counts.alerts else "red")
    for heading, keys in (("enough", counts.shown), ("nearest to it", counts.near)):
        if keys:
            yield Text(f"  {heading}")
        for key in keys:
            yield Text(f"    {_key(key, counts)}")


def _key(key: CountedKey, counts: CountedKeys) -> str:
    parts = [f"{key.count:,} of {counts.needed:,} events"]
    if counts.cardinality_field:
        parts.append(f"{key.values:,} of {counts.cardinality_needed:,} values of {counts.cardinality_field}")
    when = f"{_time(key.first)} to {_time(key.last)[11:]}" if key.first != key.last else f"at {_time(key.first)}"
    alerts = f", {counted(key.alerts, 'alert')}" if key.alerts else ""
    more = f" ({key.events:,} in all)" if key.events > key.count else ""
    return f"{_terms(counts.fields, key.terms)}: {', '.join(parts)}, {when}{more}{alerts}"


def terms_page(terms: JudgedTerms, places: Mapping[int, str]) -> Iterator[Text]:
    """What is new in the window, and since when the other terms of it are known."""
    history = terms.history
    yield Text()
    yield Text("what is new", style="bold")
    yield Text(f"  in the window up to the newest event: {_time(history.begin)} to {_time(history.end)}")
    short = terms.oldest is not None and terms.oldest > history.start
    reach = f"; the events reach back to {_time(terms.oldest)} alone" if short and terms.oldest is not None else ""
    yield Text(
        f"  a term is new if it was not seen since {_time(history.start)}{reach}", style="yellow" if short else ""
    )
    if short:
        text = "a run alerts once they reach back RUNNER_LEARN_TERMS, or half of the history if that is shorter"
        yield Text(f"  {text}", style="yellow")
    total = f"{counted(terms.new_terms, 'new term')}, {counted(terms.known_terms, 'known term')}"
    yield Text(f"  {total}", style="green" if terms.new_terms else "red")
    for heading, found, count in (("new", terms.new, terms.new_terms), ("known", terms.known, terms.known_terms)):
        if found:
            yield Text(f"  {heading}")
        for term in found:
            yield Text(f"    {_terms(terms.fields, term.terms)}: {_seen(term, places)}")
        if count > len(found):
            yield Text(f"    and {count - len(found):,} more")


def _seen(term: JudgedTerm, places: Mapping[int, str]) -> str:
    if term.since is not None:
        last = f", last at {_time(term.before)}" if term.before != term.since else ""
        return f"since {_time(term.since)}{last}; {counted(term.events, 'event')} in the window"
    place = f" ({places[term.event]})" if term.event in places else ""
    ever = f"; before the history at {_time(term.ever)}" if term.ever is not None else ""
    return f"first at {_time(term.time)}{place}, {counted(term.events, 'event')}{ever}"


def indicators_page(met: MetIndicators, places: Mapping[int, str]) -> Iterator[Text]:
    """How the events compare with the rule's indicators, and which of them match."""
    yield Text()
    yield Text("which indicators were met", style="bold")
    yield Text(f"  {counted(met.indicators, 'indicator')} of the rule; one group of fields has to hold", style="")
    for one in met.fields:
        events = f"{counted(one.values, 'value')} in {counted(one.events, 'event')}"
        known = f"{counted(one.indicators, 'value')} of indicators; {one.same:,} the same"
        unlike = " (must differ)" if one.negate else ""
        yield Text(f"    group {one.group}: {one.field} {events}, {one.value} {known}{unlike}")
    yield Text(f"  {counted(met.matched, 'event')} with an indicator", style="green" if met.matched else "red")
    for event in met.shown:
        place = f"{places[event.event]}: " if event.event in places else ""
        text = printable(f"{place}{'; '.join(texts_of(event))}")
        yield Text(f"    {text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}")
    if met.matched > len(met.shown):
        yield Text(f"    and {met.matched - len(met.shown):,} more")
    for remark in met.remarks:
        yield Text(f"  {remark}", style="yellow")


def _terms(fields: Sequence[str], values: Sequence[Any]) -> str:
    """The fields with their values, on one line that is not too long."""
    text = ", ".join(f"{field} {value}" for field, value in zip(fields, values, strict=False)) or "all events"
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _time(nanoseconds: int | None) -> str:
    return moment(None if nanoseconds is None else from_nanoseconds(nanoseconds))
