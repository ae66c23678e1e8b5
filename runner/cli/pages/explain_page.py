"""`Explanation`: the reading of a query and its results over the events, and the page that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from runner.alerts.explain.counted_keys import CountedKeys
from runner.alerts.explain.judged_terms import JudgedTerms
from runner.alerts.explain.met_indicators import MetIndicators
from runner.cli.pages.finding_page import counts_page, indicators_page, terms_page
from runner.dates.dates import date_text
from runner.eql.explain.event_chain import Chain, Link
from runner.eql.explain.event_verdict import EventVerdict, StageVerdict, Verdict
from runner.eql.explain.funnel import KeyStep, StageFunnel
from runner.eql.explain.partial_trace import Ending, PartialStep
from runner.eql.explain.query_reading import ConditionReading, QueryReading, StageReading
from runner.eql.explain.unparse import string
from runner.expressions.functions import text_of
from runner.messages.quantities import counted, length_of_time

_WIDEST_CONDITION = 76
_LONGEST_VALUE = 120
_FEW = 10
"""Exceptions that are listed although they left out nothing."""
_STYLES = {True: "green", False: "red"}


@dataclass(frozen=True, slots=True)
class ExplainedEvent:
    """The verdict on one event; `stage` is the index of its stage if the events form a chain."""

    number: int
    event_id: str
    verdict: EventVerdict
    stage: int | None
    exceptions: tuple[ExplainedException, ...] = ()
    """Those that hit it; none if the query has no exceptions."""
    nearest: ExplainedException | None = None
    """The exception that misses it by fewest conditions, if it meets a stage and none hits it."""


@dataclass(frozen=True, slots=True)
class ExplainedException:
    """An exception with what it has left out, or with its conditions on one event.

    `label` is its name and place, `reason` the conditions that hold or, if it does not hit the event, those that do
    not. `left_out` are events, of scope alert matches.
    """

    name: str
    file: str
    line: int
    scope: str
    label: str
    left_out: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a query and of events. Events are numbers in the order of reading."""

    reading: QueryReading
    stages: tuple[StageFunnel, ...]
    steps: tuple[PartialStep, ...]
    keys: tuple[KeyStep, ...]
    complete: int
    refused: tuple[Ending, ...]
    returned: int
    error: str
    events: tuple[ExplainedEvent, ...]
    chain: Chain | None
    maxspan_ns: int | None
    places: Mapping[int, str]
    """`file:line` by the number of an event."""
    exceptions: tuple[ExplainedException, ...] = ()
    counts: CountedKeys | None = None
    """What a threshold rule counts."""
    terms: JudgedTerms | None = None
    """What is new to a rule of type new_terms."""
    met: MetIndicators | None = None
    """Which indicators of a rule of type threat_match the events meet."""


def page(explanation: Explanation) -> Iterator[Text]:
    """The lines of the page."""
    if explanation.events:
        for index, event in enumerate(explanation.events):
            if index:
                yield Text()
            yield from _event(event, explanation)
        if explanation.chain is not None:
            yield Text()
            yield from _chain(explanation.chain, explanation)
        return
    yield from _reading(explanation.reading)
    yield from _funnels(explanation)
    if explanation.reading.kind == "sequence" and not explanation.error:
        yield from _sequences(explanation)
    if explanation.reading.kind == "sample":
        yield from _keys(explanation)
    yield from _exceptions(explanation)
    if explanation.counts is not None:
        yield from counts_page(explanation.counts)
    if explanation.terms is not None:
        yield from terms_page(explanation.terms, explanation.places)
    if explanation.met is not None:
        yield from indicators_page(explanation.met, explanation.places)
    yield from _result(explanation)


def _line(depth: int, text: str, style: str = "") -> Text:
    return Text("  " * depth + text, style=style)


def _heading(text: str) -> Text:
    return Text(text, style="bold")


# The reading of the query.


def _reading(reading: QueryReading) -> Iterator[Text]:
    positive = sum(not stage.missing for stage in reading.stages if stage.label != "until")
    parts = ["event query" if reading.kind == "event" else f"{reading.kind} of {positive} stages"]
    if reading.maxspan is not None:
        parts.append(f"maxspan {reading.maxspan}")
    if reading.kind != "sample":
        parts.append(f"in the order of {reading.timestamp}")
    if reading.tiebreaker is not None:
        parts.append(f"then {reading.tiebreaker}")
    parts.append("then " + ", ".join(reading.limits) if reading.limits else "all matches")
    yield _heading("how the query was read")
    yield _line(1, ", ".join(parts))
    for stage in reading.stages:
        yield from _stage(stage)
    if reading.fields:
        yield Text()
        yield _heading("fields")
        rows: list[tuple[str, ...]] = []
        for field in reading.fields:
            exact = [f"exact: {field.exact}"] if field.exact else []
            rows.append((field.name, field.type, field.origin, *exact, *field.notes))
        yield from _columns(rows)
    for warning in reading.warnings:
        yield _line(1, f"warning: {warning}", "yellow")


