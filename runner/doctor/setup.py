"""Checks of the aliases, indices and templates that `setup` creates, and of their version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.cluster.elasticsearch import Elastic, ObjectKind
from runner.doctor.access import Access
from runner.doctor.checks import Check, guarded, ok
from runner.errors import AccessError, ClusterError
from runner.messages.quantities import counted
from runner.setup.index_objects import PRODUCT, VERSION, AliasObjects, StoreNames, alert_objects, run_objects
from runner.setup.write_target import mapping_version, read_target, version_in

_RUN_SETUP = "run `rule-runner setup`"


async def check_setup(client: Elastic, names: StoreNames, access: Access) -> list[Check]:
    """The checks of the alert target, the run log, the state index, and their templates."""
    checks: list[Check] = []
    for name in (names.alerts, names.runs):
        checks += await guarded("setup", name, _target(client, name, access=access, names=names))
    checks += await guarded("setup", names.state, _state(client, names.state, access=access))
    for objects in (alert_objects(names), run_objects(names)):
        if objects is not None:
            subject = f"templates of {objects.alias}"
            checks += await guarded("setup", subject, _templates(client, objects, access=access))
    return checks


def _missing(subject: str, access: Access) -> Check:
    """The check of an object that does not exist: a problem only if the runner may not create it."""
    if not access.lacks_for_setup:
        found = "not there yet: the first run creates it"
        return Check("setup", subject, "warning", found, f"{_RUN_SETUP} to have it beforehand")
    found = f"not there, and we may not create it (missing {access.lacks_for_setup})"
    return Check("setup", subject, "problem", found, f"{_RUN_SETUP} as somebody who may")


async def _target(client: Elastic, name: str, *, access: Access, names: StoreNames) -> list[Check]:
    target = await read_target(client, name)
    if target is None:
        if name == names.alerts and names.alerts_as == "security":
            remedy = "open Security > Alerts in Kibana once: the alias is Kibana's to make"
            return [Check("setup", name, "problem", "there is no such alias of Kibana's", remedy)]
        if await client.index_exists(name):
            remedy = "choose another name, or rename that index"
            return [Check("setup", name, "problem", "it is an index, expected an alias", remedy)]
        return [_missing(name, access)]
    if not target.write_index:
        indices = ", ".join(target.indices)
        remedy = f"set `is_write_index` on one of {indices}"
        return [Check("setup", name, "problem", "the alias has no write index", remedy)]
    kind = "data stream" if target.kind == "data_stream" else "alias"
    found = f"{kind} of {counted(len(target.indices), 'index', 'indices')}, {target.write_index} is written to"
    if names.alerts_as == "security" and name == names.alerts:
        return [ok("setup", name, found)]
    try:
        version = await mapping_version(client, target.write_index, product=PRODUCT)
    except AccessError:
        return [ok("setup", name, f"{found}; its mapping may not be read")]
    if version < VERSION:
        text = f"{found}, but with a mapping of version {version}, expected {VERSION}"
        return [Check("setup", name, "warning", text, f"{_RUN_SETUP}, which brings it up to date")]
    return [ok("setup", name, found)]


async def _state(client: Elastic, name: str, *, access: Access) -> list[Check]:
    if not await client.index_exists(name):
        return [_missing(name, access)]
    return [ok("setup", name, "the index of the ledger is there")]


async def _templates(client: Elastic, objects: AliasObjects, *, access: Access) -> list[Check]:
    subject = f"templates of {objects.alias}"
    wanted: tuple[tuple[ObjectKind, str], ...] = (
        ("component_template", objects.component_template),
        ("index_template", objects.alias),
    )
    found: list[Mapping[str, Any]] = []
    try:
        for kind, name in wanted:
            stored = await client.read_object(kind, name)
            if stored is None:
                return [_missing(subject, access)]
            found.append(stored.get("_meta") or {})
    except AccessError:
        return [ok("setup", subject, "may not be read: that needs the privileges for `setup`")]
    except ClusterError as error:
        return [Check("setup", subject, "warning", str(error))]
    if any(meta.get("managed_by") != PRODUCT for meta in found):
        remedy = "choose another name for the alias"
        return [Check("setup", subject, "problem", f"a template of this name is not one of {PRODUCT}'s", remedy)]
    version = min(version_in(meta) for meta in found)
    if version < VERSION:
        text = f"of version {version}, expected {VERSION}"
        return [Check("setup", subject, "warning", text, f"{_RUN_SETUP}, which brings them up to date")]
    return [ok("setup", subject, f"in place, version {version}")]
