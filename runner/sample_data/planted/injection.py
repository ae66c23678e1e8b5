"""Injection: attacks and near misses, each on random hosts at a time of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runner.sample_data.command_lines import Words
from runner.sample_data.machine_state import SECOND, Machine
from runner.sample_data.planted.attacks import CHILD_PROCESS_ATTACKS, REVERSE_SHELL_ATTACKS, Scene, gap_for
from runner.sample_data.planted.ground_truth import Planted, RuleId
from runner.sample_data.planted.near_misses import CHILD_PROCESS_NEAR_MISSES, REVERSE_SHELL_NEAR_MISSES
from runner.sample_data.timeline import Timeline, TimelineStep

MARGIN = 2 * SECOND
"""Nanoseconds at both ends of the span in which nothing is planted."""
LONGEST = 4 * SECOND
"""Nanoseconds; more than any planted item takes from its first event to its last."""


@dataclass(frozen=True, slots=True)
class Plants:
    """The planted steps and their ground truth, both in the order of time."""

    steps: tuple[TimelineStep, ...]
    truth: tuple[Planted, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One item to plant: the `turn`-th of its kind for its rule."""

    kind: Literal["attack", "near_miss"]
    rule: RuleId
    turn: int


def plant(
    machines: Sequence[Machine],
    words: Words,
    *,
    rules: Sequence[RuleId],
    attacks: int,
    near_misses: int,
    first: int,
    last: int,
) -> Plants:
    """`attacks` and `near_misses`, spread over the span; rules and variants take turns."""
    tasks = [Task("attack", rules[index % len(rules)], index // len(rules)) for index in range(attacks)]
    tasks += [Task("near_miss", rules[index % len(rules)], index // len(rules)) for index in range(near_misses)]
    words.rng.shuffle(tasks)
    begin = first + MARGIN + SECOND // 1_000
    room = last - MARGIN - LONGEST - begin
    steps: list[TimelineStep] = []
    truth: list[Planted] = []
    for index, task in enumerate(tasks):
        at = begin + room * index // len(tasks) + words.rng.randrange(room // len(tasks) + 1)
        scene = _scene(machines, words, at=at)
        truth.append(_play(task, scene))
        steps += scene.steps()
    steps.sort(key=lambda step: step.at)
    truth.sort(key=lambda item: item.at)
    return Plants(tuple(steps), tuple(truth))


def _scene(machines: Sequence[Machine], words: Words, *, at: int) -> Scene:
    linux = [machine for machine in machines if machine.host.linux]
    here = words.rng.choice(linux)
    elsewhere = words.rng.choice([machine for machine in linux if machine is not here])
    window = words.rng.choice([machine for machine in machines if not machine.host.linux])
    # A timeline starts at a full millisecond, whatever the host's resolution, so that gaps between hosts stay exact.
    lines = [Timeline(machine, words, now=at + SECOND // 1_000) for machine in (here, elsewhere, window)]
    return Scene(*lines)


def _play(task: Task, scene: Scene) -> Planted:
    shells = task.rule is RuleId.REVERSE_SHELL
    if task.kind == "attack":
        attacks = REVERSE_SHELL_ATTACKS if shells else CHILD_PROCESS_ATTACKS
        variant, attack = attacks[task.turn % len(attacks)]
        pair = attack(scene, gap_for(scene, task.turn, same_instant=shells))
    else:
        near_misses = REVERSE_SHELL_NEAR_MISSES if shells else CHILD_PROCESS_NEAR_MISSES
        variant, near_miss = near_misses[task.turn % len(near_misses)]
        pair = near_miss(scene)
    stages = {step.event_id: step for step in scene.steps()}
    first, second = stages[pair[0]], stages[pair[1]]
    host = first.machine.host.name
    return Planted(task.kind, task.rule, variant, host, pair, at=min(first.at, second.at), gap=second.at - first.at)
