"""`Point`: a point in time of the indices of some rules, and searches in it until a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, RunnerError, SearchError
from runner.search.cluster.search_failures import left_out

_LOG = logging.getLogger("runner.search.point")
_KEEP_ALIVE = "2m"
"""Time that the server keeps a point in time after each use: longer than one page may take."""
_LAST_GRACE = 2.0
"""Seconds that a cancelled pass waits for the id of its point in time, to close it."""
_IS_GONE = "No search context found"


class PointLostError(SearchError):
    """The server has forgotten the point in time, as a restarted node does."""


class RemoteLostError(SearchError):
    """A remote cluster that has some of the indices was left out of the point in time."""


class PassTimeoutError(SearchError):
    """The deadline has passed."""


@dataclass(frozen=True, slots=True)
class PassOptions:
    """Documents per page, seconds for the whole pass, and fields beside those of the indices."""

    page_size: int = 5_000
    timeout: float = 120.0
    runtime_mappings: Mapping[str, Any] = field(default_factory=dict)


class Point:
    """A point in time that is opened and closed once; what was deleted meanwhile is still there in it."""

    def __init__(
        self, client: Elastic, indices: Sequence[str], *, options: PassOptions, opaque_id: str, remotes: Collection[str]
    ) -> None:
        """`remotes` are the remote clusters that have some of the indices: none of them may be left out."""
        self._client = client
        self._indices = indices
        self._options = options
        self._opaque_id = opaque_id
        self._remotes = frozenset(remotes)
        self._id: str | None = None
        self._deadline = 0.0

    async def open(self) -> None:
        """Open it and start its deadline. If cancelled meanwhile, wait a moment for the id, to be able to close it."""
        self._deadline = asyncio.get_running_loop().time() + self._options.timeout
        opening = self._client.open_point(self._indices, keep_alive=_KEEP_ALIVE, deadline=self._deadline)
        task = asyncio.create_task(opening)
        try:
            self._id = await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,), timeout=_LAST_GRACE)
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                self._id = task.result()
            raise

    async def close(self) -> None:
        """Close it, however the pass ended."""
        if self._id is None:
            return
        try:
            await self._client.close_point(self._id)
        except RunnerError as error:
            # The server drops it by itself when its time has passed.
            _LOG.warning("a point in time could not be closed: %s", error)

    async def search(self, body: Mapping[str, Any]) -> bytes:
        """The JSON of the answer to one request, to be read and checked. Raises RunnerError if none comes in time."""
        late = PassTimeoutError(f"the search took longer than {self._options.timeout:g} s and was stopped")
        if asyncio.get_running_loop().time() >= self._deadline:
            raise late
        given = {"pit": {"id": self._id, "keep_alive": _KEEP_ALIVE}, "track_total_hits": False, **body}
        if self._options.runtime_mappings:
            given["runtime_mappings"] = self._options.runtime_mappings
        try:
            return await self._client.search_point(given, deadline=self._deadline, opaque_id=self._opaque_id)
        except RunnerError as error:
            if asyncio.get_running_loop().time() >= self._deadline:
                raise late from None
            if isinstance(error, ClusterError) and (error.status == 404 or _IS_GONE in error.reason):
                raise PointLostError(str(error)) from None
            raise

    def check(self, answer: Mapping[str, Any]) -> None:
        """Keep the answer's id of the point. Raises SearchError if it is not the whole answer."""
        if trouble := left_out(answer):
            raise SearchError(trouble)
        # Opened while a remote cluster with `skip_unavailable` was away, a point in time is silently without it.
        if missing := self._remotes - ((answer.get("_clusters") or {}).get("details") or {}).keys():
            raise RemoteLostError(f"the remote clusters {', '.join(sorted(missing))} did not answer")
        self._id = answer.get("pit_id") or self._id
