"""The services that run on hosts from the start, by the role of the host."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from runner.sample_data.catalogues import catalogue
from runner.sample_data.processes import SampleProgram


class HostService(NamedTuple):
    """A service: the name by which activities find it, its program, its account and the hosts that have it."""

    key: str
    program: SampleProgram
    """`<python>` and `<cron>` stand for what the distribution has."""
    account: tuple[str, int] | None
    """Name and id; None: the system's account, `web`: the one that the distribution gives web servers."""
    roles: frozenset[str]
    """The roles of hosts that have it; empty: every host."""


@cache
def services(system: str) -> tuple[HostService, ...]:
    """The services of `linux` or `windows` hosts.

    A row of their catalogue has key, account or `-`, roles or `*`, executable, arguments; `~` is a blank inside of a
    part, `=` as the first argument repeats the executable.
    """
    return tuple(_read_service(line) for line in catalogue(f"{system}_services"))


def _read_service(line: str) -> HostService:
    key, account, roles, executable, *args = (part.replace("~", " ") for part in line.split())
    name, _, number = account.partition(":")
    if args[0] == "=":
        args[0] = executable
    return HostService(
        key,
        SampleProgram(executable, tuple(args)),
        (name, int(number)) if number else None,
        frozenset() if roles == "*" else frozenset(roles.split(",")),
    )
