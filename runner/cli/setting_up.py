"""`rule-runner setup`: create what the runner needs in the cluster."""

from __future__ import annotations

import asyncio

from runner.cli.cluster import client_of, connection_of, elasticsearch_store, opened_client
from runner.cli.console import print_json, say, warn
from runner.cli.exits import ExitCode
from runner.cli.places import has_cluster, require_rule_paths
from runner.connection import Connection
from runner.rules.load import load_rules
from runner.settings import Settings


def print_objects(settings: Settings) -> ExitCode:
    """Print what `install` would create, as JSON, without asking the cluster."""
    asyncio.run(_print(settings))
    return ExitCode.FINE


def install(settings: Settings, *, roles: bool) -> ExitCode:
    """Create what is not there yet, and say what was done."""
    asyncio.run(_install(settings, roles=roles))
    return ExitCode.FINE


def _patterns(settings: Settings) -> tuple[str, ...]:
    """The index patterns that the rules search."""
    require_rule_paths(settings)
    return tuple(sorted({pattern for rule in load_rules(settings.rules).rules for pattern in rule.index})) or (
        "logs-*",
    )


async def _print(settings: Settings) -> None:
    connection = connection_of(settings) if has_cluster(settings) else Connection(hosts=("http://localhost:9200",))
    async with client_of(connection) as client:
        print_json(elasticsearch_store(settings, client).setup_objects(events=_patterns(settings)), indented=True)


async def _install(settings: Settings, *, roles: bool) -> None:
    async with opened_client(settings) as client:
        store = elasticsearch_store(settings, client)
        reports = [await store.install()]
        if roles:
            reports.append(await store.install_roles(events=_patterns(settings)))
        for report in reports:
            for name in report.created:
                say(f"created {name}", "green")
            for name in report.unchanged:
                say(f"there already: {name}")
            for text in report.warnings:
                warn(text)
