"""The sample as a stream: ordinary activity over a span of time, merged with the planted items."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from runner.errors import SettingsError
from runner.messages.suggestions import near_name
from runner.sample_data import linux_activity, windows_activity
from runner.sample_data.command_lines import Words
from runner.sample_data.fleet import build_fleet
from runner.sample_data.machine_state import SECOND, Machine, time_text
from runner.sample_data.planted.examples import EVENTS_AT_LEAST, PlantedExamples, plant_examples
from runner.sample_data.planted.ground_truth import Planted, RuleId
from runner.sample_data.planted.injection import LONGEST, MARGIN, plant
from runner.sample_data.timeline import SampleIndicator, Timeline, TimelineStep

DEFAULT_SPAN = timedelta(minutes=8)
SHORTEST_SPAN = timedelta(seconds=15)
HOSTS_AT_LEAST, HOSTS_AT_MOST, EVENTS_PER_HOST = 13, 130, 4_000
LAST_BEGIN = 5 * SECOND
SHARES = (("process", 0.55), ("network", 0.20), ("file", 0.20), ("other", 0.05))
LINUX_SHARE = 0.75
ECS = {"version": "8.11.0"}


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """One event of the sample."""

    at: int
    """Its `@timestamp`, in nanoseconds since 1970."""
    document: dict[str, Any]
    """The document as in `logs-endpoint.events.*`. Documents share sections: do not change it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The events, made lazily, the planted items among them, earliest first, and the count of hosts."""

    events: Iterator[SampleEvent]
    truth: tuple[Planted, ...]
    hosts: int
    older: int = 0
    """How many events are of the day before the span."""


def generate(
    *,
    events: int,
    attacks: int,
    seed: int,
    end: datetime,
    span: timedelta | None = None,
    near_misses: int | None = None,
    rule: str | None = None,
    examples: bool = False,
) -> Sample:
    """A sample of `events` events in the order of their timestamps, the newest exactly at `end`.

    It covers `span`, by default 8 minutes, less than the 9 minutes that the rules look back; more events mean a busier
    fleet. `attacks` is the count of attacks, spread over both rules or, with `rule` (a rule id), all for that one; by
    default there are as many near misses. Nothing is planted in the 2 seconds at both ends of the span.

    With `examples` there is an incident for each example rule beside them, if there are attacks, enough events, and no
    `rule` is named; without a `span` a few events are of the day before.

    Equal arguments give equal events; memory is needed for the fleet, the planted items and the activities of one
    moment. Raises SettingsError for arguments that cannot be satisfied.
    """
    rules = _rules(rule)
    near_misses = attacks if near_misses is None else near_misses
    length = DEFAULT_SPAN if span is None else span
    _check(events, attacks, near_misses=near_misses, length=length)
    last = _nanoseconds(end)
    first = last - length // timedelta(microseconds=1) * 1_000
    rng = Random(seed)
    size = min(HOSTS_AT_MOST, max(HOSTS_AT_LEAST, events // EVENTS_PER_HOST))
    machines = tuple(Machine(host, rng, start=first) for host in build_fleet(rng, size))
    words = Words(rng)
    planted = plant(machines, words, rules=rules, attacks=attacks, near_misses=near_misses, first=first, last=last)
    others = PlantedExamples((), ())
    if examples and attacks and rule is None and events - len(planted.steps) >= EVENTS_AT_LEAST:
        others = plant_examples(
            machines,
            Random(seed + 1),
            first=first + MARGIN,
            last=last - MARGIN - LONGEST,
            near_misses=near_misses > 0,
            history=span is None,
        )
    steps: list[TimelineStep | SampleIndicator] = [*planted.steps, *others.steps, *others.indicators]
    steps.sort(key=lambda step: step.at)
    ordinary = events - len(steps)
    if ordinary < 1:
        raise SettingsError(
            f"{events} events do not hold {attacks} attacks and {near_misses} near misses:"
            f" these alone take {len(steps)}; ask for {len(steps) + 1} events or more"
        )
    background = _background(machines, words, count=ordinary, first=first, last=last)
    merged: Iterator[TimelineStep | SampleIndicator] = heapq.merge(background, steps, key=lambda step: step.at)
    documents = (SampleEvent(step.at, _document(step, last)) for step in merged)
    truth = tuple(sorted((*planted.truth, *others.truth), key=lambda item: item.at))
    return Sample(documents, truth, size, older=sum(step.at < first for step in steps))


def _rules(rule: str | None) -> tuple[RuleId, ...]:
    if rule is None:
        return tuple(RuleId)
    rules = {item.value: item for item in RuleId}
    if rule not in rules:
        near = near_name(rule, rules)
        hint = f"; did you mean {near}?" if near else ""
        raise SettingsError(f"no attacks are known for rule {rule!r}, only for {' and '.join(rules)}{hint}")
    return (rules[rule],)


def _check(events: int, attacks: int, *, near_misses: int, length: timedelta) -> None:
    for name, value, least in (("events", events, 1), ("attacks", attacks, 0), ("near misses", near_misses, 0)):
        if value < least:
            raise SettingsError(f"the number of {name} must be {least} or more, found {value}")
    if attacks + near_misses > events // 2:
        # An item has two events or more; the exact count takes planning them all, which this check spares.
        raise SettingsError(
            f"{attacks} attacks and {near_misses} near misses ask for {2 * (attacks + near_misses)} events or more, "
            f"found {events}"
        )
    if length < SHORTEST_SPAN:
        raise SettingsError(f"the span must be {SHORTEST_SPAN.seconds} seconds or more, found {length}")


def _nanoseconds(end: datetime) -> int:
    if end.tzinfo is None:
        raise SettingsError(f"the end needs a time zone, found {end.isoformat()}; write {end.isoformat()}Z for UTC")
    return (end.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def _background(
    machines: tuple[Machine, ...], words: Words, *, count: int, first: int, last: int
) -> Iterator[TimelineStep]:
    """The steps of ordinary activity: `count` of them in the order of time, the last one at `last`.

    Activities start at a steady rate of steps, not of activities, so that their count comes out exactly however many
    steps each has; a heap holds the steps of later times. Steps after `last` are dropped: the sample ends in the middle
    of activities, and none starts in its last seconds.
    """
    waiting: list[tuple[int, int, TimelineStep]] = []
    made = {name: 0 for name, _ in SHARES}
    planned = 0
    begins = last - first - min(LAST_BEGIN, (last - first) // 4)
    while planned < count - 1:
        begin = first + begins * planned // count
        begin -= begin % SECOND % 1_000_000
        while waiting and waiting[0][0] < begin:
            yield heapq.heappop(waiting)[2]
        steps = _activity(machines, words, made=made, now=max(begin, first)).steps
        for step in steps[: count - 1 - planned]:
            if step.at >= last:
                break
            heapq.heappush(waiting, (step.at, planned, step))
            stream = step.stream if step.stream in made else "other"
            made[stream] += 1
            planned += 1
    while waiting:
        yield heapq.heappop(waiting)[2]
    line = Timeline(machines[0], words, now=last)
    line.now = last
    line.file(
        machines[0].services["journald"], "modification", path=words.text("/var/log/journal/<hex>/system.journal")
    )
    yield from line.steps


def _activity(machines: tuple[Machine, ...], words: Words, *, made: dict[str, int], now: int) -> Timeline:
    """An activity of the kind that is furthest below its share, on a random machine."""
    rng = words.rng
    total = sum(made.values()) + 1
    kind = max(SHARES, key=lambda share: share[1] * total - made[share[0]])[0]
    on_linux = kind != "other" and rng.random() < LINUX_SHARE
    machine = rng.choice(machines)
    while machine.host.linux != on_linux:
        machine = rng.choice(machines)
    source = linux_activity if on_linux else windows_activity
    choices = {
        "process": source.PROCESS_ACTIVITIES,
        "network": source.NETWORK_ACTIVITIES,
        "file": source.FILE_ACTIVITIES,
        "other": windows_activity.OTHER_ACTIVITIES,
    }
    line = Timeline(machine, words, now=now)
    line.wait(0, 900_000)
    rng.choice(choices[kind])(line)
    return line


def _document(step: TimelineStep | SampleIndicator, last: int) -> dict[str, Any]:
    """The document of a step: the sections of every document, and its own."""
    if isinstance(step, SampleIndicator):
        return step.document
    machine = step.machine
    machine.sequence += 1
    sections = machine.host.sections
    stamp = machine.stamp(step.at)
    received = step.at + (1 + machine.sequence % 7) * SECOND
    dataset = f"endpoint.events.{step.stream}"
    document = {
        "@timestamp": stamp,
        "agent": sections["agent"],
        "data_stream": {"dataset": dataset, "namespace": "default", "type": "logs"},
        "ecs": ECS,
        "elastic": sections["elastic"],
        "event": {
            "action": step.action,
            "agent_id_status": "verified",
            "category": step.category,
            "created": stamp,
            "dataset": dataset,
            "id": step.event_id,
            "ingested": time_text(received, -1) if received < last else time_text(last, 6),
            "kind": "event",
            "module": "endpoint",
            "outcome": "unknown",
            "sequence": machine.sequence,
            "type": step.types,
        },
        "host": sections["host"],
        "message": step.message,
        "user": step.user.section,
    }
    if step.user.group is not None:
        document["group"] = step.user.group
    document.update(step.sections)
    return document
