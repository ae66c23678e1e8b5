"""The processes that an alert's events tell of, from the oldest ancestor down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from runner.alerts.event_fields import text_at, value_at, values_at

_LEADERS: Final = ("group_leader", "session_leader", "entry_leader")


@dataclass(frozen=True, slots=True)
class ProcessStep:
    """One process as far as the events describe it; of an ancestor often no more than its entity id is known."""

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
    """`group_leader`, `session_leader`, `entry_leader` where another process of the alert names it so."""
    in_match: bool = False
    """Whether an event of the match is this process's own."""

    @property
    def is_described(self) -> bool:
        """Whether more than its id is known."""
        return bool(self.name or self.executable or self.args or self.command_line)


def process_chains(documents: Sequence[Mapping[str, Any]]) -> tuple[tuple[ProcessStep, ...], ...]:
    """The chains of processes of the events in order, each from the oldest known ancestor down to an event's process.

    One chain where all processes stand in one line, as parent and child do; one for each line otherwise. Leaders that
    are in no chain come first, as chains of their own.
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
    """The process of an event, its parent, and the ancestors whose ids are known; nearest first."""
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
    known = ancestry[ancestry.index(parent.entity_id) + 1 :] if parent.entity_id in ancestry else []
    if not known and (grandparent := _step(document, "process.parent.parent")):
        yield grandparent
    yield from (ProcessStep(entity_id=entity_id) for entity_id in known)


def _leaders(document: Mapping[str, Any]) -> Iterator[ProcessStep]:
    for role in _LEADERS:
        step = _step(document, f"process.{role}")
        if step is not None:
            yield replace(step, roles=(role,))


def _step(document: Mapping[str, Any], path: str) -> ProcessStep | None:
    """The process described at `path`, or None if neither its id, its pid nor its name is there."""
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
    """Note a process under its id, adding to what was known of it: an exec has the last word over its fork."""
    key = step.entity_id or f"{step.pid}/{step.executable or step.name}"
    before = steps.get(key)
    steps[key] = step if before is None else _merged(before, step)
    return key


def _merged(before: ProcessStep, after: ProcessStep) -> ProcessStep:
    """What both know. An event of the process's own, or the newer of two equal sources, wins."""
    first, second = (after, before) if after.in_match or not before.in_match else (before, after)
    return ProcessStep(
        entity_id=first.entity_id or second.entity_id,
        pid=first.pid if first.pid is not None else second.pid,
        name=first.name or second.name,
        executable=first.executable or second.executable,
        args=first.args or second.args,
        command_line=first.command_line or second.command_line,
        working_directory=first.working_directory or second.working_directory,
        user=first.user or second.user,
        start=first.start or second.start,
        hashes=first.hashes or second.hashes,
        roles=tuple(dict.fromkeys((*before.roles, *after.roles))),
        in_match=first.in_match or second.in_match,
    )


def _ancestry(leaf: str, parent_of: Mapping[str, str]) -> tuple[str, ...]:
    """The keys from the oldest ancestor down to `leaf`; a ring, as broken data may have, is cut."""
    line = [leaf]
    while (parent := parent_of.get(line[-1])) is not None and parent not in line:
        line.append(parent)
    return tuple(reversed(line))


def _inner(own: Sequence[str], parent_of: Mapping[str, str]) -> set[str]:
    """The processes of the match that are ancestors of another one of it."""
    return {key for leaf in own for key in _ancestry(leaf, parent_of)[:-1]}
