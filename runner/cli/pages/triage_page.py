"""The page of one alert on a terminal: events, processes, network, host and user, follow-up searches, guide."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from runner.cli.console import SEVERITY_STYLES, counted, printable
from runner.cli.own_command import as_called
from runner.triage.details.meanings import sid_name
from runner.triage.details.section import Detail, Section
from runner.triage.guide_buttons import GuideButton
from runner.triage.network import NetworkConnection
from runner.triage.process_chain import ProcessStep
from runner.triage.triage import EventView, TriageView
from runner.triage.verdict import AlertVerdict
from runner.windows import iso

_CHAIN_INDENT = "  "
_LONGEST_VALUE, _MOST_LINES = 4_000, 40
"""Characters and lines of a value that are shown: scripts and call traces may have many more."""


def print_triage(view: TriageView, console: Console, state: str = "") -> None:
    """Print the alert without its empty parts."""
    view = dataclasses.replace(view, **{name: _printable(getattr(view, name)) for name in _FROM_EVENTS})
    console.print(Panel(_head(view), title=Text(view.rule_name, style="bold"), title_align="left", expand=False))
    if view.missing_blocks:
        console.print(
            Text("The building blocks of this sequence are not stored; only what its events share is shown.", "yellow")
        )
    for facts in view.facts:
        _section(console, facts.title, Text("\n").join(_details(facts, indent="")))
    if view.rule_type != "threshold":  # whose alert has an event made of what was counted
        _section(console, "Events", *map(_event, view.events))
    _section(console, "Some of the counted events", *map(_event, view.examples))
    for index, chain in enumerate(view.processes, start=1):
        name = "Process chain" if len(view.processes) == 1 else f"Process chain {index}"
        _section(console, name, *(_process(step, depth) for depth, step in enumerate(chain)))
    for note in view.notes:
        console.print(Text(note, style="yellow"), soft_wrap=True)
    _section(console, "Network", *map(_connection, view.connections))
    _section(console, "Host and user", *_where(view))
    if view.hashes:
        _section(
            console, "Hashes", *(Text(f"{item.of} {item.algorithm} {item.value}  {item.file}") for item in view.hashes)
        )
    _section(console, "MITRE ATT&CK", *_threats(view))
    _section(console, "Search next", *_follow_ups(view, state))
    if view.guide:
        _section(console, "Guide", Markdown(view.guide, hyperlinks=False))
    _section(console, "Searches of the guide", *(_button(one, state) for one in view.guide_buttons))
    if view.query:
        _section(console, "Query", *_query(view.query, view.query_language))
    if view.false_positives:
        _section(console, "Known false positives", *(Text(f"- {text.strip()}") for text in view.false_positives))
    if view.references:
        _section(console, "References", *map(Text, view.references))


_FROM_EVENTS = (
    "reason",
    "verdict",
    "suppressed",
    "counted",
    "events",
    "processes",
    "connections",
    "users",
    "hosts",
    "hashes",
    "follow_ups",
    "facts",
    "examples",
    "guide_buttons",
    "notes",
)
"""The parts of a view with values of events, which an attacker may have chosen."""


def _printable(value: Any) -> Any:
    """The value with every text in it made safe for a terminal."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Detail):  # whose lines are shown as lines
        return Detail(printable(value.label), printable(value.value, but="\n\r\t"), printable(value.meaning))
    if isinstance(value, tuple):
        return tuple(map(_printable, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{field.name: _printable(getattr(value, field.name)) for field in dataclasses.fields(value)}
        )
    return value


def triage_as_json(view: TriageView) -> dict[str, Any]:
    """The view as JSON values: times as ISO text, lengths of time as seconds."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return iso(value)
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    made = plain(dataclasses.asdict(view))
    assert isinstance(made, dict)
    return made


def _section(console: Console, title: str, *parts: Any) -> None:
    if parts:
        console.print()
        console.print(Text(title, style="bold underline"))
        for part in parts:
            console.print(part, soft_wrap=not isinstance(part, (Markdown, Table, Group)))


def _head(view: TriageView) -> Text:
    risk = "" if view.risk_score is None else f"   risk {view.risk_score:g}"
    lines = Text.assemble(
        (view.severity, SEVERITY_STYLES.get(view.severity, "")), f"{risk}   {view.status}\n", view.reason
    )
    if view.counted:
        lines.append(f"\n{view.counted}", style="bold")
    if view.suppressed:
        lines.append(f"\n{view.suppressed}", style="bold")
    for name, text in _verdict(view.verdict):
        lines.append(f"\n{name}: ", style="dim")
        lines.append(text)
    lines.append(f"\ndetected {iso(view.detected) if view.detected else '-'}\nid {view.id}", style="dim")
    if view.url:
        lines.append(f"\n{view.url}", style="dim")
    return lines


def _verdict(verdict: AlertVerdict) -> Iterator[tuple[str, str]]:
    """What was decided about the alert, with its names."""
    if verdict.by or verdict.reason:
        reason = f", {verdict.reason.replace('_', ' ')}" if verdict.reason else ""
        who = f", by {verdict.by}" if verdict.by else ""
        yield "verdict", f"{verdict.status}{reason}{who}{f' at {verdict.at}' if verdict.at else ''}"
    for name, text in (
        ("note", verdict.note),
        ("assigned to", ", ".join(verdict.assignees)),
        ("tags", ", ".join(verdict.tags)),
    ):
        if text:
            yield name, text


def _event(event: EventView) -> Text:
    gap = "" if event.gap is None else f"+{event.gap.total_seconds():.3f}s"
    line = Text.assemble((f"{event.position}. ", "bold"), iso(event.time) if event.time else "-")
    pid = f" (pid {event.pid})" if event.pid is not None else ""
    is_whole_name = not event.user_domain or any(sign in event.user for sign in "\\@")
    user = event.user if is_whole_name or not event.user else f"{event.user_domain}\\{event.user}"
    for part, style in (
        (gap, ""),
        (f"{event.category} {event.action}".strip(), "bold cyan"),
        (f"{event.process}{pid}" if event.process else pid.strip(), ""),
        (" on ".join(filter(None, (user, event.host))), ""),
    ):
        line.append(f"  {part}" if part else "", style=style)
    for section in event.sections:
        line.append(f"\n   {section.title}", style="italic")
        for shown in _details(section, indent="     "):
            line.append("\n").append(shown)
    if event.left_out:
        line.append(f"\n     and {counted(event.left_out, 'more field')}; --output json has them", style="dim")
    source = "  ".join(filter(None, (event.index or event.dataset, event.id)))
    line.append(f"\n     {source}" if source else "", style="dim")
    return line


def _details(section: Section, *, indent: str) -> Iterator[Text]:
    """The labels with their values; a value of several lines stands in lines of its own."""
    for detail in section.details:
        lines = detail.lines
        text = Text.assemble(indent, (f"{detail.label}:", "dim"))
        if len(lines) == 1:
            text.append(f" {_cut(lines[0])}")
        for number, line in enumerate(lines[:_MOST_LINES] if len(lines) > 1 else (), start=1):
            text.append(f"\n{indent}  {number:>3} ", style="dim").append(_cut(line))
        if len(lines) > _MOST_LINES:
            text.append(f"\n{indent}      … ({len(lines):,} lines; --output json has them)", style="dim")
        yield text.append(f"  ({detail.meaning})" if detail.meaning else "", style="cyan")


def _query(query: str, language: str) -> Iterator[Text]:
    lines = query.strip().splitlines()
    yield Text(language, style="dim")
    for line in lines[:_MOST_LINES]:
        yield Text(f"  {line}")
    if len(lines) > _MOST_LINES:
        yield Text(f"  … ({len(lines):,} lines; --output json has them)", style="dim")


def _cut(text: str) -> str:
    more = f"… ({len(text):,} characters; --output json has them)" if len(text) > _LONGEST_VALUE else ""
    return text[:_LONGEST_VALUE] + more


def _button(button: GuideButton, state: str) -> Text:
    line = Text.assemble((f"({button.number}) {button.label}", "bold"))
    if button.period:
        line.append(f"  {button.period}", style="dim")
    if button.description:
        line.append(f"\n  {button.description}", style="dim")
    for name, text in (
        ("osquery", button.osquery),
        ("EQL", button.eql),
        ("KQL", button.kql),
        ("run", as_called(button.command, state)),
    ):
        if text and not (name == "EQL" and button.command.startswith("rule-runner search")):
            line.append(f"\n  {name:<4} ").append(text, style="green")
    if button.missing:
        line.append(f"\n  the alert has no {', '.join(button.missing)}", style="yellow")
    if button.problem:
        line.append(f"\n  {'' if button.eql else 'no search: '}{button.problem}", style="yellow")
    return line


def _process(step: ProcessStep, depth: int) -> Text:
    line = Text(_CHAIN_INDENT * depth + ("└ " if depth else ""))
    named = step.name or step.executable
    line.append(named or "(unknown)", style="bold red" if step.in_match else "bold" if named else "dim")
    if not named and step.entity_id:
        line.append(f" entity {step.entity_id}", style="dim")
    if step.pid is not None:
        line.append(f" (pid {step.pid})")
    command = step.command_line or " ".join(step.args)
    if command:
        line.append(f"  {command}")
    details = (
        step.executable,
        f"in {step.working_directory}" if step.working_directory else "",
        f"as {step.user}" if step.user else "",
        f"at {step.start}" if step.start else "",
        f"integrity {step.integrity}" if step.integrity else "",
        f"signed by {step.signature}" if step.signature and step.signature != "not signed" else step.signature,
        f"[{', '.join(step.roles)}]" if step.roles else "",
        "(looked up)" if step.found else "",
    )
    if any(details):
        line.append(f"\n{_CHAIN_INDENT * depth}    {'  '.join(filter(None, details))}", style="dim")
    return line


def _connection(connection: NetworkConnection) -> Text:
    def end(address: str, port: int | None, scope: str) -> str:
        shown = f"[{address}]" if port is not None and ":" in address else address
        return f"{shown}{'' if port is None else f':{port}'} ({scope})" if address else "?"

    source = end(connection.source_ip, connection.source_port, connection.source_scope)
    destination = end(connection.destination_ip, connection.destination_port, connection.destination_scope)
    line = Text(f"from {source}")
    if connection.destination_ip or connection.destination_domain:
        line = Text(f"{source} -> ").append(destination, style="bold")
    details = (connection.destination_domain, connection.transport, connection.direction, connection.process)
    line.append("".join(f"  {part}" for part in details if part))
    return line


def _where(view: TriageView) -> Iterator[Text]:
    """A line for each host and user, without labels that have no value."""
    for host in view.hosts:
        addresses = ", ".join(host.addresses)
        parts = [("host", host.name), ("id", host.id), ("", host.os), ("", addresses), ("agent", host.agent_id)]
        yield Text("  ".join(f"{label} {text}".strip() for label, text in parts if text))
    for user in view.users:
        name = f"{user.domain}\\{user.name}" if user.domain and user.name else user.name
        known = sid_name(user.id)
        id_ = f"{user.id} ({known})" if known else user.id
        yield Text("  ".join(filter(None, (f"user {name}".strip(), f"id {id_}" if id_ else ""))))


def _threats(view: TriageView) -> list[Text]:
    lines = []
    for threat in view.threats:
        line = Text.assemble((f"{threat.tactic[0]} {threat.tactic[1]}", "bold"))
        for technique in threat.techniques:
            line.append(f"\n  {technique[0]} {technique[1]}  ")
            line.append(technique[2], style="dim")
        lines.append(line)
    return lines


def _follow_ups(view: TriageView, state: str) -> Iterator[Text]:
    for search in view.follow_ups:
        text = Text.assemble((search.title, "bold"))
        for name, query in (("EQL", search.eql), ("KQL", search.kql), ("run", as_called(search.command, state))):
            if query and not (name == "EQL" and search.command.startswith("rule-runner search")):
                text.append(f"\n  {name}  ").append(query, style="green")
        yield text
