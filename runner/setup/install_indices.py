"""`install`: creates what the runner needs in the cluster, and leaves alone what is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.cluster.elasticsearch import Elastic, ObjectKind
from runner.errors import AccessError, ClusterError, StoreError
from runner.setup.index_objects import (
    PRODUCT,
    VERSION,
    Abilities,
    AliasObjects,
    StoreNames,
    alert_objects,
    role_bodies,
    run_objects,
    state_index_body,
    state_template_body,
)
from runner.setup.mappings import REPLACEMENTS
from runner.setup.write_target import (
    WriteTarget,
    create_stream,
    mapping_version,
    read_target,
    roll_over,
    version_in,
)

_NO_TYPE = re.compile(r"(?:mapper type|No handler for type) \[(?P<type>\w+)\]")
"""The errors of Elasticsearch 8.10 and later, and of earlier versions, about an unknown field type."""


@dataclass(frozen=True, slots=True)
class SetupReport:
    """What an installation did. Each item is a kind and a name, such as `index template rule-runner-alerts`."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: SetupReport) -> SetupReport:
        return SetupReport(
            self.created + other.created,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.warnings + other.warnings,
        )


async def install(client: Elastic, names: StoreNames) -> SetupReport:
    """Lifecycle policies, templates, indices and aliases: creates the missing ones, updates older versions of ours.

    Safe to repeat and to run twice at a time. Where alerts are shown in Kibana's own alias, nothing of that is created.
    Raises StoreError where a name is taken by something else or that alias is missing, and the errors of `Elastic`.
    """
    is_serverless = (await client.info()).distribution == "serverless"
    report = SetupReport()
    if alert_objects(names) is None:
        await find_security_alerts(client, names.alerts)
        report += SetupReport(unchanged=(f"{names.alerts} of Kibana",))
    for build in (alert_objects, run_objects):
        if (plain := build(names)) is None:
            continue
        policy_report, has_policies = await _install_policy(client, plain)
        report += policy_report

        def objects(
            replaced: Mapping[str, str],
            build: Callable[..., AliasObjects] = build,  # type: ignore[assignment]
            has_policies: bool = has_policies,
        ) -> AliasObjects:
            return build(names, Abilities(replaced, has_policies=has_policies, is_serverless=is_serverless))

        report += await _install_alias(client, objects)
    return report + await _install_state(client, names.state, is_serverless=is_serverless)


async def find_security_alerts(client: Elastic, name: str) -> WriteTarget:
    """Where Kibana's Security app keeps its alerts. Raises StoreError if that is not there: it is Kibana's to make."""
    target = await read_target(client, name)
    if target is None:
        space = name.rpartition(".alerts-")[2]
        raise StoreError(
            f"there is no alias `{name}`, in which Kibana keeps the alerts of its Security app, and it is Kibana's to "
            f"make: open Security > Alerts in the space `{space}`, or turn a detection rule on there, then try again"
        )
    if not target.write_index:
        raise StoreError(f"the alias `{name}` has no write index: Kibana sets it when the Security app is opened")
    return target


async def install_roles(client: Elastic, names: StoreNames, *, events: tuple[str, ...] = ("logs-*",)) -> SetupReport:
    """The roles of the runner: creates the missing ones; the others may have been adapted and stay."""
    report = SetupReport()
    for name, body in role_bodies(names, events=events).items():
        try:
            if await client.read_object("role", name) is not None:
                report += SetupReport(unchanged=(f"role {name}",))
                continue
            await client.write_object("role", name, body)
        except ClusterError as error:
            if error.no_such_api:
                return report + SetupReport(warnings=("this cluster has no security: no roles were created",))
            raise
        report += SetupReport(created=(f"role {name}",))
    return report


async def is_installed(client: Elastic, names: StoreNames) -> bool:
    """True if all that is written to is there; then nothing needs the rights to create it.

    Raises StoreError if the alerts are to go to Kibana's own alias, and that is missing.
    """
    if names.alerts_as == "security":
        await find_security_alerts(client, names.alerts)
    elif await read_target(client, names.alerts) is None:
        return False
    if await client.read_alias(names.runs) is None:
        return False
    return await client.index_exists(names.state)


async def _install_policy(client: Elastic, objects: AliasObjects) -> tuple[SetupReport, bool]:
    """The report, and whether there is a policy that indices can name."""
    label = f"lifecycle policy {objects.alias}"
    try:
        if await client.read_object("lifecycle_policy", objects.alias) is not None:
            return SetupReport(unchanged=(label,)), True
        await client.write_object("lifecycle_policy", objects.alias, objects.policy)
    except ClusterError as error:
        if not error.no_such_api:
            raise
        return SetupReport(warnings=(_without_policies(objects),)), False
    except AccessError as error:
        return SetupReport(warnings=(f"{objects.alias} is not rolled over by itself: {error}",)), False
    return SetupReport(created=(label,)), True


def _without_policies(objects: AliasObjects) -> str:
    start = f"this cluster has no index lifecycle management: {objects.alias}"
    if objects.is_stream:
        return f"{start} is kept by the lifecycle of data streams"
    age, size = objects.rollover["max_age"], objects.rollover["max_primary_shard_size"]
    kept = f", and what is older than {objects.delete_after} is yours to delete" if objects.delete_after else ""
    return f"{start} is rolled over by `rule-runner setup` alone, when it is run after {age} or {size}{kept}"


