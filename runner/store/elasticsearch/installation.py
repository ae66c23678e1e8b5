"""`Installation`: what the stores write to in a cluster, created where it is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, StoreError
from runner.setup.index_objects import StoreNames
from runner.setup.install_indices import SetupReport, install, install_roles, is_installed

_LOG = logging.getLogger("runner.store.elasticsearch")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns an error that the cluster answers into a StoreError."""
    try:
        yield
    except ClusterError as error:
        raise StoreError(str(error)) from None


class Installation:
    """The indices, aliases and templates of the stores in one cluster. Raises StoreError and the client's errors."""

    def __init__(self, client: Elastic, names: StoreNames) -> None:
        self._client = client
        self._names = names
        self._ready = False
        self._installing = asyncio.Lock()

    async def install(self) -> SetupReport:
        """Create what is missing in the cluster; what is there stays as it is. Safe to repeat."""
        async with self._installing:
            with store_errors():
                report = await install(self._client, self._names)
            self._ready = True
            return report

    async def install_roles(self, *, events: Sequence[str] = ("logs-*",)) -> SetupReport:
        """Create the roles of the runner where they are missing; `events` are the patterns of the rules' indices."""
        with store_errors():
            return await install_roles(self._client, self._names, events=tuple(events))

    async def ensure(self) -> None:
        """Install what is missing, once; with everything there, no right to create anything is needed."""
        if self._ready:
            return
        with store_errors():
            installed = await is_installed(self._client, self._names)
        if installed:
            self._ready = True
        else:
            for warning in (await self.install()).warnings:
                _LOG.warning(warning)
