"""`Check`: the result of a check, with its remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar

from runner.errors import AccessError, RunnerError, WrongAnswerError
from runner.rules.rule import Rule

T = TypeVar("T")
CheckResult = Literal["ok", "warning", "problem"]

SETUP_SHOWN = "`rule-runner setup --print` shows the smallest roles"


@dataclass(frozen=True, slots=True)
class RuleName:
    """A rule by its signature id and its name."""

    rule_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check: `ok`, a `warning` that may cost alerts, or a `problem` that does."""

    name: str
    """The kind of check: `host`, `privilege`, `index`; see docs/access.md."""
    subject: str
    """The object that was checked: an address, an index pattern, a field."""
    outcome: CheckResult
    found: str
    remedy: str = ""
    rules: tuple[RuleName, ...] = ()
    """The rules concerned; empty: all."""


def ok(name: str, subject: str, found: str) -> Check:
    """A check without findings."""
    return Check(name, subject, "ok", found)


def names_of(rules: Iterable[Rule]) -> tuple[RuleName, ...]:
    """The names of rules, in order."""
    return tuple(
        RuleName(rule.rule_id, rule.name) for rule in sorted(rules, key=lambda rule: (rule.name, rule.rule_id))
    )


async def guarded(name: str, subject: str, check: Awaitable[Sequence[Check]]) -> list[Check]:
    """The results of a check, or its error as a result, so that it does not stop the others.

    A missing privilege is a warning only, since privileges have checks of their own.
    """
    try:
        return list(await check)
    except AccessError as error:
        return [Check(name, subject, "warning", f"could not be looked at: {error}", "grant what is missing")]
    except RunnerError as error:
        return [Check(name, subject, "problem", str(error))]


async def gather(pending: Iterable[Awaitable[T]], limit: asyncio.Semaphore) -> list[T]:
    """The results in order; the limit bounds how many are awaited at a time."""

    async def one(waiting: Awaitable[T]) -> T:
        async with limit:
            return await waiting

    return list(await asyncio.gather(*map(one, pending)))


def moment_of(milliseconds: float) -> datetime:
    """The time of milliseconds since 1970. Raises WrongAnswerError for one that no date can be of."""
    try:
        return datetime.fromtimestamp(milliseconds / 1_000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise WrongAnswerError(f"the cluster's answer has {milliseconds!r}, expected a time in milliseconds") from None


def spoken(span: timedelta) -> str:
    """A length of time as text, in its two largest units.

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
