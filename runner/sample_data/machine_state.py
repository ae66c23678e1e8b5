"""A host at work: its numbering of processes and events, the services and sessions that run from the start."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import md5, sha1, sha256
from random import Random

from runner.sample_data.fleet import SampleHost, Section
from runner.sample_data.processes import Process, SampleProgram, User, entity_id_for, linux_user, windows_user
from runner.sample_data.services import LINUX_SERVICES, WINDOWS_SERVICES, HostService

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
SCRAMBLE = 1_540_483_477  # odd, so that multiplying by it modulo a power of two maps no two numbers to one
ID_BITS = 42
PEOPLE = ("amara", "bjorn", "chen", "dalia", "emeka", "fatima", "goran", "hanna", "ivan", "jun", "keiko", "lars")
SECOND = 1_000_000_000


class Machine:
    """One running host. Its documents share the sections of the host, its processes get ids that no other has."""

    def __init__(self, host: SampleHost, rng: Random, *, start: int) -> None:
        self.host = host
        self.booted = start - rng.randrange(3_600, 40 * 86_400) * SECOND
        self.resolution: int = 10 ** (9 - host.digits)
        """Nanoseconds between two times that the agent tells apart."""
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
        self._boot(rng)

    def next_pid(self) -> int:
        """Return a process id that was never used on this machine."""
        self._pid += 1 if self.host.linux else 4
        return self._pid

    def next_event_id(self) -> str:
        """Return an event id that was never used on this machine, in the shape that agents give them."""
        self._events += 1
        number = self._events * SCRAMBLE % (1 << ID_BITS)
        digits = []
        for _ in range(ID_BITS // 6):
            number, digit = divmod(number, 64)
            digits.append(ALPHABET[digit])
        return f"{self._id_prefix}+{''.join(digits)}"

    def hashes_for(self, executable: str) -> Section:
        """Return the hashes of a program file; hosts with the same image have the same file."""
        known = self._hashes.get(executable)
        if known is None:
            content = f"{self.host.image.variant} {self.host.image.version} {executable}".encode()
            known = {
                "md5": md5(content, usedforsecurity=False).hexdigest(),
                "sha1": sha1(content, usedforsecurity=False).hexdigest(),
                "sha256": sha256(content).hexdigest(),
            }
            self._hashes[executable] = known
        return known

    def stamp(self, at: int) -> str:
        """Return a time (nanoseconds since 1970) as the agent of this host writes it."""
        return time_text(at, self.host.digits)

    def begin(
        self, program: SampleProgram, user: User, *, at: int, parent: Process | None, pid: int | None = None
    ) -> Process:
        """Return a new process of this machine; a child of `parent`, in its group, session and container."""
        number = self.next_pid() if pid is None else pid
        entity_id = entity_id_for(self.host.agent_id, number, seconds=at // SECOND, linux=self.host.linux)
        started = self.stamp(at)
        return Process(program, user, pid=number, entity_id=entity_id, started=started, parent=parent)

    def _boot(self, rng: Random) -> None:
        linux = self.host.linux
        at = self.booted
        if linux:
            first = self.begin(
                SampleProgram("/usr/lib/systemd/systemd", ("/sbin/init",)), self.system, at=at, parent=None, pid=1
            )
        else:
            image = SampleProgram("C:\\Windows\\System32\\services.exe", ("C:\\Windows\\system32\\services.exe",))
            first = self.begin(image, self.system, at=at, parent=None, pid=rng.randrange(150, 220) * 4)
        self.services["init"] = first
        pid = 300 if linux else 900
        for service in LINUX_SERVICES if linux else WINDOWS_SERVICES:
            if service.roles and self.host.role not in service.roles.split():
                continue
            at += rng.randrange(50, 900) * 1_000_000
            pid += rng.randrange(3, 60) * (1 if linux else 4)
            self.services[service.key] = self._service(service, first, at=at, pid=pid)
        for person in self.people[:2]:
            self.sessions.append(self._session(rng, person, at=at))

    def _service(self, service: HostService, first: Process, *, at: int, pid: int) -> Process:
        image = self.host.image
        command = SampleProgram(service.executable, service.args)
        if image.type == "linux":
            parts = (
                part.replace("<python>", image.python).replace("<cron>", image.cron)
                for part in (service.executable, *service.args)
            )
            executable, *args = parts
            command = SampleProgram(executable, tuple(args))
        user = self.system
        if service.user:
            name, number = service.user.replace("~", " ").rsplit(" ", 1)
            if not self.host.linux:
                user = windows_user("NT AUTHORITY", name, sid=f"S-1-5-{number}")
            else:
                user = linux_user(image.web_user if name == "web" else name, int(number))
        process = self.begin(command, user, at=at, parent=first, pid=pid)
        process.lead(entry={"type": "init"} if self.host.linux else None)
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
    """Return nanoseconds since 1970 as ISO text in UTC with so many decimals of a second."""
    seconds, rest = divmod(at, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:09d}"[: 20 + digits] + "Z"


def _person(host: SampleHost, number: int) -> User:
    name = PEOPLE[number]
    if host.linux:
        return linux_user(name, 1000 + number)
    return windows_user("EXAMPLE", name, sid=f"S-1-5-21-3457937927-2839227994-823803824-{1100 + number}")
