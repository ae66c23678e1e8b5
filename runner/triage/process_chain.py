"""The process chains of an alert's events, from the oldest ancestor down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Final

from runner.alerts.event_fields import text_at, value_at, values_at

_LEADERS: Final = ("group_leader", "session_leader", "entry_leader")


@dataclass(frozen=True, slots=True)
class ProcessStep:
    """One process as far as the events describe it; of an ancestor often only the entity id is known."""

    entity_id: str = ""
    pid: int | None = None
    name: str = ""
    executable: str = ""
    args: tuple[str, ...] = ()
    command_line: str = ""
    working_directory: str = ""
    user: str = ""
    start: str = ""
    hashes: tuple[tuple[str, str], ...] = ()
    """(algorithm, value), of the executable."""
    roles: tuple[str, ...] = ()
    """`group_leader`, `session_leader`, `entry_leader`, if it is that to another process of the alert."""
    in_match: bool = False
    """Whether an event of the match is about this process."""

    @property
    def is_described(self) -> bool:
        """Whether more than its id is known."""
        return bool(self.name or self.executable or self.args or self.command_line)


def process_chains(documents: Sequence[Mapping[str, Any]]) -> tuple[tuple[ProcessStep, ...], ...]:
    """The process chains in the order of the events, each from the oldest known ancestor down to an event's process.

    Processes that are ancestors and descendants of each other share a chain. Leaders that are in no chain come first,
    as chains of their own.
    """
    steps: dict[str, ProcessStep] = {}
    parent_of: dict[str, str] = {}
    own: list[str] = []
    for document in documents:
        line = [_add(steps, step) for step in _line(document)]
        parent_of.update((child, parent) for child, parent in pairwise(line) if child != parent)
        for step in _leaders(document):
            _add(steps, step)
        if line and line[0] not in own:
            own.append(line[0])
    chains = [_ancestry(leaf, parent_of) for leaf in own if leaf not in _inner(own, parent_of)]
    shown = {key for chain in chains for key in chain}
    leaders = [(key,) for key in steps if key not in shown and steps[key].roles]
    return tuple(tuple(steps[key] for key in chain) for chain in (*leaders, *chains))


def _line(document: Mapping[str, Any]) -> Iterator[ProcessStep]:
    """The process of an event, its parent and its known ancestors, nearest first."""
    process = _step(document, "process")
    if process is None:
        return
    user = value_at(document, "user.name")
    yield replace(process, in_match=True, user=process.user or (user if isinstance(user, str) else ""))
    ancestry = [str(value) for value in values_at(document, "process.Ext.ancestry")]
    parent = _step(document, "process.parent")
    if parent is None and ancestry:
        parent = ProcessStep(entity_id=ancestry[0])
    if parent is None:
        return
    if not parent.entity_id and ancestry:
        parent = replace(parent, entity_id=ancestry[0])
    yield parent
    ancestors = ancestry[ancestry.index(parent.entity_id) + 1 :] if parent.entity_id in ancestry else []
    if not ancestors and (grandparent := _step(document, "process.parent.parent")):
        yield grandparent
    yield from (ProcessStep(entity_id=entity_id) for entity_id in ancestors)


def _leaders(document: Mapping[str, Any]) -> Iterator[ProcessStep]:
    for role in _LEADERS:
        step = _step(document, f"process.{role}")
        if step is not None:
            yield replace(step, roles=(role,))


def _step(document: Mapping[str, Any], path: str) -> ProcessStep | None:
    """The process in the section at `path`; None if that has no entity id, pid or description."""
    pid = value_at(document, f"{path}.pid")
    hashes = value_at(document, f"{path}.hash")
    step = ProcessStep(
        entity_id=text_at(document, f"{path}.entity_id"),
        pid=pid if isinstance(pid, int) else None,
        name=text_at(document, f"{path}.name"),
        executable=text_at(document, f"{path}.executable"),
        args=tuple(str(value) for value in values_at(document, f"{path}.args")),
        command_line=text_at(document, f"{path}.command_line"),
        working_directory=text_at(document, f"{path}.working_directory"),
        user=text_at(document, f"{path}.user.name"),
        start=text_at(document, f"{path}.start"),
        hashes=tuple((str(name), str(value)) for name, value in hashes.items()) if isinstance(hashes, Mapping) else (),
    )
    return step if step.entity_id or step.pid is not None or step.is_described else None


def _add(steps: dict[str, ProcessStep], step: ProcessStep) -> str:
    """Add a process, merged with what is known of it (an exec overrides its fork), and return its key."""
    key = step.entity_id or f"{step.pid}/{step.executable or step.name}"
    before = steps.get(key)
    steps[key] = step if before is None else _merged(before, step)
    return key


def _merged(before: ProcessStep, after: ProcessStep) -> ProcessStep:
    """One step from two of the same process: an event about it precedes other sources, then the newer one does."""
    first, second = (after, before) if after.in_match or not before.in_match else (before, after)
    merged: dict[str, Any] = {
        field.name: getattr(second, field.name)
        for field in fields(ProcessStep)
        if getattr(first, field.name) in (None, "", ())
    }
    merged["roles"] = tuple(dict.fromkeys((*before.roles, *after.roles)))
    return replace(first, **merged)


def _ancestry(leaf: str, parent_of: Mapping[str, str]) -> tuple[str, ...]:
    """The keys from the oldest ancestor down to `leaf`; a cycle in broken data is cut."""
    line = [leaf]
    while (parent := parent_of.get(line[-1])) is not None and parent not in line:
        line.append(parent)
    return tuple(reversed(line))


def _inner(own: Sequence[str], parent_of: Mapping[str, str]) -> set[str]:
    """The processes of the match that are ancestors of others of the match."""
    return {key for leaf in own for key in _ancestry(leaf, parent_of)[:-1]}