async def _install_alias(client: Elastic, objects: Callable[[Mapping[str, str]], AliasObjects]) -> SetupReport:
    """The templates and the first index of one alias, or of one data stream."""
    replaced, report = await _install_component(client, objects)
    fitted = objects(replaced)
    report += await _install_object(client, "index_template", fitted.alias, body=fitted.template_body)
    target = await read_target(client, fitted.alias)
    if target is None:
        return report + await (_install_stream if fitted.is_stream else _install_index)(client, fitted)
    if (target.kind == "data_stream") is not fitted.is_stream:
        expected = "a data stream" if fitted.is_stream else "an alias"
        found = target.kind.replace("_", " ")
        raise StoreError(f"`{fitted.alias}` is an existing {found}, expected {expected}: choose another name")
    if not target.write_index:
        raise StoreError(
            f"the alias `{fitted.alias}` has no write index: set `is_write_index` on one of {', '.join(target.indices)}"
        )
    report += await _update_mapping(client, fitted.alias, index=target.write_index, body=fitted.mappings_body)
    report += SetupReport(unchanged=(f"{target.kind.replace('_', ' ')} {fitted.alias}",))
    if not fitted.is_stream and not fitted.abilities.has_policies:
        new = await roll_over(client, fitted.alias, dict(fitted.rollover))
        report += SetupReport(updated=(f"alias {fitted.alias}, which goes on in {new}",) if new else ())
    return report


async def _install_component(
    client: Elastic, objects: Callable[[Mapping[str, str]], AliasObjects]
) -> tuple[dict[str, str], SetupReport]:
    """The types that had to be replaced, and the report, of the component template with the mappings."""
    replaced: dict[str, str] = {}
    while True:
        fitted = objects(replaced)
        try:
            report = await _install_object(
                client, "component_template", fitted.component_template, body=fitted.component_body
            )
            break
        except ClusterError as error:
            found = _NO_TYPE.search(error.reason)
            missing = found["type"] if found else ""
            if missing not in REPLACEMENTS or missing in replaced:
                raise
            replaced[missing] = REPLACEMENTS[missing]
    warnings = tuple(
        f"{fitted.alias}: this cluster has no field type `{missing}`; "
        + (f"`{other}` stands in for it" if other != "object" else "such fields can not be searched")
        for missing, other in sorted(replaced.items())
    )
    return replaced, report + SetupReport(warnings=warnings)


async def _install_object(client: Elastic, kind: ObjectKind, name: str, *, body: Mapping[str, Any]) -> SetupReport:
    label = f"{kind.replace('_', ' ')} {name}"
    stored = await client.read_object(kind, name)
    if stored is not None:
        meta = stored.get("_meta") or {}
        if meta.get("managed_by") != PRODUCT:
            raise StoreError(
                f"the {label} is there already and not one of {PRODUCT}'s: choose another name for the alias"
            )
        if (found := version_in(meta)) > VERSION:
            # What a newer runner writes has a place in them, and what this one writes as well.
            newer = f"the {label} is of version {found}, this rule-runner's is {VERSION}: it is left as it is"
            return SetupReport(unchanged=(label,), warnings=(newer,))
        if found == VERSION:
            return SetupReport(unchanged=(label,))
    await client.write_object(kind, name, body)
    return SetupReport(created=(label,)) if stored is None else SetupReport(updated=(label,))


async def _update_mapping(client: Elastic, name: str, *, index: str, body: Mapping[str, Any]) -> SetupReport:
    """Brings new fields to the index that is written to now; a conflict waits for the next rollover."""
    if await mapping_version(client, index, product=PRODUCT) >= VERSION:
        return SetupReport()
    try:
        await client.put_mapping(name, body)
    except ClusterError as error:
        warning = f"{name}: the new mapping takes effect with the next rollover only: {error.reason}"
        return SetupReport(warnings=(warning,))
    return SetupReport(updated=(f"mapping of {name}",))


async def _install_stream(client: Elastic, objects: AliasObjects) -> SetupReport:
    label = f"data stream {objects.alias}"
    if await create_stream(client, objects.alias):
        return SetupReport(created=(label,))
    return SetupReport(unchanged=(label,))


async def _install_index(client: Elastic, objects: AliasObjects) -> SetupReport:
    label = f"alias {objects.alias}"
    if await client.index_exists(objects.alias):
        target = await read_target(client, objects.alias)
        if target is None:
            raise StoreError(f"`{objects.alias}` is an index, expected an alias: rename it, or choose another alias")
        return SetupReport(unchanged=(label,))
    if await client.create_index(objects.first_index, objects.index_body):
        return SetupReport(created=(label, f"index {objects.first_index}"))
    # Another process was faster, or the alias was removed from its first index.
    if await read_target(client, objects.alias) is None:
        raise StoreError(f"the index {objects.first_index} is there, but without its alias `{objects.alias}`")
    return SetupReport(unchanged=(label,))


async def _install_state(client: Elastic, name: str, *, is_serverless: bool) -> SetupReport:
    body = state_index_body(is_serverless=is_serverless)
    template = state_template_body(name, is_serverless=is_serverless)
    report = await _install_object(client, "index_template", name, body=template)
    if not await client.index_exists(name) and await client.create_index(name, body):
        return report + SetupReport(created=(f"index {name}",))
    return (
        report
        + SetupReport(unchanged=(f"index {name}",))
        + await _update_mapping(client, name, index=name, body=body["mappings"])
    )
