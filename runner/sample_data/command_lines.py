"""The command lines of ordinary work: catalogues of programs, and the words that fill their placeholders.

A line of a catalogue is the program's file and its arguments, quoted as in a shell; `Words` fills `<word>` and the
like. No line may match the first stage of a rule in an activity that connects: `lookalikes.txt`, whose arguments
resemble those of a reverse shell, is for activities that open no connection.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from functools import cache
from random import Random

from runner.sample_data.catalogues import catalogue
from runner.sample_data.processes import SampleProgram

BUILD_FILES = ("main", "lexer", "parser", "alloc", "string", "hash", "net", "queue", "config", "log", "thread", "codec")
UNITS = ("nginx", "ssh", "cron", "postgresql", "docker", "redis-server", "elastic-agent", "app", "rsyslog", "chrony")
PEOPLE = ("amara", "bjorn", "chen", "dalia", "emeka", "fatima", "goran", "hanna", "deploy", "postgres", "www-data")
LOGS = ("syslog", "auth.log", "nginx/access.log", "nginx/error.log", "app/app.log", "postgresql/main.log", "dpkg.log")
TYPES = ("conf", "yml", "json", "txt", "py", "ini", "csv", "service", "env", "sql", "md", "sh")
PORTS = (22, 25, 80, 443, 3306, 5432, 6379, 8080, 8443, 9200)
FOLDERS = ("/etc", "/srv", "/opt", "/var/lib", "/home/deploy", "/usr/local/share", "/var/www")


def _word(rng: Random) -> str:
    return rng.choice(catalogue("words"))


def _folder(rng: Random) -> str:
    return f"{rng.choice(FOLDERS)}/{_word(rng)}"


FILLERS: Mapping[str, Callable[[Random], str]] = {
    "n": lambda rng: str(rng.randrange(10, 99_999)),
    "d": lambda rng: str(rng.randrange(1, 10)),
    "word": _word,
    "hex": lambda rng: f"{rng.getrandbits(48):012x}",
    "file": lambda rng: f"{_folder(rng)}/{_word(rng)}.{rng.choice(TYPES)}",
    "dir": _folder,
    "log": lambda rng: f"/var/log/{rng.choice(LOGS)}",
    "host": lambda rng: f"{_word(rng)}-{rng.randrange(1, 30):02d}.example.internal",
    "ip": lambda rng: f"10.40.{rng.randrange(1, 9)}.{rng.randrange(1, 250)}",
    "user": lambda rng: rng.choice(PEOPLE),
    "pkg": lambda rng: rng.choice(catalogue("packages")),
    "url": lambda rng: f"https://{_word(rng)}.example.internal/api/v{rng.randrange(1, 4)}/{_word(rng)}",
    "branch": lambda rng: f"feature/{_word(rng)}-{rng.randrange(100, 9_999)}",
    "unit": lambda rng: f"{rng.choice(UNITS)}.service",
    "port": lambda rng: str(rng.choice(PORTS)),
}
"""The text for a placeholder of each name."""
PLACEHOLDER = re.compile(f"<({'|'.join(FILLERS)})>")


class Words:
    """A source of random programs and words: picks lines of the catalogues and fills placeholders."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def tool(self) -> SampleProgram:
        """A program that opens no connection."""
        return self.fill(self.rng.choice(programs("tools")))

    def connecting_tool(self) -> SampleProgram:
        """A program that connects to another host."""
        return self.fill(self.rng.choice(programs("connecting_tools")))

    def lookalike(self) -> SampleProgram:
        """A program whose arguments resemble those of a reverse shell; it must not connect."""
        return self.fill(self.rng.choice(programs("lookalikes")))

    def program(self, text: str) -> SampleProgram:
        """The program of a catalogue line, with its placeholders filled in."""
        return self.fill(read_program(text))

    def fill(self, program: SampleProgram) -> SampleProgram:
        """The program with its placeholders filled in."""
        return SampleProgram(
            program.executable, tuple(self.text(part) if "<" in part else part for part in program.args)
        )

    def text(self, pattern: str) -> str:
        """The text with its placeholders filled in."""
        return PLACEHOLDER.sub(lambda found: FILLERS[found[1]](self.rng), pattern)

    def word(self) -> str:
        """The name of a component of some business."""
        return _word(self.rng)


@cache
def programs(name: str) -> tuple[SampleProgram, ...]:
    """The programs of the catalogue of that name."""
    return tuple(read_program(line) for line in catalogue(name))


def read_program(line: str) -> SampleProgram:
    """The program of a catalogue line."""
    executable, *args = shlex.split(line)
    return SampleProgram(executable, tuple(args))


def shell(executable: str, script: str) -> SampleProgram:
    """A shell that runs a one-line script, as `system()` starts it."""
    return SampleProgram(executable, ("sh", "-c", script))
