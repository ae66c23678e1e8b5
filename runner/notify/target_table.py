"""One `[[target]]` table: its keys read one by one, each problem with its place and without the secrets around it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from runner.exceptions.tables import Table
from runner.messages.suggestions import did_you_mean
from runner.notify.secret_text import SecretError, expanded, read_secret_file, secret_parts
from runner.notify.target import DAYS, RANKS, NotificationTarget, QuietHours, RateLimit, TargetFilter, TargetType
from runner.notify.template import MESSAGE_NAMES, NAMES, MessageTemplate, problem_with
from runner.rules.date_math import read_duration
from runner.rules.model_errors import kind_of, shortened

_FILTERS: Final = ("min_severity", "min_risk", "rules", "tags", "hosts", "replayed")
_WORDS: Final = ("title", "body", "digest_title", "line")
_COMMON: Final = (
    "name", "type", "url", "url_file", *_FILTERS, "alerts", "health", "group_by", "digest", "rate", "quiet", "max_age",
    "timeout", "link", *_WORDS,
)  # fmt: skip
_OF_TYPE: Final[Mapping[str, tuple[str, ...]]] = {
    "apprise": (),
    "webhook": ("secret", "secret_file", "headers", "ca_file", "documents"),
}
_TARGET: Final = "[[target]]"
_RATE: Final = re.compile(r"(\d{1,6})\s+per\s+(\S+)")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset(
    {"content-type", "content-length", "host", "idempotency-key", "webhook-id", "webhook-timestamp",
     "webhook-signature", "transfer-encoding", "connection"}
)  # fmt: skip
_DEFAULT_RATE: Final = RateLimit(30, timedelta(minutes=10))
"""Of targets that people read."""
_LISTED: Final = 5_000
"""Alerts in one message to people: a few are listed, all are counted."""
_NAME: Final = re.compile(r"[A-Za-z0-9][\w .-]{0,63}")


def read_target(
    table: Table, path: Path, environ: Mapping[str, str], link: str, *, secrets: list[str]
) -> NotificationTarget | None:
    """The target; None if something is wrong with it. `secrets` gets what must not be shown."""
    before = table.findings.errors()
    kind: Any = table.choice("type", tuple(_OF_TYPE), "webhook")
    table.needed("type")
    table.needed("name")
    others = {name for names in _OF_TYPE.values() for name in names} - set(_OF_TYPE[kind])
    for key in others.intersection(table.value):
        table.findings.add((*table.path, key), f"`{key}` is for targets of type webhook, not {kind}", at="key")
    table.keys((*_COMMON, *_OF_TYPE[kind], *others))
    reader = _SecretReader(table, path.parent, environ, secrets)
    url = reader.url(kind)
    own = _own_values(table, reader, path.parent) if kind == "webhook" else {"most_items": _LISTED}
    target = NotificationTarget(
        _name(table),
        kind,
        url,
        filter=_filter(table),
        alerts="alerts" not in table or table.flag("alerts"),
        health=table.flag("health"),
        group_by=table.texts("group_by"),
        digest=_duration(table, "digest", timedelta(minutes=1)),
        rate=_rate(table, kind),
        quiet=_quiet(table),
        max_age=_duration(table, "max_age", timedelta(hours=1)) or timedelta(days=7),
        timeout=_duration(table, "timeout", timedelta(seconds=1), timedelta(minutes=2)) or timedelta(seconds=15),
        link=table.text("link", link),
        template=_template(table),
        **own,
    )
    if not target.alerts and not target.health:
        table.findings.add((*table.path, "alerts"), "`alerts` is false and `health` is not true: nothing is sent")
    return target if table.findings.errors() == before else None


def _own_values(table: Table, reader: _SecretReader, folder: Path) -> dict[str, Any]:
    """What a webhook has beside the keys of every target."""
    ca_file = folder / table.text("ca_file") if table.text("ca_file") else None
    if ca_file is not None and not ca_file.is_file():
        table.findings.add((*table.path, "ca_file"), f"`ca_file`: there is no file {ca_file}")
    documents = "documents" not in table or table.flag("documents")
    secret = reader.either("secret")
    return {"ca_file": ca_file, "documents": documents, "secret": secret, "headers": reader.headers()}


class _SecretReader:
    """Reads the values of a table that may be secret or hold one: from the file, a variable, or a file of their own."""

    def __init__(self, table: Table, folder: Path, environ: Mapping[str, str], secrets: list[str]) -> None:
        self._table, self._folder, self._environ, self._secrets = table, folder, environ, secrets

    def url(self, kind: TargetType) -> str:
        """The address; checked as far as the type tells."""
        if "url" not in self._table and "url_file" not in self._table:
            self._table.needed("url", ", or `url_file`")
            return ""
        url = self.either("url", is_address=True).strip()
        key = "url" if "url" in self._table else "url_file"
        if url and (wrong := _wrong_address(url, kind)):
            self._table.findings.add((*self._table.path, key), f"`{key}`: {wrong}")
        return url

    def either(self, key: str, *, is_address: bool = False) -> str:
        """The value of the key, or what stands in the file that `<key>_file` names."""
        table, file = self._table, f"{key}_file"
        if key in table and file in table:
            table.findings.add((*table.path, file), f"`{file}` beside `{key}`: expected one of the two", at="key")
        if file in table:
            return self._read(file, table.text(file), is_address=is_address)
        return self._expand((*table.path, key), table.text(key), is_address=is_address)

    def headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        table = self._table.table("headers", "[target.headers]")
        for name, value in table.value.items() if table is not None else ():
            place = (*self._table.path, "headers", name)
            if not _HEADER.fullmatch(name) or name.lower() in _OURS:
                what = "is set by rule-runner" if name.lower() in _OURS else "is no name of a header"
                self._table.findings.add(place, f"`{shortened(name)}` {what}", at="key")
            elif isinstance(value, Mapping) and set(value) == {"file"} and isinstance(value["file"], str):
                found[name] = self._read_at(place, value["file"])
            elif isinstance(value, str):
                found[name] = self._expand(place, value)
            else:
                message = f'`{name}` is {kind_of(value)}, expected a string or {{ file = "..." }}'
                self._table.findings.add(place, message)
        return found

    def _expand(self, place: Any, text: str, *, is_address: bool = False) -> str:
        try:
            return self._kept(expanded(text, self._environ), is_address=is_address)
        except SecretError as error:
            self._table.findings.add(place, f"`{place[-1]}`: {error}")
            return ""

    def _read(self, key: str, name: str, *, is_address: bool) -> str:
        return self._read_at((*self._table.path, key), name, is_address=is_address) if name else ""

    def _read_at(self, place: Any, name: str, *, is_address: bool = False) -> str:
        try:
            return self._kept(read_secret_file(self._folder / name), is_address=is_address)
        except SecretError as error:
            self._table.findings.add(place, f"`{place[-1]}`: {error}")
            return ""

    def _kept(self, value: str, *, is_address: bool) -> str:
        if not value.isprintable():
            raise SecretError("has a line end or a control character in it")
        self._secrets += secret_parts(value) if is_address else [value, *value.split()[1:]]
        return value


def _wrong_address(url: str, kind: TargetType) -> str:
    """What is wrong with an address, "" if nothing is known to be; the address is not in it."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        parts.port  # noqa: B018 - raises for what is no port
    except ValueError:
        return "is no address that can be read"
    if kind == "webhook":
        if scheme not in ("http", "https") or not host:
            return "expected an address that begins with https:// (or http://)"
        return ""
    return "" if scheme else "expected an address of apprise, such as mailto://... or slack://..."


