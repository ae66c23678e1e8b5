"""An exception made of an alert's own values, and the alerts that it would have removed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from runner.alerts.event_fields import flat_values, texts_at, value_at
from runner.analyst.decisions import author
from runner.analyst.excepted_alerts import excepted_alerts
from runner.errors import RunnerError, SettingsError
from runner.exceptions import ExceptionItem, load_exceptions
from runner.exceptions.write import NewException, Value, add_exception
from runner.messages.suggestions import did_you_mean
from runner.rules.date_math import read_duration
from runner.rules.model_errors import shortened
from runner.settings.moments import read_moment
from runner.settings.settings import Settings
from runner.store.changes import UpdateResult
from runner.store.protocol import AlertFilter, StoredAlert, Stores
from runner.store.verdicts import close_alerts
from runner.triage.excepted_alert import original_event
from runner.triage.verdict import STATUS

_LENGTH = re.compile(r"[0-9]+[a-z]+")
_TELLING: Final = (
    "process.executable", "process.name", "process.command_line", "process.args", "process.parent.executable",
    "process.parent.name", "process.parent.command_line", "process.code_signature.subject_name", "process.hash.sha256",
    "file.path", "registry.path", "dll.path", "destination.ip", "destination.domain", "dns.question.name", "source.ip",
    "url.domain", "user.name", "user.id", "host.name", "host.id", "event.action", "event.code",
)  # fmt: skip
"""Fields that exceptions are usually about, the narrow ones first."""
_LONGEST: Final = 60


@dataclass(frozen=True, slots=True)
class ExceptOptions:
    """What is excepted of an alert, as it was asked for."""

    fields: tuple[str, ...] = ()
    """All of them have to have the alert's value."""
    reason: str | None = None
    expires: str | None = None
    name: str | None = None
    all_rules: bool = False
    scope: str = "event"
    to: Path | None = None
    close: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ExceptionDraft:
    """An exception that hits its alert, and is not written yet."""

    new: NewException
    path: Path
    """The file that it goes to."""
    hits: tuple[StoredAlert, ...]
    """The stored alerts that it would have removed, the alert itself among them, newest detection first."""


@dataclass(frozen=True, slots=True)
class TellingField:
    """A field that an exception could be about."""

    name: str
    text: str
    alerts: int
    """Alerts of the rule that share the values."""


async def draft_exception(
    settings: Settings, stores: Stores, alert: StoredAlert, wanted: ExceptOptions, *, now: datetime
) -> ExceptionDraft:
    """The exception with the values of the alert that were asked for. Raises RunnerError if it would not hit it."""
    events = await _events(stores, alert)
    new = _new_exception(settings, alert, events, wanted, now=now)
    path = wanted.to or exceptions_file(settings, str(value_at(alert.document, "kibana.alert.rule.name")))
    item = _item(new, path)
    of_rule = AlertFilter(rule_id=new.rules[0] if len(new.rules) == 1 else None)
    found = await excepted_alerts(stores.alerts, _Everywhere(new.rules, item), of_rule, now)
    if alert.id not in {one.id for one, _ in found}:
        raise RunnerError(
            f"an exception for {', '.join(wanted.fields)} would not hit the alert {alert.id[:12]} itself: "
            "one event has to have all of the values"
        )
    return ExceptionDraft(new, path, tuple(one for one, _ in found))


def write_draft(draft: ExceptionDraft) -> None:
    """Add the exception to its file. Raises RunnerError."""
    add_exception(draft.path, draft.new)


async def close_hits(settings: Settings, stores: Stores, draft: ExceptionDraft) -> UpdateResult:
    """Close the alerts that the exception hits, as false positives. Raises StoreError."""
    ids = [one.id for one in draft.hits if value_at(one.document, STATUS) != "closed"]
    note = f"excepted: {draft.new.name}"
    return await close_alerts(stores.alerts, ids, author(settings), reason="false-positive", note=note)


async def telling_fields(
    stores: Stores, alert: StoredAlert, *, most: int | None = None
) -> tuple[list[TellingField], int]:
    """The fields that an exception could be about, and how many alerts of the rule were compared: `most` at most."""
    events = await _events(stores, alert)
    rule_id = str(value_at(alert.document, "kibana.alert.rule.rule_id"))
    alerts = [one async for one in stores.alerts.find(AlertFilter(rule_id=rule_id, limit=most))]
    shared = [await _events(stores, one) for one in alerts]
    rows = []
    for name in _TELLING:
        texts = next((found for event in events if (found := texts_at(event, name))), ())
        if texts:
            count = sum(any(set(texts) <= set(texts_at(event, name)) for event in one) for one in shared)
            rows.append(TellingField(name, ", ".join(texts), count))
    return rows, len(alerts)


class _Everywhere(Mapping[str, Sequence[ExceptionItem]]):
    """One exception by rule id: for these rules, or for all of them without any."""

    def __init__(self, rules: tuple[str, ...], item: ExceptionItem) -> None:
        self._rules, self._items = rules, (item,)

    def __getitem__(self, rule_id: str) -> Sequence[ExceptionItem]:
        if self._rules and rule_id not in self._rules:
            raise KeyError(rule_id)
        return self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


