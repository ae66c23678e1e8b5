"""The outcome of a test: the expected alerts compared with those made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runner.alerts.event_fields import value_at
from runner.eql.explain.event_verdict import StageVerdict
from runner.rule_tests.case import ExpectedAlert, RuleCase, RuleTest
from runner.rules.model_errors import shortened

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class MadeAlert:
    """An alert that the rule made: the ids of its events in order, and its document."""

    events: tuple[str, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """The outcome of one test; `error`: it could not be run."""

    case: RuleCase
    rule_id: str
    rule_name: str
    status: Literal["passed", "failed", "error"]
    messages: tuple[str, ...] = ()
    took_ms: int = 0
    verdicts: tuple[tuple[str, StageVerdict], ...] = ()
    """Of missing alerts, each event that was looked at, by its name, with the verdict at its stage."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference from the expectation; `missing` is the expected alert without a similar one."""

    text: str
    missing: ExpectedAlert | None = None


def differences(test: RuleTest, made: Sequence[MadeAlert]) -> tuple[Difference, ...]:
    """The missing, unexpected and differing alerts; none if the test passed."""
    if test.alerts is None:
        if len(made) == test.alert_count:
            return ()
        expected = "no alert" if test.alert_count == 0 else _counted(test.alert_count or 0)
        return (Difference(f"expected {expected}, found {_counted(len(made))}"), *_listed("found", made))
    missing, left = _paired(test.alerts, made)
    return (*(_missing(expected, made) for expected in missing), *_listed("not expected", left))


def _paired(
    expected: Sequence[ExpectedAlert], made: Sequence[MadeAlert]
) -> tuple[list[ExpectedAlert], list[MadeAlert]]:
    """The expected alerts and the alerts made that a maximum bipartite matching leaves without a partner.

    Kuhn's algorithm (augmenting paths): an alert that two expected ones accept goes to the one without another.
    """
    accepted = [[index for index, alert in enumerate(made) if not mismatches(wish, alert)] for wish in expected]
    partner: dict[int, int] = {}

    def augment(wish: int, tried: set[int]) -> bool:
        for index in accepted[wish]:
            if index not in tried:
                tried.add(index)
                if index not in partner or augment(partner[index], tried):
                    partner[index] = wish
                    return True
        return False

    missing = [wish for index, wish in enumerate(expected) if not augment(index, set())]
    return missing, [alert for index, alert in enumerate(made) if index not in partner]


def mismatches(expected: ExpectedAlert, alert: MadeAlert) -> tuple[str, ...]:
    """The differences of the alert from the expected one; none if it is that."""
    found = []
    if expected.events and expected.events != alert.events:
        found.append(f"is of the events {_ids(alert.events)}")
    for name, value in expected.fields.items():
        actual = value_at(alert.document, name)
        if not _equal(value, actual):
            state = "is missing" if actual is None else f"is {_shown(actual)}"
            found.append(f"`{name}` {state}, expected {_shown(value)}")
    return tuple(found)


def _equal(expected: Any, actual: Any) -> bool:
    """Whether the values are equal in Elasticsearch, where a list of one equals its item."""
    if isinstance(actual, list) and not isinstance(expected, list):
        return len(actual) == 1 and _equal(expected, actual[0])
    if isinstance(expected, list) and not isinstance(actual, list):
        return len(expected) == 1 and _equal(expected[0], actual)
    if isinstance(expected, bool) or isinstance(actual, bool):  # in Python equal to 1 and 0
        return expected is actual
    return bool(expected == actual)


def _missing(expected: ExpectedAlert, made: Sequence[MadeAlert]) -> Difference:
    """The difference for a missing alert: the mismatches of an alert of the same events, if there is one."""
    subject = f"the alert of the events {_ids(expected.events)}" if expected.events else "an alert"
    nearest = next((alert for alert in made if expected.events and alert.events == expected.events), None)
    if nearest is None and not expected.events and len(made) == 1:
        nearest = made[0]
    if nearest is not None:
        details = "; ".join(mismatches(expected, nearest)) or "it was expected more than once"
        return Difference(f"{subject} differs: {details}")
    wanted = ", ".join(f"{name} = {_shown(value)}" for name, value in expected.fields.items())
    return Difference(f"{subject}{f' with {wanted}' if wanted else ''} is missing", expected)


def _listed(what: str, alerts: Sequence[MadeAlert]) -> Iterator[Difference]:
    for alert in alerts[:_SHOWN]:
        reason = alert.document.get("kibana.alert.reason") or ""
        yield Difference(f"{what}: the alert of the events {_ids(alert.events)}{f' ({reason})' if reason else ''}")
    if len(alerts) > _SHOWN:
        yield Difference(f"{what}: {len(alerts) - _SHOWN} more")


def _ids(events: Sequence[str]) -> str:
    return ", ".join(events) or "without ids"


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return shortened(text, 120)


def _counted(count: int) -> str:
    return "1 alert" if count == 1 else f"{count} alerts"
