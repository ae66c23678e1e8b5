"""`rule-runner setup`: create the runner's indices and roles in the cluster, and its objects in Kibana."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path

from runner.cli.cluster_wiring import connection_of, kibana_connection, opened_client, store_names
from runner.cli.console import print_json, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import kibana_names, require_rule_paths, rule_sources
from runner.cluster.elasticsearch import Elastic, open_client
from runner.cluster.kibana import Kibana
from runner.errors import AccessError
from runner.settings.settings import Settings
from runner.setup.api_key import make_api_key, read_key_file, write_key_file
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


def install(settings: Settings, *, roles: bool, api_key: str | None = None, kibana: bool, replace: bool) -> ExitCode:
    """Create the missing objects in the cluster and in Kibana, and print a report.

    `api_key` is the file for a key of the runner's own, `-` for standard output.
    """
    asyncio.run(_install(settings, roles=roles, api_key=api_key))
    if kibana:
        asyncio.run(_install_in_kibana(settings, replace=replace))
    return ExitCode.FINE


def _patterns(settings: Settings) -> tuple[str, ...]:
    """The index patterns that the rules search."""
    require_rule_paths(settings)
    patterns = {pattern for rule in rule_sources(settings).read().loaded.rules for pattern in rule.index}
    return tuple(sorted(patterns)) or ("logs-*",)


async def _install(settings: Settings, *, roles: bool, api_key: str | None) -> None:
    async with opened_client(settings) as client:
        installation = Installation(client, store_names(settings))
        _print_report(await installation.install())
        if roles:
            _print_report(await installation.install_roles(events=_patterns(settings)))
        if api_key is not None:
            await _install_key(settings, client, api_key)


async def _install_key(settings: Settings, client: Elastic, to: str) -> None:
    """Make an API key for the runner, unless the file has one that the cluster accepts."""
    known = read_key_file(Path(to)) if to != "-" else None
    if known is not None and await _is_accepted(settings, known):
        say(f"there already: API key in {to}")
        return
    key = await make_api_key(client, store_names(settings), events=_patterns(settings))
    if to == "-":
        sys.stdout.write(f"{key}\n")
        sys.stdout.flush()
        return
    write_key_file(Path(to), key)
    say(f"{'created' if known is None else 'updated'} API key in {to}: ELASTICSEARCH_API_KEY_FILE={to}", "green")


async def _is_accepted(settings: Settings, key: str) -> bool:
    """Whether the cluster takes the key."""
    signed_out = dataclasses.replace(connection_of(settings), username="", password="", bearer_token="")
    client = open_client(dataclasses.replace(signed_out, api_key=key))
    try:
        await client.info()
    except AccessError:
        return False
    finally:
        await client.close()
    return True


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
