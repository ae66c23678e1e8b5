"""Processes as they run on a host: who started them, under which ids, and the `process` sections of their documents."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import md5
from typing import NamedTuple

from runner.sample_data.fleet import Section

ANCESTORS = 3
"""How many ancestors a document names; an agent's limit is higher, and most trees end before it."""


class SampleProgram(NamedTuple):
    """What a process runs: the file and its arguments."""

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
    brief_group: Section | None


def linux_user(name: str, number: int) -> User:
    """Return a Linux account whose group has the account's number."""
    user: Section = {"id": str(number), "name": name}
    belongs: Section = {"id": str(number), "name": name}
    return User(name, str(number), {"Ext": {"real": user}, **user}, belongs, user, belongs)


def windows_user(domain: str, name: str, *, sid: str) -> User:
    """Return a Windows account."""
    return User(name, sid, {"domain": domain, "id": sid, "name": name}, None, {"id": sid, "name": name}, None)


class Process:
    """A running process. It keeps its ids while it runs other programs one after the other.

    The leaders are the processes that began the group, the session and the entry into the host (a login, a service,
    a container); None stands for the process itself.
    """

    __slots__ = (
        "_as_leader", "_as_parent", "_brief", "ancestry", "container", "directory", "entity_id", "entry",
        "entry_leader", "group_leader", "interactive", "parent", "pid", "previous", "program", "session_leader",
        "started", "user",
    )  # fmt: skip

    def __init__(
        self,
        program: SampleProgram,
        user: User,
        *,
        pid: int,
        entity_id: str,
        started: str,
        parent: Process | None = None,
    ) -> None:
        self.program = program
        self.user = user
        self.pid = pid
        self.entity_id = entity_id
        self.started = started
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
        self._as_parent: Section | None = None
        self._as_leader: Section | None = None
        self._brief: Section | None = None

    def run(self, program: SampleProgram) -> None:
        """Replace the program, as `exec` does."""
        self.previous, self.program = self.program, program
        self._as_parent = self._as_leader = self._brief = None

    def lead(self, *, entry: Section | None = None, directory: str = "/") -> None:
        """Make the process the leader of its group and session, and of an entry into the host where one is given."""
        self.group_leader = self.session_leader = self
        self.directory = directory
        if entry is not None:
            self.entry_leader, self.entry = self, entry

    def as_parent(self) -> Section:
        """The section that a child's documents have as `process.parent`."""
        if self._as_parent is None:
            program = self.program
            self._as_parent = {
                "args": list(program.args),
                "args_count": len(program.args),
                "command_line": program.command_line,
                "entity_id": self.entity_id,
                "executable": program.executable,
                "interactive": self.interactive,
                "name": program.name,
                "pid": self.pid,
                "start": self.started,
            }
        return self._as_parent

    def as_leader(self) -> Section:
        """The section that the documents of a group, session or entry have for its leader."""
        if self._as_leader is None:
            program = self.program
            self._as_leader = {
                "entity_id": self.entity_id,
                "executable": program.executable,
                "interactive": self.interactive,
                "name": program.name,
                "pid": self.pid,
            }
        return self._as_leader

    def as_entry(self) -> Section:
        """The section that the documents of an entry have for its leader, with the kind of the entry."""
        section = {
            **self.as_leader(),
            "args": list(self.program.args),
            "args_count": len(self.program.args),
            "start": self.started,
        }
        if self.entry is not None:
            section["entry_meta"] = self.entry
        if self.parent is not None:
            section["parent"] = {"entity_id": self.parent.entity_id, "pid": self.parent.pid}
        return section

    def brief(self, *, linux: bool) -> Section:
        """The `process` section of what the process does to files and the network."""
        if self._brief is None:
            program = self.program
            section: Section = {
                "Ext": {"ancestry": self.ancestry},
                "entity_id": self.entity_id,
                "executable": program.executable,
                "name": program.name,
                "pid": self.pid,
            }
            if linux:
                section["command_line"] = program.command_line
                section["entry_leader"] = {"entity_id": self.entry_leader.entity_id}
                section["group_leader"] = {"entity_id": self.group_leader.entity_id}
                section["session_leader"] = {"entity_id": self.session_leader.entity_id}
            if self.parent is not None:
                section["parent"] = {"entity_id": self.parent.entity_id}
            self._brief = section
        return self._brief


def leader_section(leader: Process, process: Process) -> Section:
    """Return what a document of `process` says about its group's or session's leader; little if it is that."""
    if leader is process:
        return {"entity_id": leader.entity_id, "pid": leader.pid, "same_as_process": True}
    return leader.as_leader()


def entity_id_for(agent_id: str, pid: int, *, seconds: int, linux: bool) -> str:
    """Return the entity id that an agent gives a process: agent, process and start time, on Linux a digest."""
    content = f"{agent_id}-{pid}-{seconds}".encode()
    if linux:
        return b64encode(md5(content, usedforsecurity=False).digest()).decode()[:22]
    return b64encode(content).decode()