async def _events(stores: Stores, alert: StoredAlert) -> list[dict[str, Any]]:
    """The events of the alert, those of a sequence in its order."""
    group = value_at(alert.document, "kibana.alert.group.id")
    blocks = [] if group is None else await stores.alerts.group(str(group))
    return [original_event(one.document) for one in (blocks or [alert])]


def _new_exception(
    settings: Settings, alert: StoredAlert, events: Sequence[Mapping[str, Any]], wanted: ExceptOptions, *, now: datetime
) -> NewException:
    """The exception with the values of the event that has all of the fields. Raises SettingsError."""
    if not (wanted.reason or "").strip():
        raise SettingsError("--reason TEXT is needed: why this is no alert, for those who read it in a year")
    if wanted.expires is None:
        raise SettingsError("--expires is needed: 90d, a date such as 2027-03-31, or never")
    when = _conditions(events, wanted.fields)
    rule = str(value_at(alert.document, "kibana.alert.rule.name"))
    shown = ", ".join(map(str, when.values()))
    rule_id = str(value_at(alert.document, "kibana.alert.rule.rule_id"))
    return NewException(
        name=wanted.name or f"{rule}: {shown}"[:120],
        reason=str(wanted.reason),
        when={name: (value,) for name, value in when.items()},
        rules=() if wanted.all_rules else (rule_id,),
        expires=_expiry(wanted.expires, now),
        owner=author(settings).name,
        scope=wanted.scope,
    )


def _conditions(events: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> dict[str, Value]:
    """The values of the fields in the first event that has all of them. Raises SettingsError.

    A field of several values needs one of them named (`FIELD=VALUE`): a list in an exception means one of them, which
    hits far more than the alert's event.
    """
    wanted = {name: text if given else None for name, given, text in (field.partition("=") for field in fields)}
    having = [event for event in events if all(_values(event, name) for name in wanted)]
    if not having:
        known = sorted({name for event in events for name, _ in flat_values(event)})
        for name in wanted:
            if not any(_values(event, name) for event in events):
                near = did_you_mean(name, known)
                raise SettingsError(f"--field {name}: no event of the alert has this field{near}")
        raise SettingsError(f"no single event of the alert has all of {', '.join(wanted)}: use fewer of them")
    found: dict[str, Value] = {}
    for name, text in wanted.items():
        values = _values(having[0], name)
        fitting = [value for value in values if text is None or str(value) == text]
        if len(fitting) != 1:
            shown = ", ".join(shortened(repr(value), _LONGEST) for value in values[:5])
            what = "several values" if fitting or text is None else f"no value {text!r}"
            raise SettingsError(f"--field {name}: it has {what} ({shown}): name one as --field '{name}=VALUE'")
        found[name] = fitting[0]
    return found


def _values(event: Mapping[str, Any], name: str) -> list[Value]:
    found = value_at(event, name)
    several = found if isinstance(found, list) else [found]
    return [value for value in several if isinstance(value, (str, int, float)) and value != ""]


def _expiry(text: str, now: datetime) -> date | None:
    """The day up to which it holds; None for `never`. Raises SettingsError."""
    if text == "never":
        return None
    today = now.astimezone(UTC).date()
    try:
        if _LENGTH.fullmatch(text):  # which counts back from now elsewhere
            day = (now.astimezone(UTC) + read_duration(text)).date()
        else:
            day = read_moment(text, now).date()
    except (ValueError, OverflowError):
        message = f"--expires {text}: expected a time such as 90d, a date such as 2027-03-31, or never"
        raise SettingsError(message) from None
    if day < today:
        raise SettingsError(f"--expires {text}: that day is over")
    return day


def exceptions_file(settings: Settings, rule: str) -> Path:
    """The file for a new exception of a rule: in the first folder of exceptions, or in a new one beside the rules."""
    places = [path for path in settings.exceptions if path.is_dir()]
    if not places and settings.exceptions:
        return settings.exceptions[0]
    folders = [path if path.is_dir() else path.parent for path in settings.rules]
    beside = [place for path in folders for place in (path / "exceptions", path.parent / "exceptions")]
    place = next((path for path in (*places, *beside) if path.is_dir()), None)
    if place is None:
        is_shipped = settings.is_default("rules") and not Path("rules").is_dir()
        place = Path("exceptions") if is_shipped else folders[0].parent / "exceptions"
    name = re.sub(r"[^a-z0-9]+", "_", rule.lower()).strip("_")[:80] or "exceptions"
    return place / f"{name}.toml"


def _item(new: NewException, path: Path) -> ExceptionItem:
    """The exception as it will be read. Raises RunnerError if its name is taken."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "new.toml"
        made.write_text(new.text(), encoding="utf-8")
        loaded = load_exceptions([made])
    if not loaded.items:
        raise RunnerError(f"the exception cannot be written: {'; '.join(one.text for one in loaded.problems)}")
    here = load_exceptions([path.parent]) if path.parent.is_dir() else None
    taken = next((item for item in here.items if item.id == new.name), None) if here is not None else None
    if taken is not None:
        place = f"{taken.place.file}:{taken.place.line}"
        raise SettingsError(f"{place} has an exception with the name `{new.name}`: give this one another with --name")
    return loaded.items[0]
