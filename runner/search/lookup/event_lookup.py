"""`EventLookup`: how events are looked up, wherever they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The documents of a look-up, the newest first, and what keeps them from being all there are."""

    documents: tuple[Mapping[str, Any], ...] = ()
    incomplete: str = ""
    """Why some, or all, of the events were not looked at; "" if all were."""


class EventLookup(Protocol):
    """Finds events by a query in KQL."""

    async def newest(self, kql: str, *, size: int, seconds: float) -> LookedUp:
        """The newest `size` events that meet the query, as far as they are found in so many seconds.

        A search that fails is told in `incomplete`: a look-up only adds to what is known.
        """
        ...
