"""What a test came to: the expected alerts set against those that were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runner.alerts.event_fields import value_at
from runner.rule_tests.case import ExpectedAlert, RuleCase, RuleTest
from runner.rules.model_errors import shortened

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class MadeAlert:
    """One alert that the rule made: the ids of its events in order, and its document."""

    events: tuple[str, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What came of one test. `error` means that it could not be run."""

    case: RuleCase
    rule_id: str
    rule_name: str
    status: Literal["passed", "failed", "error"]
    messages: tuple[str, ...] = ()
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the test expects it; `missing` is the alert that nothing like it was made."""

    text: str
    missing: ExpectedAlert | None = None


def differences(test: RuleTest, made: Sequence[MadeAlert]) -> tuple[Difference, ...]:
    """What is missing, what is there and was not expected, and what differs; nothing if the test has passed."""
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
    """The expected alerts that no alert could be found for, and the alerts that nothing expected them.

    The pairing leaves as few as possible: an alert that two expected ones would accept is given to the one that has
    no other (augmenting paths; Kuhn's algorithm).
    """
    fits = [[place for place, alert in enumerate(made) if not mismatches(wish, alert)] for wish in expected]
    owner: dict[int, int] = {}

    def place_for(wish: int, tried: set[int]) -> bool:
        for place in fits[wish]:
            if place not in tried:
                tried.add(place)
                if place not in owner or place_for(owner[place], tried):
                    owner[place] = wish
                    return True
        return False

    missing = [wish for number, wish in enumerate(expected) if not place_for(number, set())]
    return missing, [alert for place, alert in enumerate(made) if place not in owner]


def mismatches(expected: ExpectedAlert, alert: MadeAlert) -> tuple[str, ...]:
    """Why the alert is not the expected one; nothing if it is."""
    found = []
    if expected.events and expected.events != alert.events:
        found.append(f"is of the events {_ids(alert.events)}")
    for name, value in expected.fields.items():
        actual = value_at(alert.document, name)
        if not _equal(value, actual):
            told = "is missing" if actual is None else f"is {_shown(actual)}"
            found.append(f"`{name}` {told}, expected {_shown(value)}")
    return tuple(found)


def _equal(expected: Any, actual: Any) -> bool:
    """A list of one and its item are the same to Elasticsearch."""
    if isinstance(actual, list) and not isinstance(expected, list):
        return len(actual) == 1 and _equal(expected, actual[0])
    if isinstance(expected, list) and not isinstance(actual, list):
        return len(expected) == 1 and _equal(expected[0], actual)
    if isinstance(expected, bool) or isinstance(actual, bool):  # which Python takes for 1 and 0
        return expected is actual
    return bool(expected == actual)


def _missing(expected: ExpectedAlert, made: Sequence[MadeAlert]) -> Difference:
    """What is said of an alert that is not there; where one of the same events is, how it differs."""
    subject = f"the alert of the events {_ids(expected.events)}" if expected.events else "an alert"
    nearest = next((alert for alert in made if expected.events and alert.events == expected.events), None)
    if nearest is None and not expected.events and len(made) == 1:
        nearest = made[0]
    if nearest is not None:
        told = "; ".join(mismatches(expected, nearest)) or "it was expected more than once"
        return Difference(f"{subject} differs: {told}")
    wanted = ", ".join(f"{name} = {_shown(value)}" for name, value in expected.fields.items())
    return Difference(f"{subject}{f' with {wanted}' if wanted else ''} is missing", expected)


def _listed(what: str, alerts: Sequence[MadeAlert]) -> Iterator[Difference]:
    for alert in alerts[:_SHOWN]:
        told = alert.document.get("kibana.alert.reason") or ""
        yield Difference(f"{what}: the alert of the events {_ids(alert.events)}{f' ({told})' if told else ''}")
    if len(alerts) > _SHOWN:
        yield Difference(f"{what}: {len(alerts) - _SHOWN} more")


def _ids(events: Sequence[str]) -> str:
    return ", ".join(events) or "without ids"


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return shortened(text, 120)


def _counted(count: int) -> str:
    return "1 alert" if count == 1 else f"{count} alerts"
