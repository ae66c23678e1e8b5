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


class ExampleRule(Enum):
    """The example rules, one of each type that runs over files, for which a sample has an incident."""

    SCHEDULED_JOB = "d53c52c6-f3b1-5f26-b7a7-4781a2e2e723"
    """Type query in KQL: "Scheduled or Start-up File Written by a Shell"."""
    DECODED_SCRIPT = "24150f4d-fc97-56f4-88ee-485d02687224"
    """Type query in Lucene's syntax: "Decoded Script Piped into a Shell"."""
    SWEEP = "9fc46cf5-dcb7-58bf-8f12-43ea08d1d6a0"
    """Type threshold: "Sweep of Remote Administration Ports"."""
    KERNEL_MODULE = "7e25ea99-ca71-56bc-848b-3ef87770af74"
    """Type new_terms: "Kernel Module New on a Host"."""
    KNOWN_ADDRESS = "a7b0f939-50b3-528e-bf42-d6e246d9e77e"
    """Type threat_match: "Connection to a Known Address"."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted item: an attack, which its rule matches exactly once, or a near miss, which no rule matches."""

    kind: Literal["attack", "near_miss"]
    rule: RuleId | ExampleRule
    variant: str
    """The technique of the attack, or the reason why the near miss does not match."""
    host: str
    event_ids: tuple[str, ...]
    """The `event.id` of its events: of a sequence in the order of the rule's stages, else in that of time."""
    at: int
    """`@timestamp` of the earlier one, in nanoseconds since 1970."""
    gap: int
    """Nanoseconds from the first event to the last; negative if a second stage comes first."""

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