def _name(table: Table) -> str:
    name = table.text("name")
    if name and not _NAME.fullmatch(name):
        expected = "expected letters, digits, spaces and . _ - , at most 64"
        table.findings.add((*table.path, "name"), f"`name` is `{shortened(name)}`, {expected}")
    return name


def _filter(table: Table) -> TargetFilter:
    severity = table.choice("min_severity", tuple(RANKS), "low")
    risk = table.value.get("min_risk", 0)
    if isinstance(risk, bool) or not isinstance(risk, int | float) or not 0 <= risk <= 100:
        table.findings.add((*table.path, "min_risk"), "`min_risk`: expected a number from 0 to 100")
        risk = 0
    rules, tags, hosts = (table.texts(key) for key in ("rules", "tags", "hosts"))
    return TargetFilter(severity, risk, rules, tags, hosts, table.flag("replayed"))


def _duration(table: Table, key: str, low: timedelta, high: timedelta = timedelta(days=365)) -> timedelta | None:
    if not (text := table.text(key)):
        return None
    try:
        found = read_duration(text)
        if low <= found <= high:
            return found
        message = f"`{key}` is `{shortened(text)}`, expected at least {low} and at most {high}"
    except ValueError as error:
        message = f"`{key}`: {error}"
    table.findings.add((*table.path, key), message)
    return None


