"""The processes of a host: their ids, ancestors and accounts, and the `process` sections of their documents."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
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
        """Make the process the leader of its group and session, and of its entry into the host if `entry` is given."""
        self.group_leader = self.session_leader = self
        self.directory = directory
        if entry is not None:
            self.entry_leader, self.entry = self, entry

    def as_parent(self) -> Section:
        """The `process.parent` section in a child's documents."""
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
        """The section for the leader of a group or session in the documents of its members."""
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
        """The `process.entry_leader` section, with the kind of the entry."""
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
        """The `process` section of file and network events."""
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
    """The section for the leader of the group or session of `process`; only its ids if that is `process` itself."""
    if leader is process:
        return {"entity_id": leader.entity_id, "pid": leader.pid, "same_as_process": True}
    return leader.as_leader()


def entity_id_for(agent_id: str, pid: int, *, seconds: int, linux: bool) -> str:
    """The entity id that an agent gives a process: agent, process id and start time, on Linux hashed."""
    content = f"{agent_id}-{pid}-{seconds}".encode()
    if linux:
        return b64encode(md5(content, usedforsecurity=False).digest()).decode()[:22]
    return b64encode(content).decode()
