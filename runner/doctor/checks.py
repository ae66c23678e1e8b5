"""`Check`: one thing that was looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from runner.errors import AccessError, RunnerError
from runner.rules.rule import Rule

CheckResult = Literal["ok", "warning", "problem"]

SETUP_SHOWN = "`rule-runner setup --print` shows the smallest roles"


@dataclass(frozen=True, slots=True)
class RuleName:
    """A rule by its signature id and its name."""

    rule_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check. `ok` needs nothing, a `warning` may cost alerts, a `problem` does."""

    name: str
    """What was looked at: `host`, `privilege`, `index`; see docs/access.md."""
    subject: str
    """Which one: an address, an index pattern, a field."""
    outcome: CheckResult
    found: str
    remedy: str = ""
    rules: tuple[RuleName, ...] = ()
    """The rules that it concerns, where it does not concern all."""


def ok(name: str, subject: str, found: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name, subject, "ok", found)


def names_of(rules: Iterable[Rule]) -> tuple[RuleName, ...]:
    """The names of rules, in order."""
    return tuple(
        RuleName(rule.rule_id, rule.name) for rule in sorted(rules, key=lambda rule: (rule.name, rule.rule_id))
    )


async def guarded(name: str, subject: str, look: Awaitable[Sequence[Check]]) -> list[Check]:
    """What a check finds; if it can not be done, that is what it found. So none stops another.

    What may not be looked at is no more than a warning: the missing privilege is a check of its own.
    """
    try:
        return list(await look)
    except AccessError as error:
        return [Check(name, subject, "warning", f"could not be looked at: {error}", "grant what is missing")]
    except RunnerError as error:
        return [Check(name, subject, "problem", str(error))]


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 rule`, `2 rules`, `2 indices`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def spoken(span: timedelta) -> str:
    """A length of time for people, in its two largest units.

    >>> spoken(timedelta(minutes=9)), spoken(timedelta(days=3, hours=2, seconds=1)), spoken(timedelta(seconds=1.25))
    ('9 m', '3 d 2 h', '1.2 s')
    """
    seconds = abs(span.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts = [(whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    while parts and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)
