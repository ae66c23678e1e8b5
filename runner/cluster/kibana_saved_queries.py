"""`KibanaSavedQueries`: the saved queries of a space, read from Kibana by the export of saved objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.cluster.kibana import Kibana
from runner.rules.saved_queries.saved_query import KIND


class KibanaSavedQueries:
    """The saved queries of one space. Its methods raise what those of `Kibana` raise."""

    def __init__(self, kibana: Kibana) -> None:
        self._kibana = kibana

    @property
    def place(self) -> str:
        """The Kibana and its space, for messages."""
        return f"{self._kibana.place}, space `{self._kibana.space}`"

    async def saved_query(self, id_: str) -> Mapping[str, Any] | None:
        """A saved object of type `query`; None if there is none of this id."""
        return await self._kibana.read(KIND, id_)

    async def close(self) -> None:
        """Close all connections."""
        await self._kibana.close()
