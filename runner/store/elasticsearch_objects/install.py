"""`install`: creates what the runner needs in the cluster, and leaves alone what is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.elastic import Elastic, ObjectKind
from runner.errors import AccessError, ClusterError, StoreError
from runner.store.elasticsearch_objects.mappings import REPLACEMENTS
from runner.store.elasticsearch_objects.objects import (
    PRODUCT,
    VERSION,
    AliasObjects,
    StoreNames,
    alert_objects,
    role_bodies,
    run_objects,
    state_index_body,
)

_NO_TYPE = re.compile(r"(?:mapper type|No handler for type) \[(?P<type>\w+)\]")
"""How Elasticsearch, since 8.10 and before, says that it does not know a field type."""


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

    Safe to repeat and to run twice at a time. Raises StoreError where a name is taken by something else, and the errors
    of `Elastic`.
    """
    report = SetupReport()
    for build in (alert_objects, run_objects):
        policy_report, has_lifecycle = await _install_policy(client, build(names))
        report += policy_report

        def objects(
            replaced: Mapping[str, str],
            build: Callable[..., AliasObjects] = build,
            has_lifecycle: bool = has_lifecycle,
        ) -> AliasObjects:
            return build(names, replaced=replaced, has_lifecycle=has_lifecycle)

        report += await _install_alias(client, objects)
    return report + await _install_state(client, names.state)


async def install_roles(client: Elastic, names: StoreNames, *, events: tuple[str, ...] = ("logs-*",)) -> SetupReport:
    """The roles of the runner: creates the missing ones, leaves the others as somebody may have fitted them."""
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
    """True if both aliases and the ledger's index are there; then nothing needs the rights to create them."""
    for alias in (names.alerts, names.runs):
        if await client.read_alias(alias) is None:
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
        warning = f"this cluster has no index lifecycle management: {objects.alias} is not rolled over by itself"
        return SetupReport(warnings=(warning,)), False
    except AccessError as error:
        return SetupReport(warnings=(f"{objects.alias} is not rolled over by itself: {error}",)), False
    return SetupReport(created=(label,)), True


async def _install_alias(client: Elastic, objects: Callable[[Mapping[str, str]], AliasObjects]) -> SetupReport:
    """The templates and the first index of one alias."""
    plain = objects({})
    replaced, report = await _install_component(client, objects)
    fitted = objects(replaced)
    report += await _install_object(client, "index_template", plain.alias, body=fitted.template_body)
    if report.updated:
        report += await _update_mapping(client, fitted)
    return report + await _install_index(client, plain)


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
        # A newer runner may have been here; its objects serve this one as well.
        if int(meta.get("version", 0)) >= VERSION:
            return SetupReport(unchanged=(label,))
    await client.write_object(kind, name, body)
    return SetupReport(created=(label,)) if stored is None else SetupReport(updated=(label,))


async def _update_mapping(client: Elastic, objects: AliasObjects) -> SetupReport:
    """Brings new fields to the index that is written to now; a conflict waits for the next rollover."""
    if await client.read_alias(objects.alias) is None:
        return SetupReport()
    try:
        await client.put_mapping(objects.alias, objects.mappings)
    except ClusterError as error:
        warning = f"{objects.alias}: the new mapping takes effect with the next rollover only: {error.reason}"
        return SetupReport(warnings=(warning,))
    return SetupReport(updated=(f"mapping of {objects.alias}",))


async def _install_index(client: Elastic, objects: AliasObjects) -> SetupReport:
    label = f"alias {objects.alias}"
    behind = await client.read_alias(objects.alias)
    if behind is None:
        if await client.index_exists(objects.alias):
            raise StoreError(f"`{objects.alias}` is an index, expected an alias: rename it, or choose another alias")
        if await client.create_index(objects.first_index, objects.index_body):
            return SetupReport(created=(label, f"index {objects.first_index}"))
        # Somebody else was faster, or the alias was taken away from its first index.
        behind = await client.read_alias(objects.alias)
        if behind is None:
            raise StoreError(f"the index {objects.first_index} is there, but without its alias `{objects.alias}`")
    if not any(behind.values()):
        raise StoreError(
            f"the alias `{objects.alias}` has no write index: "
            f"set `is_write_index` on one of {', '.join(sorted(behind))}"
        )
    return SetupReport(unchanged=(label,))


async def _install_state(client: Elastic, name: str) -> SetupReport:
    if await client.index_exists(name) or not await client.create_index(name, state_index_body()):
        return SetupReport(unchanged=(f"index {name}",))
    return SetupReport(created=(f"index {name}",))
