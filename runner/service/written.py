"""What became of the matches of a run as they were written, and why some could become no alert."""

from __future__ import annotations

from dataclasses import dataclass

from runner.alerts.event_fields import text_at
from runner.search.protocol import Match

OF_A_DOCUMENT = (ValueError, OverflowError, RecursionError)
"""What a value or the depth of a document makes the code raise."""


@dataclass(frozen=True, slots=True)
class Written:
    """Counts of heads: alerts that an analyst sees, building blocks not counted."""

    created: int = 0
    duplicates: int = 0
    rejected: tuple[str, ...] = ()
    """Alerts, building blocks too, that the store will never take, each with the reason."""
    impossible: tuple[str, ...] = ()
    """Why a match can become no alert, for each such match: its window is not owed for that."""
    suppressed: int = 0
    """Matches that were counted in an alert of another one."""

    def plus(self, other: Written) -> Written:
        return Written(
            self.created + other.created,
            self.duplicates + other.duplicates,
            (*self.rejected, *other.rejected),
            (*self.impossible, *other.impossible),
            self.suppressed + other.suppressed,
        )


def reason_against(match: Match, error: Exception) -> str:
    """Why a match can become no alert, with its place: the event's `_id`, or its id and time."""
    if match.unreadable:
        return match.unreadable
    texts = (
        hit.id or " ".join(filter(None, (text_at(hit.source, "event.id"), text_at(hit.source, "@timestamp"))))
        for hit in match.hits
        if not hit.missing
    )
    return f"event {', '.join(filter(None, texts)) or 'without an id'}: {str(error) or type(error).__name__}"
