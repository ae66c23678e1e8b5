"""`rule-runner setup`: create the runner's indices and roles in the cluster, and its objects in Kibana."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from runner.cli.cluster_wiring import kibana_connection, opened_client, store_names
from runner.cli.console import print_json, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import kibana_names, require_rule_paths
from runner.cluster.kibana import Kibana
from runner.errors import AccessError
from runner.rules.load import load_rules
from runner.settings.settings import Settings
from runner.setup.index_objects import setup_objects
from runner.setup.install_indices import SetupReport
from runner.setup.install_saved_objects import install_objects
from runner.setup.saved_objects import ndjson, saved_objects
from runner.store.elasticsearch.installation import Installation

_BY_HAND = (
    "no Kibana is set (KIBANA_HOST): `rule-runner setup --kibana-objects FILE` writes data views, search and dashboard "
    "to a file to import there"
)


def print_objects(settings: Settings) -> ExitCode:
    """Print what `install` would create, as JSON; nothing is sent to the cluster."""
    objects = setup_objects(store_names(settings), events=_patterns(settings))
    print_json(objects | {"kibana_objects": list(saved_objects(kibana_names(settings)))}, indented=True)
    return ExitCode.FINE


def write_kibana_objects(settings: Settings, to: str) -> ExitCode:
    """Write the objects for Kibana as NDJSON, for a manual import."""
    objects = saved_objects(kibana_names(settings))
    if to == "-":
        sys.stdout.buffer.write(ndjson(objects))
        sys.stdout.buffer.flush()
        return ExitCode.FINE
    try:
        Path(to).write_bytes(ndjson(objects))
    except OSError as error:
        raise AccessError(f"{to}: cannot be written: {error.strerror or error}") from None
    say(
        f"{len(objects)} objects written to {to}: in Kibana's space `{settings.space}`, open Stack Management > "
        "Saved Objects and import them"
    )
    return ExitCode.FINE


def install(settings: Settings, *, roles: bool, kibana: bool, replace: bool) -> ExitCode:
    """Create the missing objects in the cluster and in Kibana, and print a report."""
    asyncio.run(_install(settings, roles=roles))
    if kibana:
        asyncio.run(_install_in_kibana(settings, replace=replace))
    return ExitCode.FINE


def _patterns(settings: Settings) -> tuple[str, ...]:
    """The index patterns that the rules search."""
    require_rule_paths(settings)
    patterns = {pattern for rule in load_rules(settings.rules).rules for pattern in rule.index}
    return tuple(sorted(patterns)) or ("logs-*",)


async def _install(settings: Settings, *, roles: bool) -> None:
    async with opened_client(settings) as client:
        installation = Installation(client, store_names(settings))
        _print_report(await installation.install())
        if roles:
            _print_report(await installation.install_roles(events=_patterns(settings)))


async def _install_in_kibana(settings: Settings, *, replace: bool) -> None:
    if settings.kibana_api is None:
        say(_BY_HAND)
        return
    kibana = Kibana(kibana_connection(settings, settings.kibana_api), space=settings.space)
    try:
        _print_report(await install_objects(kibana, saved_objects(kibana_names(settings)), replace=replace))
    finally:
        await kibana.close()


def _print_report(report: SetupReport) -> None:
    for name in report.created:
        say(f"created {name}", "green")
    for name in report.updated:
        say(f"updated {name}", "green")
    for name in report.unchanged:
        say(f"there already: {name}")
    for text in report.warnings:
        warn(text)
