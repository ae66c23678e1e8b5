"""`StoredAlert`: an alert as a store gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """One alert as it is stored."""

    id: str
    index: str
    document: Mapping[str, Any]
