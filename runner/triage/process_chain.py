"""The process chains of an alert's events, from the oldest ancestor down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Final

from runner.alerts.event_fields import text_at, value_at, values_at
from runner.triage.details.meanings import sid_name
from runner.triage.details.signatures import signature_at

_LEADERS: Final = ("group_leader", "session_leader", "entry_leader")
_FIRST: Final = (0, 1, 4)
"""Process ids of the kernel and of init; System of Windows."""
_INTEGRITY: Final = (
    "process.Ext.token.integrity_level_name", "winlog.event_data.IntegrityLevel", "winlog.event_data.MandatoryLabel",
)  # fmt: skip


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
    signature: str = ""
    """Of the executable, with whether it is trusted."""
    integrity: str = ""
    """The integrity level on Windows."""
    host: str = ""
    found: bool = False
    """Whether it is known from an event that was looked up, and from none of the match."""

    @property
    def is_described(self) -> bool:
        """Whether more than its id is known."""
        return bool(self.name or self.executable or self.args or self.command_line)

    @property
    def is_unknown(self) -> bool:
        """Whether nothing describes it, and it is not the first process of its system either."""
        return not self.is_described and (bool(self.entity_id) or self.pid not in _FIRST)


@dataclass(slots=True)
class _Steps:
    """The processes that were seen, by key: the entity id or, without one, host, pid and executable."""

    by_key: dict[str, ProcessStep] = field(default_factory=dict)
    by_entity: dict[str, str] = field(default_factory=dict)
    by_pid: dict[tuple[str, int | None], list[str]] = field(default_factory=dict)
    """Keys of the processes of a host with this pid, in the order of the events."""

    def add(self, step: ProcessStep) -> str:
        """Add a process, merged with what is known of it (an exec overrides its fork), and return its key."""
        key = self._key(step)
        before = self.by_key.get(key)
        self.by_key[key] = step if before is None else _merged(before, step)
        if step.pid is not None:
            keys = self.by_pid.setdefault((step.host, step.pid), [])
            if key not in keys:
                keys.append(key)
        return key

    def _key(self, step: ProcessStep) -> str:
        if step.entity_id in self.by_entity:
            return self.by_entity[step.entity_id]
        known = self._of_pid(step) if step.pid is not None else ""
        key = known or step.entity_id or f"{step.host}/{step.pid}/{(step.executable or step.name).casefold()}"
        if step.entity_id:
            self.by_entity[step.entity_id] = key
        return key

    def _of_pid(self, step: ProcessStep) -> str:
        """The key of the newest process with that pid which may be the same; an older one has ended."""
        for key in reversed(self.by_pid.get((step.host, step.pid), ())):
            known = self.by_key[key]
            if not (step.entity_id and known.entity_id) and _may_be_same(known, step):
                return key
        return ""


def process_chains(
    documents: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]] = ()
) -> tuple[tuple[ProcessStep, ...], ...]:
    """The process chains in the order of the events, each from the oldest known ancestor down to an event's process.

    Processes that are ancestors and descendants of each other share a chain. Leaders that are in no chain come first,
    as chains of their own. `found` are events about ancestors that were looked up. A process without an entity id is
    known by host, pid and, as pids are used again, executable.
    """
    steps = _Steps()
    parent_of: dict[str, str] = {}
    own: list[str] = []
    events = [*((True, document) for document in documents), *((False, document) for document in found)]
    for is_own, document in events:
        line = [steps.add(step) for step in _line(document, is_own=is_own)]
        for child, parent in pairwise(line):
            if child != parent:
                parent_of.setdefault(child, parent)
        for step in _leaders(document) if is_own else ():
            steps.add(step)
        if is_own and line and line[0] not in own:
            own.append(line[0])
    chains = [_ancestry(leaf, parent_of) for leaf in own if leaf not in _inner(own, parent_of)]
    shown = {key for chain in chains for key in chain}
    leaders = [(key,) for key, step in steps.by_key.items() if key not in shown and step.roles]
    return tuple(tuple(steps.by_key[key] for key in chain) for chain in (*leaders, *chains))


def _line(document: Mapping[str, Any], *, is_own: bool) -> Iterator[ProcessStep]:
    """The process of an event, its parent and its known ancestors, nearest first."""
    host = host_key(document)
    process = _step(document, "process", host)
    if process is None:
        return
    user = process.user or user_text(document)
    integrity = next(filter(None, (text_at(document, name) for name in _INTEGRITY)), "")
    integrity = sid_name(integrity) or integrity
    yield replace(process, in_match=is_own, found=not is_own, user=user, integrity=integrity)
    ancestry = [str(value) for value in values_at(document, "process.Ext.ancestry")]
    parent = _step(document, "process.parent", host)
    if parent is None and ancestry:
        parent = ProcessStep(entity_id=ancestry[0], host=host)
    if parent is None:
        return
    if not parent.entity_id and ancestry:
        parent = replace(parent, entity_id=ancestry[0])
    yield replace(parent, found=parent.is_described and not is_own)
    ancestors = ancestry[ancestry.index(parent.entity_id) + 1 :] if parent.entity_id in ancestry else []
    if not ancestors and (grandparent := _step(document, "process.parent.parent", host)):
        yield replace(grandparent, found=grandparent.is_described and not is_own)
    yield from (ProcessStep(entity_id=entity_id, host=host) for entity_id in ancestors)


def host_key(document: Mapping[str, Any]) -> str:
    """What tells an event's host from others: its id, else its name."""
    return text_at(document, "host.id") or text_at(document, "host.name") or text_at(document, "host.hostname")


