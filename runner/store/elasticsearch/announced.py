"""`AnnouncedAlerts`: alerts of a cluster that are owed to targets before they are created."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from runner.alerts.alert import Alert
from runner.store.changes import AlertChange, UpdateResult
from runner.store.elasticsearch.alerts import ElasticsearchAlerts
from runner.store.elasticsearch.outbox import ElasticsearchOutbox
from runner.store.excepted_store import ExceptedStore
from runner.store.group_store import GroupStore
from runner.store.outbox import ItemOf
from runner.store.overview import Overview, OverviewRequest
from runner.store.protocol import AlertFilter, StoredAlert, WriteResult


class AnnouncedAlerts:
    """The same alerts. Implements `AlertStore`.

    `create` first stores what targets are owed of the alerts that are not there yet. So no alert is there that was not
    announced, wherever the process dies; an alert that was announced and is not there is searched again.
    """

    def __init__(
        self,
        alerts: ElasticsearchAlerts,
        outbox: ElasticsearchOutbox,
        targets: Callable[[], Mapping[str, ItemOf]],
    ) -> None:
        """`targets` gives what alerts become for each target, by its name, as of now."""
        self._alerts = alerts
        self._outbox = outbox
        self._targets = targets

    @property
    def groups(self) -> GroupStore:
        return self._alerts.groups

    @property
    def excepted(self) -> ExceptedStore:
        return self._alerts.excepted

    async def existing_ids(self, ids: Collection[str]) -> frozenset[str]:
        return await self._alerts.existing_ids(ids)

    async def by_ids(self, ids: Collection[str]) -> Mapping[str, StoredAlert]:
        return await self._alerts.by_ids(ids)

    async def create(self, alerts: Sequence[Alert]) -> WriteResult:
        targets = self._targets()
        if not targets:
            return await self._alerts.create(alerts)
        heads = {alert.id: alert for alert in alerts if alert.kind != "building_block"}
        known = await self._alerts.existing_ids(heads)
        new = [alert for id_, alert in heads.items() if id_ not in known]
        owed = {
            target: [item for alert in new if (item := item_of(alert.id, alert.document)) is not None]
            for target, item_of in targets.items()
        }
        await self._outbox.add(owed)
        result = await self._alerts.create(alerts)
        if result.rejected:
            await self._outbox.withdraw(owed, result.rejected)
        return result

    async def update(self, changes: Sequence[AlertChange]) -> UpdateResult:
        return await self._alerts.update(changes)

    def find(self, wanted: AlertFilter) -> AsyncIterator[StoredAlert]:
        return self._alerts.find(wanted)

    async def overview(self, request: OverviewRequest) -> Overview:
        return await self._alerts.overview(request)

    async def get(self, prefix: str) -> Sequence[StoredAlert]:
        return await self._alerts.get(prefix)

    async def group(self, group_id: str) -> Sequence[StoredAlert]:
        return await self._alerts.group(group_id)