def _stage(stage: StageReading) -> Iterator[Text]:
    keys = f", by {', '.join(stage.keys)}" if stage.keys else ""
    yield _line(1, f"{stage.label}{keys}", "bold")
    if stage.empty:
        yield _line(2, "the condition comes to false or null: no event can meet it", "red")
    elif not stage.conditions:
        yield _line(2, "any event")
    for condition in stage.conditions:
        yield from _condition(condition, 2)


_JOINED = {"and": "all of", "or": "any of", "not": "not"}


def _condition(condition: ConditionReading, depth: int, *, text: str = "") -> Iterator[Text]:
    """A condition as a tree; `text` replaces the text of a leaf."""
    if condition.leaf is None:
        if condition.role == "not" and condition.parts[0].leaf is not None:
            yield from _condition(condition.parts[0], depth, text=condition.text)
            return
        yield _line(depth, _JOINED[condition.role])
        for part in condition.parts:
            yield from _condition(part, depth + 1)
        return
    leaf = condition.leaf
    way = "script" if leaf.way == "script" else f"{leaf.query} query"
    if other_fields := [name for name in leaf.reads if name not in leaf.text]:
        way = f"{way} on {', '.join(other_fields)}"
    remarks = ", ".join(filter(None, (way, leaf.case)))
    yield Text.assemble("  " * depth, text or condition.text, (f"  ({remarks})", "dim"))
    for note in leaf.notes:
        yield _line(depth + 2, f"note: {note}", "dim")


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Rows as columns; the cells from the third on are separated by semicolons."""
    widths = [max((len(row[index]) for row in rows), default=0) for index in range(2)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield _line(1, "  ".join([*cells, "; ".join(row[2:])]))


# Events left after each condition.


def _funnels(explanation: Explanation) -> Iterator[Text]:
    yield Text()
    yield _heading(f"events that got through each condition, of {explanation.stages[0].events:,} read")
    texts = [step.text for stage in explanation.stages for step in stage.steps]
    width = min(max(map(len, texts), default=0), _WIDEST_CONDITION)
    for stage in explanation.stages:
        if explanation.reading.kind != "event":
            yield _line(1, stage.label, "bold")
        for step in stage.steps:
            lost = step.came > 0 and step.passed == 0
            yield _line(2, f"{_cut(step.text, width):<{width}}  {step.passed:>9,}", "red" if lost else "")
            if step.error:
                yield _line(3, f"it cannot be worked out: {step.error}", "red")
            elif step.common:
                values = ", ".join(f"{_values(value)} ({count:,})" for value, count in step.common)
                yield _line(3, f"{step.field} of the {step.came:,} that came here, most frequent: {values}", "dim")
        if not stage.steps:
            yield _line(2, f"{'any event':<{width}}  {stage.left:>9,}")


def _values(value: object) -> str:
    several = value if isinstance(value, tuple) else () if value is None else (value,)
    if not several:
        return "no value"
    shown = [_cut(string(one) if isinstance(one, str) else text_of(one), _LONGEST_VALUE) for one in several]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


# Partial sequences.


def _sequences(explanation: Explanation) -> Iterator[Text]:
    yield Text()
    yield _heading("partial sequences")
    for step in explanation.steps:
        yield _line(1, f"{step.label} to {step.next_label}: {step.came:,} came to {step.label}", "bold")
        for outcome, count in step.fates:
            style = "green" if outcome == "continued" else ""
            yield _line(2, f"{count:>7,}  {_OUTCOMES[outcome].format(step=step)}", style)
            yield from _example(step, outcome, explanation)
    for ending in explanation.refused[:1]:
        events = ", ".join(_place(number, explanation) for number in ending.events)
        by = f" by {_place(ending.by, explanation)}" if ending.by is not None else ""
        yield _line(1, f"{len(explanation.refused):,} refused for an event that had to be missing: {events}{by}")


_OUTCOMES = {
    "continued": "continued",
    "maxspan": "ended: the next event of the key came after maxspan",
    "until": "ended by an until event",
    "replaced": "replaced: a newer event of the key came to {step.label} first",
    "no event": "left: no event at all meets {step.next_label}",
    "other key": "left: no event of the same key meets {step.next_label}",
    "only before": "left: no event of the same key meets {step.next_label} after it",
    "missing event": "refused: an event that had to be missing was there",
}


def _example(step: PartialStep, outcome: str, explanation: Explanation) -> Iterator[Text]:
    if outcome == "maxspan" and step.nearest is not None and explanation.maxspan_ns is not None:
        ending = step.nearest
        over = length_of_time(ending.span_ns - explanation.maxspan_ns)
        yield _line(
            6, f"nearest: {length_of_time(ending.span_ns)} from {_ends(ending, explanation)}, {over} too long", "dim"
        )
    elif outcome == "other key" and step.near_key is not None:
        near = step.near_key
        differs = " and ".join(
            f"{key.left} is {_values(key.left_value)} in the first, "
            f"{key.right + ' ' if key.right != key.left else ''}{_values(key.right_value)} in the second"
            for key in near.differs
        )
        places = f"{_place(near.last, explanation)} and then {_place(near.next, explanation)}"
        yield _line(6, f"nearest: {places}: {differs}", "dim")
    else:
        for ending in step.examples:
            if ending.fate == outcome:
                yield _line(6, f"for example {_ends(ending, explanation)}", "dim")


def _ends(ending: Ending, explanation: Explanation) -> str:
    first = ending.events[0] if ending.fate == "maxspan" else ending.events[-1]
    if ending.by is None:
        return _place(first, explanation)
    word = {"maxspan": "to", "until": "by", "replaced": "by"}.get(ending.fate, "and")
    return f"{_place(first, explanation)} {word} {_place(ending.by, explanation)}"


def _place(number: int, explanation: Explanation) -> str:
    return explanation.places.get(number, f"event {number + 1}")


# Samples and results.


def _keys(explanation: Explanation) -> Iterator[Text]:
    yield Text()
    yield _heading("join keys")
    for step in explanation.keys:
        yield _line(1, f"{step.label}: {step.keys:,} keys; {step.shared:,} in every stage so far")


def _exceptions(explanation: Explanation) -> Iterator[Text]:
    """What each exception has left out; of many, those that left out nothing as their count."""
    if not explanation.exceptions:
        return
    yield Text()
    yield _heading("exceptions")
    idle = [one for one in explanation.exceptions if not one.left_out]
    for one in explanation.exceptions:
        if one.left_out or len(idle) <= _FEW:
            what = counted(one.left_out, "match", "matches") if one.scope == "alert" else counted(one.left_out, "event")
            yield _line(1, f"{one.label}: {what} left out")
    if len(idle) > _FEW:
        yield _line(1, f"{counted(len(idle), 'other exception')} left out nothing")


def _result(explanation: Explanation) -> Iterator[Text]:
    yield Text()
    if explanation.error:
        yield _line(0, f"the search fails: {explanation.error}", "bold red")
        return
    count = explanation.complete
    limits = ", ".join(explanation.reading.limits)
    left = "" if explanation.returned == count else f"; {explanation.returned:,} returned after {limits}"
    yield _line(0, f"{counted(count, explanation.reading.kind)} found{left}", f"bold {_STYLES[count > 0]}")


# One event, and events as a chain.


def _event(event: ExplainedEvent, explanation: Explanation) -> Iterator[Text]:
    time = "no timestamp" if event.verdict.time is None else date_text(event.verdict.time)
    event_id = f", event.id {event.event_id}" if event.event_id else ""
    yield _heading(f"{_place(event.number, explanation)} ({time}{event_id})")
    stages = event.verdict.stages if event.stage is None else event.verdict.stages[event.stage : event.stage + 1]
    for stage in stages:
        yield from stage_verdict(stage)
    for one in event.exceptions:
        if one.scope == "event" and any(stage.excepted for stage in stages):
            continue  # it is said there
        word = "excepted, as an alert," if one.scope == "alert" else "excepted"
        yield _line(1, f"{word} by {one.label}: {one.reason}", "bold red")
    if event.nearest is not None:
        yield _line(1, f"not excepted: of the nearest exception, {event.nearest.label}, {event.nearest.reason}", "dim")


def stage_verdict(stage: StageVerdict) -> Iterator[Text]:
    """The lines on one event at one stage: whether it meets it, and each condition and key with the values found."""
    yield _line(1, f"{stage.label}: {'met' if stage.met else 'not met'}", f"bold {_STYLES[stage.met]}")
    if stage.impossible:
        yield _line(2, "the condition comes to false or null: no event can meet it", "red")
    for condition in stage.conditions:
        yield from _verdict(condition, 2)
    if stage.problem:
        yield _line(2, f"not met  {stage.problem}", "red")
    for text in stage.excepted:
        yield _line(2, f"not met  {text}", "red")
    for key in stage.keys:
        values = _values(key.values)
        text = f"by {key.name}: {values}" if key.joined else f"not met  by {key.name}: no value, so it joins nothing"
        yield _line(2, text, "" if key.joined else "red")


def _verdict(verdict: Verdict, depth: int) -> Iterator[Text]:
    """A condition with the values found; `not` over a leaf is shown as one condition with the leaf's values."""
    negated = verdict.role == "not" and verdict.parts[0].role == "leaf"
    leaf = verdict.parts[0] if negated else verdict if verdict.role == "leaf" else None
    line = _line(depth, f"{'met' if verdict.met else 'not met':<7}  {verdict.text}", _STYLES[verdict.met])
    if leaf is None:
        yield line
        for part in verdict.parts:
            yield from _verdict(part, depth + 1)
        return
    brief = verdict.met and len(leaf.found) == 1 and not leaf.found[0].each_met and not leaf.found[0].note
    if brief:
        line.append(f"  found {_values(leaf.found[0].values)}", "dim")
    yield line
    inner = depth + 5
    for found in () if brief else leaf.found:
        note = f" ({found.note})" if found.note else ""
        yield _line(inner, f"{found.field}: found {_values(found.values)}{note}", "dim")
        for value, met in zip(found.values, found.each_met, strict=False):
            yield _line(inner + 1, f"{_values(value)}: {'met' if met is not negated else 'not met'}", "dim")
    if not verdict.met and not verdict.error:
        yield _line(inner, f"expected: {'not: ' if negated else ''}{leaf.expected}", "dim")
    if leaf.hint and not negated:
        yield _line(inner, f"hint: {leaf.hint}", "yellow")
    if verdict.error:
        yield _line(inner, f"it cannot be worked out, the search fails: {verdict.error}", "red")