def _rate(table: Table, kind: TargetType) -> RateLimit | None:
    if "rate" not in table:
        return _DEFAULT_RATE if kind == "apprise" else None
    text = table.text("rate").strip()
    if text == "off":
        return None
    expected = '`rate`: expected a number of messages and a time, such as "20 per 10m", or "off"'
    found = _RATE.fullmatch(text)
    try:
        if found is None or int(found[1]) < 1:
            raise ValueError(expected)
        per = read_duration(found[2])
        if not timedelta(seconds=1) <= per <= timedelta(days=1):
            raise ValueError("`rate`: expected a time from 1s to 1d")
    except ValueError as error:
        table.findings.add((*table.path, "rate"), str(error) if str(error).startswith("`rate`") else expected)
        return None
    return RateLimit(int(found[1]), per)


def _quiet(table: Table) -> QuietHours | None:
    quiet = table.table("quiet", "[target.quiet]")
    if quiet is None:
        return None
    quiet.keys(("from", "to", "days", "time_zone", "through"))
    for key in ("from", "to"):
        quiet.needed(key)
    start, end = _time(quiet, "from"), _time(quiet, "to")
    if start == end and "from" in quiet and "to" in quiet and start is not None:
        quiet.findings.add((*quiet.path, "to"), "`to` is `from`: expected a later or an earlier time")
    days = [day.lower() for day in quiet.texts("days")]
    for number, day in enumerate(days):
        if day not in DAYS:
            message = f"`days` has `{shortened(day)}`, expected some of {', '.join(DAYS)}{did_you_mean(day, DAYS)}"
            quiet.findings.add((*quiet.path, "days", number), message)
    numbers = frozenset(DAYS.index(day) for day in days if day in DAYS) or frozenset(range(7))
    through = quiet.choice("through", (*RANKS, "none"), "critical")
    zone = _zone(quiet)
    if start is None or end is None or zone is None:
        return None
    return QuietHours(start, end, numbers, zone, RANKS.get(through, max(RANKS.values()) + 1))


def _zone(quiet: Table) -> ZoneInfo | None:
    name = quiet.text("time_zone", "UTC")
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError
        near = did_you_mean(name, available_timezones())
        message = f"`time_zone` is `{shortened(name)}`, expected a name such as Europe/Berlin{near}"
        quiet.findings.add((*quiet.path, "time_zone"), message)
        return None


def _time(table: Table, key: str) -> time | None:
    value = table.value.get(key)
    if isinstance(value, time):
        return value
    text = table.text(key) if value is not None else ""
    try:
        return time.fromisoformat(text) if text else None
    except ValueError:
        table.findings.add((*table.path, key), f'`{key}` is `{shortened(text)}`, expected a time such as "22:00"')
        return None


def _template(table: Table) -> MessageTemplate:
    usual = MessageTemplate()
    texts = {key: table.text(key, getattr(usual, key)) for key in _WORDS}
    for key, text in texts.items():
        names = (*MESSAGE_NAMES, *NAMES) if key == "digest_title" else NAMES
        if key in table and (wrong := problem_with(text, names)):
            table.findings.add((*table.path, key), f"`{key}`: {wrong}")
    return MessageTemplate(**texts)
