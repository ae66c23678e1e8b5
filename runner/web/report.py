"""A report on chosen alerts as one file: HTML that needs nothing else, Markdown, CSV, a layer for ATT&CK Navigator."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Final, Literal

from runner import __version__
from runner.alerts.event_fields import text_at
from runner.alerts.event_time import event_time_ns
from runner.analyst.alert_summary import summary
from runner.analyst.csv_text import csv_text
from runner.json_text import deep_stack, write_json
from runner.messages.printable import escaped_json, printable
from runner.store.overview import Overview, OverviewRequest, overview_of
from runner.store.protocol import AlertFilter, AlertStore, StoredAlert
from runner.triage.triage import TriageView, triage
from runner.web.charts import LaneMark, histogram, lanes
from runner.web.host_events import about_text
from runner.web.process_tree import process_tree
from runner.web.rendering import gap_text, moment, render
from runner.windows import from_nanoseconds, iso

ReportFormat = Literal["html", "md", "csv", "navigator"]
FORMATS: Final = ("html", "md", "csv", "navigator")
MOST_ALERTS: Final = 10_000
"""Alerts of a report: the newest."""
_LARGEST: Final = 25_000_000
"""Characters of an HTML or Markdown report beyond which alerts are only listed."""
_MOST_HOSTS: Final = 10
_SEVERITIES: Final = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class ReportedAlerts:
    """The alerts of a report, those of the newest events first, and how many more there are."""

    alerts: tuple[tuple[StoredAlert, tuple[StoredAlert, ...]], ...]
    """Each with its building blocks."""
    overview: Overview
    chosen: str
    """What was chosen, as text."""

    @property
    def heads(self) -> list[StoredAlert]:
        return [head for head, _ in self.alerts]


async def gather(store: AlertStore, wanted: AlertFilter, *, chosen: str, most: int) -> ReportedAlerts:
    """The alerts that meet the filter, `most` of them, with the building blocks of sequences. Raises StoreError."""
    overview = await store.overview(OverviewRequest(wanted, 0, most, 20))
    alerts = [(head, await _blocks(store, head)) for head in overview.alerts]
    return ReportedAlerts(tuple(alerts), overview, chosen)


async def _blocks(store: AlertStore, head: StoredAlert) -> tuple[StoredAlert, ...]:
    group = text_at(head.document, "kibana.alert.group.id")
    return tuple(await store.group(group)) if group else ()


def gathered(alerts: Sequence[StoredAlert], *, chosen: str, most: int) -> ReportedAlerts:
    """The same of alerts that are in no store, the building blocks of sequences among them."""
    index = "kibana.alert.group.index"
    blocks: dict[str, list[StoredAlert]] = {}
    heads = []
    for alert in alerts:
        if text_at(alert.document, index):
            blocks.setdefault(text_at(alert.document, "kibana.alert.group.id"), []).append(alert)
        else:
            heads.append(alert)
    overview = overview_of(heads, OverviewRequest(AlertFilter(), 0, most, 20))
    pairs = ((head, blocks.get(text_at(head.document, "kibana.alert.group.id"), [])) for head in overview.alerts)
    return ReportedAlerts(tuple((head, tuple(found)) for head, found in pairs), overview, chosen)


def report_text(found: ReportedAlerts, form: ReportFormat, now: datetime, *, full: int) -> str:
    """The report; of the `full` newest alerts the whole view, as far as it does not grow too large."""
    if form == "csv":
        return csv_text(map(_flat, found.heads))
    if form == "navigator":
        return escaped_json(write_json(_layer(found), indented=True).decode()) + "\n"
    if form == "md":
        return "\n".join(_markdown(found, now, full=full)) + "\n"
    return _html(found, now, full=full)


def _html(found: ReportedAlerts, now: datetime, *, full: int) -> str:
    style = files("runner.web").joinpath("static", "web.css").read_text("utf-8")
    parts: list[str] = []
    size = 0
    for head, blocks in found.alerts[:full]:
        part = render("report_alert.html", view=(view := _view(head, blocks)), tree=process_tree(view.processes),
                      row=summary(head))  # fmt: skip
        size += len(part)
        if size > _LARGEST:
            break
        parts.append(part)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = {head.id for head in found.heads[: len(parts)]}
    return render(
        "report.html",
        style=style,
        digest=digest,
        found=found,
        rows=[summary(head) | {"about": about_text(head.document), "is_shown": head.id in shown}
              for head in found.heads],
        parts=parts,
        chart=histogram(found.overview.bins, lambda first, last: "#alerts"),
        hosts=list(_hosts(found)),
        tactics=_tactics(found),
        now=now,
        version=__version__,
    )  # fmt: skip


def _view(head: StoredAlert, blocks: Sequence[StoredAlert]) -> TriageView:
    with deep_stack():
        return triage(head, blocks)


def _hosts(found: ReportedAlerts) -> Iterator[tuple[str, int, Any]]:
    """The hosts with the most alerts, each with the number of its alerts and their time line."""
    by_host: dict[str, list[LaneMark]] = {}
    for head in found.heads:
        row = summary(head)
        time = event_time_ns(head.document)
        if row["host"] and time is not None:
            kind = row["severity"] if row["severity"] in _SEVERITIES else "none"
            mark = LaneMark(from_nanoseconds(time), 0, f"s-{kind}", f"{row['rule']}", "#alerts")
            by_host.setdefault(row["host"], []).append(mark)
    for host, marks in sorted(by_host.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_HOSTS]:
        yield host, len(marks), lanes(marks, ("alerts",))


def _tactics(found: ReportedAlerts) -> list[tuple[str, str, int]]:
    """The tactics of the alerts' rules with the count of the alerts."""
    counts = Counter(tactic for head in found.heads for tactic in {(id_, name) for id_, name, _ in _threats(head)})
    return [(id_, name, count) for (id_, name), count in counts.most_common()]


