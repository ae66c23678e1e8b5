"""The processes of a host: their ids, ancestors and accounts, and the `process` sections of their documents."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5
from typing import NamedTuple

from runner.sample_data.fleet import Section

ANCESTORS = 3
"""Most ancestors in a document; an agent's limit is higher, but most trees end before it."""


class SampleProgram(NamedTuple):
    """The executable and the arguments of a process."""

    executable: str
    args: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.executable[max(self.executable.rfind("/"), self.executable.rfind("\\")) + 1 :]

    @property
    def command_line(self) -> str:
        """The arguments, divided by blanks."""
        return " ".join(self.args)


@dataclass(frozen=True, slots=True)
class User:
    """An account, with the sections that documents give it."""

    name: str
    id: str
    section: Section
    """The `user` of a document."""
    group: Section | None
    """The `group` of a document; Windows documents have none."""
    brief: Section
    """The user inside of a `process` section."""


def linux_user(name: str, uid: int) -> User:
    """A Linux account with a group of the same name and id."""
    user: Section = {"id": str(uid), "name": name}
    return User(name, str(uid), {"Ext": {"real": user}, **user}, dict(user), user)


def windows_user(domain: str, name: str, *, sid: str) -> User:
    """A Windows account."""
    return User(name, sid, {"domain": domain, "id": sid, "name": name}, None, {"id": sid, "name": name})


class Process:
    """A running process; its ids stay the same when it executes another program.

    The leaders are the first processes of its group, its session and its entry into the host (a login, a service, a
    container).
    """

    def __init__(
        self,
        program: SampleProgram,
        user: User,
        *,
        pid: int,
        entity_id: str,
        started: str,
        linux: bool,
        parent: Process | None = None,
    ) -> None:
        self.program = program
        self.user = user
        self.pid = pid
        self.entity_id = entity_id
        self.started = started
        self.linux = linux
        self.parent = parent
        self.previous: SampleProgram | None = None
        self.entry: Section | None = None
        self.directory: str = parent.directory if parent else "/"
        self.interactive: bool = parent.interactive if parent else False
        self.container: Section | None = parent.container if parent else None
        self.group_leader: Process = parent.group_leader if parent else self
        self.session_leader: Process = parent.session_leader if parent else self
        self.entry_leader: Process = parent.entry_leader if parent else self
        self.ancestry: list[str] = [parent.entity_id, *parent.ancestry][:ANCESTORS] if parent else []

    def run(self, program: SampleProgram) -> None:
        """Replace the program, as `exec` does."""
        self.previous, self.program = self.program, program
        for name in ("as_parent", "as_leader", "brief"):
            self.__dict__.pop(name, None)

    def lead(self, *, entry: Section | None = None, directory: str = "/") -> None:
        """Make the process the leader of its group and session, and of its entry into the host if `entry` is given."""
        self.group_leader = self.session_leader = self
        self.directory = directory
        if entry is not None:
            self.entry_leader, self.entry = self, entry

    @cached_property
    def as_parent(self) -> Section:
        """The `process.parent` section in a child's documents."""
        return {
            "args": list(self.program.args),
            "args_count": len(self.program.args),
            "command_line": self.program.command_line,
            "entity_id": self.entity_id,
            "executable": self.program.executable,
            "interactive": self.interactive,
            "name": self.program.name,
            "pid": self.pid,
            "start": self.started,
        }

    @cached_property
    def as_leader(self) -> Section:
        """The section for the leader of a group or session in the documents of its members."""
        return {
            "entity_id": self.entity_id,
            "executable": self.program.executable,
            "interactive": self.interactive,
            "name": self.program.name,
            "pid": self.pid,
        }

    def as_entry(self) -> Section:
        """The `process.entry_leader` section, with the kind of the entry."""
        section = {
            **self.as_leader,
            "args": list(self.program.args),
            "args_count": len(self.program.args),
            "start": self.started,
        }
        if self.entry is not None:
            section["entry_meta"] = self.entry
        if self.parent is not None:
            section["parent"] = {"entity_id": self.parent.entity_id, "pid": self.parent.pid}
        return section

    @cached_property
    def brief(self) -> Section:
        """The `process` section of file and network events."""
        section: Section = {
            "Ext": {"ancestry": self.ancestry},
            "entity_id": self.entity_id,
            "executable": self.program.executable,
            "name": self.program.name,
            "pid": self.pid,
        }
        if self.linux:
            section["command_line"] = self.program.command_line
            section["entry_leader"] = {"entity_id": self.entry_leader.entity_id}
            section["group_leader"] = {"entity_id": self.group_leader.entity_id}
            section["session_leader"] = {"entity_id": self.session_leader.entity_id}
        if self.parent is not None:
            section["parent"] = {"entity_id": self.parent.entity_id}
        return section


def leader_section(leader: Process, process: Process) -> Section:
    """The section for the leader of the group or session of `process`; only its ids if that is `process` itself."""
    if leader is process:
        return {"entity_id": leader.entity_id, "pid": leader.pid, "same_as_process": True}
    return leader.as_leader


def entity_id_for(agent_id: str, pid: int, *, seconds: int, linux: bool) -> str:
    """The entity id that an agent gives a process: agent, process id and start time, on Linux hashed."""
    content = f"{agent_id}-{pid}-{seconds}".encode()
    if linux:
        return b64encode(md5(content, usedforsecurity=False).digest()).decode()[:22]
    return b64encode(content).decode()
