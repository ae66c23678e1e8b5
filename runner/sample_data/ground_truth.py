"""The ground truth of a sample: a record per planted attack and near miss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from runner.sample_data.machine_state import time_text


class RuleId(Enum):
    """The two rules for which a sample has attacks."""

    REVERSE_SHELL = "48b3d2e3-f4e8-41e6-95e6-9b2091228db3"
    """A shell connects, then starts a shell: "Potential Reverse Shell"."""
    CHILD_PROCESS = "76e4d92b-61c1-4a95-ab61-5fd94179a1ee"
    """A utility starts, then connects: "Potential Reverse Shell via Suspicious Child Process"."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted item: an attack, which its rule matches exactly once, or a near miss, which no rule matches."""

    kind: Literal["attack", "near_miss"]
    rule: RuleId
    variant: str
    """The technique of the attack, or the reason why the near miss does not match."""
    host: str
    event_ids: tuple[str, str]
    """The `event.id` of the two events, in the order of the rule's stages."""
    at: int
    """`@timestamp` of the earlier one, in nanoseconds since 1970."""
    gap: int
    """Nanoseconds from the first stage to the second; negative if the second comes first."""

    def line(self) -> dict[str, object]:
        """The record as an object of the truth file."""
        return {
            "kind": self.kind,
            "rule_id": self.rule.value,
            "variant" if self.kind == "attack" else "reason": self.variant,
            "host": self.host,
            "event_ids": list(self.event_ids),
            "timestamp": time_text(self.at, 9),
            "gap_ms": self.gap / 1_000_000,
        }
