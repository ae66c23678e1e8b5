"""The process chains of an alert as one tree, with what these processes started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from runner.triage.process_chain import ProcessStep
from runner.web.host_events import HostEvent

_MOST: Final = 100
"""Processes that are added to a tree."""


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


def with_children(roots: Sequence[ProcessNode], events: Iterable[HostEvent]) -> bool:
    """Add to the tree the processes that those of the match, or one of these, have started by the events, oldest first.

    Returns whether all were added: so many are none of a tree that anybody reads.
    """
    known = {node.step.entity_id: node for node in _every(roots) if node.step.entity_id}
    starters = {id_ for id_, node in known.items() if node.step.in_match}
    added: set[str] = set()
    for event in events:
        if not event.entity_id or "process" not in event.category:
            continue
        if event.entity_id not in known and event.parent_id in starters | added:
            if len(added) == _MOST:
                return False
            added.add(event.entity_id)
            known[event.entity_id] = ProcessNode(ProcessStep(event.entity_id, found=True))
            known[event.parent_id].children.append(known[event.entity_id])
        if event.entity_id in added and "end" not in event.action.split(", ")[:1]:  # an exec overrides its fork
            node = known[event.entity_id]
            pid = int(event.pid) if event.pid.isdecimal() else None
            node.step = replace(node.step, name=event.process, pid=pid, command_line=event.about, user=event.user)
    return True


def _every(nodes: Iterable[ProcessNode]) -> Iterator[ProcessNode]:
    for node in nodes:
        yield node
        yield from _every(node.children)


def _is_same(one: ProcessStep, other: ProcessStep) -> bool:
    if one.entity_id or other.entity_id:
        return one.entity_id == other.entity_id
    return (one.pid, one.executable or one.name) == (other.pid, other.executable or other.name)
