"""Whether what the runner writes to is in place in the cluster, and of this version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.cluster.elasticsearch import Elastic, ObjectKind
from runner.doctor.access import Access
from runner.doctor.checks import Check, counted, guarded, ok
from runner.errors import AccessError, ClusterError
from runner.setup.index_objects import PRODUCT, VERSION, AliasObjects, StoreNames, alert_objects, run_objects
from runner.setup.write_target import mapping_version, read_target

_RUN_SETUP = "run `rule-runner setup`"


async def look_at_setup(client: Elastic, names: StoreNames, access: Access) -> list[Check]:
    """The alert target, the run log, the state index, and their templates."""
    missing = _Missing(access)
    checks: list[Check] = []
    for name in (names.alerts, names.runs):
        checks += await guarded("setup", name, _target(client, name, missing=missing, names=names))
    checks += await guarded("setup", names.state, _state(client, names.state, missing=missing))
    for objects in (alert_objects(names), run_objects(names)):
        if objects is not None:
            subject = f"templates of {objects.alias}"
            checks += await guarded("setup", subject, _templates(client, objects, missing=missing))
    return checks


class _Missing:
    """What to say of an object that is not there, by what we may do about it."""

    def __init__(self, access: Access) -> None:
        self._lacks = access.lacks_for_setup

    def check(self, subject: str) -> Check:
        if not self._lacks:
            found = "not there yet: the first run creates it"
            return Check("setup", subject, "warning", found, f"{_RUN_SETUP} to have it beforehand")
        found = f"not there, and we may not create it (missing {self._lacks})"
        return Check("setup", subject, "problem", found, f"{_RUN_SETUP} as somebody who may")


async def _target(client: Elastic, name: str, *, missing: _Missing, names: StoreNames) -> list[Check]:
    target = await read_target(client, name)
    if target is None:
        if name == names.alerts and names.alerts_as == "security":
            remedy = "open Security > Alerts in Kibana once: the alias is Kibana's to make"
            return [Check("setup", name, "problem", "there is no such alias of Kibana's", remedy)]
        if await client.index_exists(name):
            remedy = "choose another name, or rename that index"
            return [Check("setup", name, "problem", "it is an index, expected an alias", remedy)]
        return [missing.check(name)]
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


async def _state(client: Elastic, name: str, *, missing: _Missing) -> list[Check]:
    if not await client.index_exists(name):
        return [missing.check(name)]
    return [ok("setup", name, "the index of the ledger is there")]


async def _templates(client: Elastic, objects: AliasObjects, *, missing: _Missing) -> list[Check]:
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
                return [missing.check(subject)]
            found.append(stored.get("_meta") or {})
    except AccessError:
        return [ok("setup", subject, "may not be read: that needs the privileges for `setup`")]
    except ClusterError as error:
        return [Check("setup", subject, "warning", str(error))]
    if any(meta.get("managed_by") != PRODUCT for meta in found):
        remedy = "choose another name for the alias"
        return [Check("setup", subject, "problem", f"a template of this name is not one of {PRODUCT}'s", remedy)]
    version = min(int(meta.get("version", 0)) for meta in found)
    if version < VERSION:
        text = f"of version {version}, expected {VERSION}"
        return [Check("setup", subject, "warning", text, f"{_RUN_SETUP}, which brings them up to date")]
    return [ok("setup", subject, f"in place, version {version}")]