def user_text(document: Mapping[str, Any]) -> str:
    """The event's user as `domain\\name`, without a domain its name alone; "" without a user."""
    name, domain = value_at(document, "user.name"), text_at(document, "user.domain")
    if not isinstance(name, str) or not name:
        return ""
    return f"{domain}\\{name}" if domain and "\\" not in name and "@" not in name else name


def _leaders(document: Mapping[str, Any]) -> Iterator[ProcessStep]:
    for role in _LEADERS:
        step = _step(document, f"process.{role}", host_key(document))
        if step is not None:
            yield replace(step, roles=(role,))


def _step(document: Mapping[str, Any], path: str, host: str) -> ProcessStep | None:
    """The process in the section at `path`; None if that has no entity id, pid or description."""
    hashes = value_at(document, f"{path}.hash")
    executable = text_at(document, f"{path}.executable")
    step = ProcessStep(
        entity_id=text_at(document, f"{path}.entity_id"),
        pid=pid_at(document, f"{path}.pid"),
        name=text_at(document, f"{path}.name") or file_name(executable),
        executable=executable,
        args=tuple(str(value) for value in values_at(document, f"{path}.args")),
        command_line=text_at(document, f"{path}.command_line"),
        working_directory=text_at(document, f"{path}.working_directory"),
        user=text_at(document, f"{path}.user.name"),
        start=text_at(document, f"{path}.start"),
        hashes=tuple((str(name), str(value)) for name, value in hashes.items()) if isinstance(hashes, Mapping) else (),
        signature=signature_at(document, path),
        host=host,
    )
    return step if step.entity_id or step.pid is not None or step.is_described else None


def pid_at(document: Mapping[str, Any], path: str) -> int | None:
    """The process id of a field, also from text and from Windows' hexadecimal one; None without a number.

    >>> pid_at({"process.pid": 7}, "process.pid"), pid_at({"process.pid": "0x1f4"}, "process.pid")
    (7, 500)
    """
    value = value_at(document, path)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(value, 16 if value[:2].lower() == "0x" else 10) if isinstance(value, str) else None
    except ValueError:
        return None


def file_name(path: str) -> str:
    r"""The last part of a path of Windows or of another system.

    >>> file_name("C:\\Windows\\cmd.exe"), file_name("/usr/bin/bash")
    ('cmd.exe', 'bash')
    """
    is_windows = path[1:3] == ":\\" or path.startswith("\\")
    return path.rpartition("\\" if is_windows else "/")[2]


def _may_be_same(one: ProcessStep, other: ProcessStep) -> bool:
    """Whether nothing speaks against two processes with one pid being the same: an executable, or a name, of both."""
    if one.executable and other.executable:
        return one.executable.casefold() == other.executable.casefold()
    return not one.name or not other.name or one.name.casefold() == other.name.casefold()


def _merged(before: ProcessStep, after: ProcessStep) -> ProcessStep:
    """One step from two of the same process: an event about it precedes other sources, then the newer one does."""
    first, second = (after, before) if after.in_match or not before.in_match else (before, after)
    merged: dict[str, Any] = {
        one.name: getattr(second, one.name) for one in fields(ProcessStep) if getattr(first, one.name) in (None, "", ())
    }
    merged["roles"] = tuple(dict.fromkeys((*before.roles, *after.roles)))
    merged["found"] = after.found if not before.is_described else before.found
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
