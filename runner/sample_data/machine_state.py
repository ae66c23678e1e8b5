"""The state of a running host: its counters of process and event ids, its services and open sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import md5, sha1, sha256
from random import Random

from runner.sample_data.fleet import SampleHost, Section
from runner.sample_data.processes import Process, SampleProgram, User, entity_id_for, linux_user, windows_user
from runner.sample_data.services import HostService, services

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
SCRAMBLE = 1_540_483_477  # odd, so that multiplying by it modulo a power of two maps no two numbers to one
ID_BITS = 42
PEOPLE = ("amara", "bjorn", "chen", "dalia", "emeka", "fatima", "goran", "hanna", "ivan", "jun", "keiko", "lars")
SECOND = 1_000_000_000


class Machine:
    """A running host; its documents share the sections of the host, its process and event ids are unique."""

    def __init__(self, host: SampleHost, rng: Random, *, start: int) -> None:
        self.host = host
        booted = start - rng.randrange(3_600, 40 * 86_400) * SECOND
        self.resolution: int = 10 ** (9 - host.digits)
        """Nanoseconds between two times that the agent distinguishes."""
        self._pid = rng.randrange(2_000, 90_000) * 4
        self._events = rng.randrange(1 << 20)
        self._id_prefix = "".join(rng.choice(ALPHABET) for _ in range(16))
        self._hashes: dict[str, Section] = {}
        self.sequence = rng.randrange(10_000, 900_000)
        self.services: dict[str, Process] = {}
        first = rng.randrange(len(PEOPLE))
        self.people = tuple(_person(host, (first + index) % len(PEOPLE)) for index in range(3))
        self.system = linux_user("root", 0) if host.linux else windows_user("NT AUTHORITY", "SYSTEM", sid="S-1-5-18")
        self.sessions: list[Process] = []
        self._boot(rng, at=booted)

    def next_pid(self) -> int:
        """A process id that was never used on this machine."""
        self._pid += 1 if self.host.linux else 4
        return self._pid

    def next_event_id(self) -> str:
        """An event id that was never used on this machine, in the form of the agent's."""
        self._events += 1
        bits = self._events * SCRAMBLE % (1 << ID_BITS)
        digits = "".join(ALPHABET[bits >> shift & 63] for shift in range(0, ID_BITS, 6))
        return f"{self._id_prefix}+{digits}"

    def hashes_for(self, executable: str) -> Section:
        """The hashes of a program file; hosts with the same image have the same file."""
        hashes = self._hashes.get(executable)
        if hashes is None:
            content = f"{self.host.image.variant} {self.host.image.version} {executable}".encode()
            hashes = {
                "md5": md5(content, usedforsecurity=False).hexdigest(),
                "sha1": sha1(content, usedforsecurity=False).hexdigest(),
                "sha256": sha256(content).hexdigest(),
            }
            self._hashes[executable] = hashes
        return hashes

    def stamp(self, at: int) -> str:
        """A time (nanoseconds since 1970) as the agent of this host writes it."""
        return time_text(at, self.host.digits)

    def begin(
        self, program: SampleProgram, user: User, *, at: int, parent: Process | None, pid: int | None = None
    ) -> Process:
        """A new process of this machine: a child of `parent`, in its group, session and container."""
        pid = self.next_pid() if pid is None else pid
        linux = self.host.linux
        entity_id = entity_id_for(self.host.agent_id, pid, seconds=at // SECOND, linux=linux)
        started = self.stamp(at)
        return Process(program, user, pid=pid, entity_id=entity_id, started=started, linux=linux, parent=parent)

    def _boot(self, rng: Random, *, at: int) -> None:
        linux = self.host.linux
        program = SampleProgram("/usr/lib/systemd/systemd", ("/sbin/init",))
        if not linux:
            program = SampleProgram("C:\\Windows\\System32\\services.exe", ("C:\\Windows\\system32\\services.exe",))
        pid = 1 if linux else rng.randrange(150, 220) * 4
        first = self.services["init"] = self.begin(program, self.system, at=at, parent=None, pid=pid)
        pid = 300 if linux else 900
        for service in services(self.host.image.type):
            if service.roles and self.host.role not in service.roles:
                continue
            at += rng.randrange(50, 900) * 1_000_000
            pid += rng.randrange(3, 60) * (1 if linux else 4)
            self.services[service.key] = self._service(service, first, at=at, pid=pid)
        for person in self.people[:2]:
            self.sessions.append(self._session(rng, person, at=at))

    def _service(self, service: HostService, first: Process, *, at: int, pid: int) -> Process:
        host = self.host
        executable, *args = (
            part.replace("<python>", host.image.python).replace("<cron>", host.image.cron)
            for part in (service.program.executable, *service.program.args)
        )
        user = self.system
        if service.account is not None:
            name, number = service.account
            if host.linux:
                user = linux_user(host.image.web_user if name == "web" else name, number)
            else:
                user = windows_user("NT AUTHORITY", name, sid=f"S-1-5-{number}")
        process = self.begin(SampleProgram(executable, tuple(args)), user, at=at, parent=first, pid=pid)
        process.lead(entry={"type": "init"} if host.linux else None)
        return process

    def _session(self, rng: Random, person: User, *, at: int) -> Process:
        since = at + rng.randrange(600, 3_000) * SECOND
        if not self.host.linux:
            program = SampleProgram("C:\\Windows\\explorer.exe", ("C:\\Windows\\Explorer.EXE",))
            return self.begin(program, person, at=since, parent=self.services["init"])
        process = self.begin(SampleProgram("/usr/bin/bash", ("-bash",)), person, at=since, parent=self.services["sshd"])
        origin = f"10.30.{rng.randrange(1, 40)}.{rng.randrange(2, 250)}"
        process.interactive = True
        process.lead(entry={"source": {"ip": origin}, "type": "sshd"}, directory=f"/home/{person.name}")
        return process


def time_text(at: int, digits: int) -> str:
    """Nanoseconds since 1970 as ISO text in UTC with `digits` decimals of a second."""
    seconds, nanoseconds = divmod(at, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{nanoseconds:09d}"[: 20 + digits] + "Z"


def _person(host: SampleHost, index: int) -> User:
    name = PEOPLE[index]
    if host.linux:
        return linux_user(name, 1000 + index)
    return windows_user("EXAMPLE", name, sid=f"S-1-5-21-3457937927-2839227994-823803824-{1100 + index}")