def _threats(head: StoredAlert) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The tactics of an alert's rule: id, name, and the ids of techniques and sub-techniques."""
    for threat in _view_threats(head.document):
        tactic = threat.get("tactic")
        if isinstance(tactic, Mapping):
            yield str(tactic.get("id", "")), str(tactic.get("name", "")), tuple(_techniques(threat))


def _view_threats(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entry in _listed(document.get("kibana.alert.rule.threat")):
        if isinstance(entry, Mapping):
            yield entry


def _techniques(threat: Mapping[str, Any]) -> Iterator[str]:
    for technique in _listed(threat.get("technique")):
        if isinstance(technique, Mapping):
            yield str(technique.get("id", ""))
            subs = (sub for sub in _listed(technique.get("subtechnique")) if isinstance(sub, Mapping))
            yield from (str(sub.get("id", "")) for sub in subs)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _layer(found: ReportedAlerts) -> dict[str, Any]:
    """A layer of ATT&CK Navigator: the score of a technique is the number of alerts."""
    counts: Counter[tuple[str, str]] = Counter()
    names: dict[tuple[str, str], set[str]] = {}
    for head in found.heads:
        for key in {(id_, name) for _, name, ids in _threats(head) for id_ in ids}:
            counts[key] += 1
            names.setdefault(key, set()).add(summary(head)["rule"])
    return {
        "name": "Alerts of rule-runner",
        "versions": {"attack": "16", "navigator": "5.1.0", "layer": "4.5"},
        "domain": "enterprise-attack",
        "description": f"{found.chosen}; the score is the number of alerts",
        "gradient": {
            "colors": ["#ffe8a3", "#e66b35", "#b3202b"],
            "minValue": 0,
            "maxValue": max(counts.values(), default=1),
        },
        "techniques": [
            {
                "techniqueID": id_,
                "tactic": tactic.lower().replace(" ", "-"),
                "score": count,
                "comment": "\n".join(sorted(names[id_, tactic])[:50]),
                "enabled": True,
            }
            for (id_, tactic), count in sorted(counts.items())
        ],
        "hideDisabled": False,
    }


def _flat(alert: StoredAlert) -> dict[str, Any]:
    """An alert as a row of CSV."""
    row = summary(alert)
    named = ("id", "event_time", "detected", "severity", "risk_score", "rule_id", "rule", "host", "user", "status",
             "verdict", "note", "status_by", "status_at")  # fmt: skip
    made = {name: row[name] if isinstance(row[name], (int, float)) else str(row[name] or "") for name in named}
    lists = {"assignees": ", ".join(row["assignees"]), "tags": ", ".join(row["tags"])}
    techniques = sorted({one for _, _, ids in _threats(alert) for one in ids})
    about = {
        "techniques": ", ".join(techniques),
        "what": about_text(alert.document),
        "reason": str(row["reason"] or ""),
    }
    return made | lists | about


def _markdown(found: ReportedAlerts, now: datetime, *, full: int) -> Iterator[str]:
    yield "# Alerts of rule-runner"
    yield ""
    yield f"{found.overview.total:,} alerts: {_plain(found.chosen)}. Made {iso(now)} by rule-runner {__version__}."
    if len(found.alerts) < found.overview.total:
        yield f"\n**Only the newest {len(found.alerts):,} are in this report.**"
    for name in ("severity", "rule", "host", "user"):
        if found.overview.counts[name]:
            yield f"\n| {name} | alerts |\n|---|---:|"
            yield from (f"| {_plain(one.label or 'none')} | {one.alerts:,} |" for one in found.overview.counts[name])
    yield "\n## List\n\n| event time | severity | rule | host | user | status |\n|---|---|---|---|---|---|"
    for head in found.heads:
        row = summary(head)
        cells = (
            row["event_time"] or row["detected"],
            row["severity"],
            row["rule"],
            row["host"],
            row["user"],
            row["status"],
        )
        yield f"| {' | '.join(_plain(str(cell or '-')) for cell in cells)} |"
    size = 0
    for number, (head, blocks) in enumerate(found.alerts[:full]):
        lines = list(_alert_markdown(_view(head, blocks)))
        size += sum(map(len, lines))
        if size > _LARGEST:
            yield f"\n**{len(found.alerts) - number:,} alerts are only listed: the report would grow too large.**"
            return
        yield from lines
    if len(found.alerts) > full:
        yield f"\n**{len(found.alerts) - full:,} more alerts are only listed.**"


def _alert_markdown(view: TriageView) -> Iterator[str]:
    yield f"\n## {_plain(view.rule_name)}"
    yield f"\n{_plain(view.severity)}, {_plain(view.status)}, `{view.id}`\n\n{_plain(view.reason)}"
    for event in view.events:
        gap = f" ({gap_text(event.gap)})" if event.gap is not None else ""
        who = " on ".join(filter(None, (event.user, event.host)))
        what = f"**{_plain(event.category)} {_plain(event.action)}**"
        yield f"\n{event.position}. {moment(event.time)}{gap} {what} {_plain(who)}"
        yield from (f"   - {_plain(name)}: {_code(value)}" for name, value in event.details)
    for chain in view.processes:
        yield "\nProcesses:\n"
        for depth, step in enumerate(chain):
            command = step.command_line or " ".join(step.args)
            pid = f" (pid {step.pid})" if step.pid is not None else ""
            yield f"{'  ' * depth}- {_plain(step.name or step.executable or step.entity_id)}{pid} {_code(command)}"
    if view.threats:
        yield "\nMITRE ATT&CK: " + ", ".join(
            _plain(f"{one[0]} {one[1]}") for threat in view.threats for one in (threat.tactic, *threat.techniques)
        )


def _plain(text: str) -> str:
    """The text in a line of Markdown, in which no character is more than itself."""
    line = printable(" ".join(text.split()))[:2_000]
    return re.sub(r"([\\`*_{}\[\]<>#!|~&]|^[-+=]|^\d+(?=[.)]))", r"\\\1", line)


def _code(text: str) -> str:
    """The text as code of Markdown."""
    line = printable(" ".join(text.split()))[:2_000]
    if not line:
        return ""
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}"
