"""`install_objects`: puts our objects into Kibana; those that a user has edited stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from runner.cluster.kibana import Kibana
from runner.errors import StoreError
from runner.setup.install_indices import SetupReport
from runner.setup.saved_objects import VERSION, version_of

_NAMES = {"index-pattern": "data view", "search": "saved search"}
_REPLACE = "`rule-runner setup --replace-kibana-objects` puts ours in its place"


async def install_objects(
    kibana: Kibana, objects: Sequence[Mapping[str, Any]], *, replace: bool = False
) -> SetupReport:
    """What was done with each object. Safe to repeat.

    A missing one is created. One of an older version of ours is replaced if it was not edited since; with `replace`,
    every one is. Anything else stays as it is, with a warning. Raises StoreError if Kibana does not take an object,
    and the errors of `Kibana`.
    """
    await kibana.check_version()
    report = SetupReport()
    chosen: list[Mapping[str, Any]] = []
    fresh: set[str] = set()
    for item in objects:
        stored = await kibana.read(item["type"], item["id"])
        action, why = ("write", "") if replace else _action_for(item, stored)
        if action == "write":
            chosen.append(item)
            if stored is None:
                fresh.add(item["id"])
        elif action == "keep":
            report += SetupReport(unchanged=(_label(item),))
        else:
            report += SetupReport(unchanged=(_label(item),), warnings=(f"{_label(item)} {why}; {_REPLACE}",))
    return report + await _write(kibana, chosen, fresh)


async def _write(kibana: Kibana, objects: Sequence[Mapping[str, Any]], fresh: set[str]) -> SetupReport:
    if not objects:
        return SetupReport()
    # Without `overwrite` where no object is to be replaced: not even a race may then overwrite one.
    done = await kibana.store(objects, overwrite=len(fresh) < len(objects))
    if done.failures:
        named = {item["id"]: _label(item) for item in objects}
        raise StoreError(
            "Kibana did not take the objects: "
            + "; ".join(f"{named.get(id_, id_)}: {why}" for id_, why in done.failures.items())
        )
    moved = [
        f"{_label(item)} was stored as {got}, since an object of another space has its id"
        for item in objects
        if (got := done.ids.get(item["id"], item["id"])) != item["id"]
    ]
    created = tuple(_label(item) for item in objects if item["id"] in fresh)
    updated = tuple(_label(item) for item in objects if item["id"] not in fresh)
    return SetupReport(created=created, updated=updated, warnings=tuple(moved))


def _action_for(
    item: Mapping[str, Any], stored: Mapping[str, Any] | None
) -> tuple[Literal["write", "keep", "leave"], str]:
    """What to do with an object, given what is stored under its id, and why it is left where it should not be."""
    if stored is None:
        return "write", ""
    if item["type"] == "index-pattern":
        # A data view has no description to carry a version; what counts in it is what it shows.
        shown, wanted = stored["attributes"].get("title"), item["attributes"]["title"]
        return ("keep", "") if shown == wanted else ("leave", f"shows `{shown}`, expected `{wanted}`")
    version = version_of(stored)
    if version is None:
        return "leave", "is there already and its description does not say that it is rule-runner's"
    if version >= VERSION:
        return "keep", ""
    if stored.get("updated_at") and stored.get("updated_at") == stored.get("created_at"):
        return "write", ""
    return "leave", f"is of version {version}, ours is {VERSION}, and it was edited since"


def _label(item: Mapping[str, Any]) -> str:
    return f"{_NAMES.get(item['type'], item['type'])} {item['id']} in Kibana"