def _chain(chain: Chain, explanation: Explanation) -> Iterator[Text]:
    is_sample = explanation.reading.kind == "sample"
    yield _heading(f"as a {explanation.reading.kind}")
    for label, number, met in zip(chain.labels, chain.events, chain.meets, strict=True):
        text = f"{label}: {_place(number, explanation)} {'meets it' if met else 'does not meet it'}"
        yield _line(1, text, _STYLES[met])
    for link in chain.links:
        yield _line(1, f"{link.label} to {link.next_label}", "bold")
        yield from _link(link, explanation, is_sample=is_sample)
    if all(chain.meets):
        for ending in chain.endings:
            yield _line(1, _ending(ending, chain, explanation), "red")
    if chain.formed:
        missing = "" if chain.returned else f", cut off by {', '.join(explanation.reading.limits)}"
        verdict = f"they form a {explanation.reading.kind}{missing}"
    elif chain.whole:
        verdict = f"they form no {explanation.reading.kind} of the answer"
    else:
        verdict = f"they are a part of a {explanation.reading.kind}: {len(chain.events)} of its stages"
    yield _line(0, verdict, f"bold {_STYLES[chain.formed]}")


def _link(link: Link, explanation: Explanation, *, is_sample: bool) -> Iterator[Text]:
    for key in link.keys:
        names = key.left if key.left == key.right else f"{key.left} and {key.right}"
        values = f"{_values(key.left_values)} and {_values(key.right_values)}"
        yield _line(2, f"{names}: {'equal' if key.equal else 'differ'}: {values}", _STYLES[key.equal])
    if is_sample:
        return
    if not link.later:
        yield _line(2, "order: the second event does not come after the first", "red")
    elif link.gap_ns is not None:
        yield _line(2, f"order: {length_of_time(link.gap_ns)} later", "green")
    if explanation.maxspan_ns is not None and link.span_ns is not None:
        over = "" if link.within else f", {length_of_time(link.span_ns - explanation.maxspan_ns)} too long"
        span = f"{length_of_time(link.span_ns)} since the first event, maxspan is {explanation.reading.maxspan}{over}"
        yield _line(2, f"time: {span}", _STYLES[link.within])
    if link.until is not None:
        yield _line(2, f"until: {_place(link.until, explanation)} stands between them", "red")


_ENDINGS = {
    "continued": "{last} was continued by {by}, which came first",
    "replaced": "{last} was replaced at {label} by {by}: the newest event of a key counts",
    "maxspan": "{last} was used up by {by}, which came after maxspan",
    "until": "{last} was ended by the until event {by}",
    "missing event": "refused: {by} had to be missing",
}


def _ending(ending: Ending, chain: Chain, explanation: Explanation) -> str:
    """The reason why the search did not continue a part of the chain with its next event."""
    last = _place(ending.events[-1], explanation)
    by = _place(ending.by, explanation) if ending.by is not None else "an event"
    label = chain.labels[min(len(ending.events), len(chain.labels)) - 1]
    return _ENDINGS.get(ending.fate, "nothing continued {last}").format(last=last, by=by, label=label)
