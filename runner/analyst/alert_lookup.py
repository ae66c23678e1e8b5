"""One stored alert by its id, with the building blocks of its sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runner.alerts.event_fields import value_at
from runner.errors import RunnerError
from runner.rules.model_errors import shortened
from runner.store.protocol import AlertStore, StoredAlert
from runner.store.sqlite.sqlite_store import SqliteStore

SHORT_ID: Final = 12
"""Characters of an id in a table; every command and page accepts any unique prefix."""


async def with_blocks(alerts: AlertStore, id_: str) -> tuple[StoredAlert, Sequence[StoredAlert]]:
    """The alert with its building blocks, if it is a sequence; a building block is replaced by its sequence."""
    found = await only(alerts, id_)
    group = value_at(found.document, "kibana.alert.group.id")
    return found, () if group is None else await alerts.group(str(group))


async def only(alerts: AlertStore, id_: str) -> StoredAlert:
    """The one alert whose id begins like this, or of whose sequence that is an event. Raises RunnerError."""
    found = await _only(alerts, id_)
    group = found.document.get("kibana.alert.group.id")
    if group is not None and found.document.get("kibana.alert.group.index") is not None:
        shells = await alerts.get(str(group))
        return shells[0] if shells else found
    return found


async def _only(alerts: AlertStore, id_: str) -> StoredAlert:
    if not id_:
        raise RunnerError("an empty id names no alert; `rule-runner alerts list` shows what there is")
    found = await alerts.get(id_)
    if not found:
        if isinstance(alerts, SqliteStore) and await alerts.pruned_ids([id_]):
            raise RunnerError(
                f"the alert {id_} is older than alerts are kept (RUNNER_KEEP_ALERTS): its id alone is left"
            )
        named = shortened(id_)
        raise RunnerError(
            f"no alert has an id that begins with {named!r}; `rule-runner alerts list` shows what there is"
        )
    if len(found) > 1:
        shown = ", ".join(alert.id[: max(SHORT_ID, len(id_) + 4)] for alert in found[:5])
        raise RunnerError(f"{id_!r} is the beginning of {len(found)} ids ({shown}, ...): give more of it")
    return found[0]
