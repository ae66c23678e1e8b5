"""The process chains of an alert as one tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runner.triage.process_chain import ProcessStep


@dataclass(slots=True)
class ProcessNode:
    """A process with those that it has started."""

    step: ProcessStep
    children: list[ProcessNode] = field(default_factory=list)


def process_tree(chains: Iterable[Sequence[ProcessStep]]) -> list[ProcessNode]:
    """The chains, each from the oldest ancestor down, with what they have in common once."""
    roots: list[ProcessNode] = []
    for chain in chains:
        level = roots
        for step in chain:
            node = next((one for one in level if _is_same(one.step, step)), None)
            if node is None:
                node = ProcessNode(step)
                level.append(node)
            level = node.children
    return roots


def _is_same(one: ProcessStep, other: ProcessStep) -> bool:
    if one.entity_id or other.entity_id:
        return one.entity_id == other.entity_id
    return (one.pid, one.executable or one.name) == (other.pid, other.executable or other.name)
