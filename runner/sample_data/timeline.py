"""The steps of one activity on one machine, each of which becomes a document."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from runner.sample_data.addresses import Endpoint
from runner.sample_data.command_lines import Words
from runner.sample_data.document_sections import (
    connection_sections,
    file_section,
    linux_process_section,
    windows_process_section,
)
from runner.sample_data.fleet import Section
from runner.sample_data.machine_state import Machine
from runner.sample_data.processes import Process, SampleProgram, User

MILLISECOND = 1_000_000
Actions = str | list[str]


class TimelineStep(NamedTuple):
    """An event, complete but for its `event.sequence`, which is given when its document is made."""

    at: int
    """Nanoseconds since 1970, in the resolution of the host's agent."""
    machine: Machine
    event_id: str
    stream: str
    """The part of the data set's name after `endpoint.events.`."""
    category: list[str]
    action: Actions
    types: list[str]
    message: str
    user: User
    sections: Section
    """The sections that not every document has."""


class SampleIndicator(NamedTuple):
    """A document of an indicator, which a rule of type threat_match compares events with."""

    at: int
    document: Section


class Timeline:
    """Steps on one machine in the order of time; `now` is the time of the next one, in nanoseconds since 1970.

    A method that adds a step returns the id of its event, or the process that it started.
    """

    def __init__(self, machine: Machine, words: Words, *, now: int) -> None:
        self.machine = machine
        self.words = words
        self.rng: Random = words.rng
        self.steps: list[TimelineStep] = []
        self.now: int = now - now % MILLISECOND

    @property
    def last_id(self) -> str:
        """The event id of the last step."""
        return self.steps[-1].event_id

    def wait(self, low: int, high: int) -> None:
        """Advance the time by between `low` and `high` microseconds."""
        passed = self.rng.randrange(low * 1_000, high * 1_000)
        self.now += passed - (self.now + passed) % self.machine.resolution

    def fork(self, parent: Process) -> Process:
        """A child that still runs its parent's program."""
        child = self._child(parent)
        self.add_process(child, "fork", types=["start"])
        return child

    def execute(self, process: Process, program: SampleProgram, *, user: User | None = None) -> str:
        """The process runs another program, as `user` if that is given."""
        process.run(program)
        if user is not None:
            process.user = user
        if process.interactive and process.session_leader is not process:
            process.group_leader = process
        return self.add_process(process, "exec", types=["start"])

    def spawn(self, parent: Process, program: SampleProgram) -> Process:
        """A child that runs another program at once, without a fork that an agent would see (`posix_spawn`)."""
        child = self._child(parent)
        self.execute(child, program)
        return child

    def run(self, parent: Process, program: SampleProgram, *, user: User | None = None) -> Process:
        """A child that forks, and executes the program a moment later."""
        child = self.fork(parent)
        self.wait(150, 4_000)
        self.execute(child, program, user=user)
        return child

    def start(self, parent: Process, program: SampleProgram, *, user: User | None = None) -> Process:
        """A new process on Windows, where there is no fork."""
        child = self._child(parent)
        child.program = program
        child.user = user or child.user
        self.add_process(child, "start", types=["start"])
        return child

    def end(self, process: Process, code: int = 0) -> str:
        """The process ends."""
        return self.add_process(process, "end", types=["end"], exit_code=code)

    def whole_life(self, parent: Process, program: SampleProgram) -> Process:
        """A short process, reported in one document after its end."""
        child = self._child(parent)
        child.run(program)
        self.wait(2_000, 60_000)
        self.add_process(child, ["fork", "exec", "end"], types=["start", "end"], exit_code=0)
        return child

    def add_process(
        self, process: Process, action: Actions, *, types: list[str], exit_code: int | None = None, lacking: str = ""
    ) -> str:
        """A process event; `lacking` is a field left out of `process.parent`."""
        write = linux_process_section if self.machine.host.linux else windows_process_section
        section = write(self.machine, process, rng=self.rng)
        if action in ("fork", "start"):
            section.pop("previous", None)
        if exit_code is not None:
            section["exit_code"] = exit_code
            section["end"] = self.machine.stamp(self.now)
        if lacking:
            section["parent"] = {key: value for key, value in section["parent"].items() if key != lacking}
        sections: Section = {"process": section}
        if process.container is not None:
            sections.update(process.container)
        return self.add(process, "process", action=action, types=types, sections=sections)

    def connect(self, process: Process, to: Endpoint) -> str:
        """The process opens a connection."""
        return self.add_connection(process, "connection_attempted", types=["start"], remote=to)

    def accept(self, process: Process, origin: Endpoint) -> str:
        """The process takes a connection on its port `origin.local_port`."""
        return self.add_connection(process, "connection_accepted", types=["start"], remote=origin)

    def exchange(self, process: Process, remote: Endpoint, low: int, high: int) -> None:
        """The process opens a connection that ends after between `low` and `high` microseconds."""
        self.connect(process, remote)
        self.wait(low, high)
        self.disconnect(process, remote)

    def disconnect(self, process: Process, remote: Endpoint) -> str:
        """A connection of the process ends."""
        return self.add_connection(process, "disconnect_received", types=["end"], remote=remote)

    def add_connection(
        self,
        process: Process,
        action: Actions,
        *,
        types: list[str],
        remote: Endpoint,
        without_destination: bool = False,
    ) -> str:
        """A network event of the process with `remote`."""
        sections = connection_sections(self.machine.host, remote, action=action, rng=self.rng)
        if without_destination:
            del sections["destination"]
        sections["process"] = self._brief(process)
        return self.add(process, "network", action=action, types=types, sections=sections)

    def look_up(self, process: Process, remote: Endpoint) -> str:
        """The process resolves a name."""
        sections: Section = {
            "dns": {"question": {"name": remote.name, "type": "A"}, "resolved_ip": [remote.address]},
            "network": {"protocol": "dns", "transport": "udp"},
            "process": self._brief(process),
        }
        return self.add(process, "network", action="lookup_result", types=["protocol", "info"], sections=sections)

    def file(self, process: Process, action: str, *, path: str, original: str = "") -> str:
        """A file event: `creation`, `modification`, `rename` (from `original`), `overwrite` or `deletion`."""
        types = {"creation": "creation", "deletion": "deletion"}.get(action, "change")
        section = file_section(self.machine.host, path, original=original, rng=self.rng)
        return self.add(
            process, "file", action=action, types=[types], sections={"file": section, "process": self._brief(process)}
        )

    def add(self, process: Process, stream: str, *, action: Actions, types: list[str], sections: Section) -> str:
        """An event of any kind, at `now`."""
        event_id = self.machine.next_event_id()
        category = ["authentication", "session"] if stream == "security" else [stream]
        message = "Endpoint DLL load event" if stream == "library" else f"Endpoint {stream} event"
        at = self.now - self.now % self.machine.resolution
        self.steps.append(
            TimelineStep(at, self.machine, event_id, stream, category, action, types, message, process.user, sections)
        )
        return event_id

    def _child(self, parent: Process) -> Process:
        at = self.now - self.now % self.machine.resolution
        return self.machine.begin(parent.program, parent.user, at=at, parent=parent)

    def _brief(self, process: Process) -> Section:
        section = process.brief
        return section if process.linux else {**section, "thread": {"id": self.rng.randrange(250, 4_000) * 4}}
