"""Which matches of a run become alerts: repeats out, the earliest first, no more new ones than the rule allows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate(Generic[T]):
    """One match, or the alerts built of it, with the ids of its alerts; the last id is the head's."""

    item: T
    ids: Sequence[str]

    @property
    def head(self) -> str:
        return self.ids[-1]


@dataclass(frozen=True, slots=True)
class Selection(Generic[T]):
    """What becomes of each candidate, in their order. A candidate that repeats an earlier one of the run is in none."""

    taken: tuple[Candidate[T], ...] = ()
    """To be written: the new ones, and those of which only a part is stored."""
    duplicates: tuple[Candidate[T], ...] = ()
    """Stored already, whole."""
    capped: tuple[Candidate[T], ...] = ()
    """New, but over the limit: left for the next run."""
    created: int = 0
    """How many of `taken` are new alerts: those whose head is not stored yet."""

    @property
    def heads(self) -> frozenset[str]:
        """The heads of all candidates of this selection: what `seen` is to hold for a later part of the same run."""
        return frozenset(one.head for group in (self.taken, self.duplicates, self.capped) for one in group)


def take_new(
    candidates: Iterable[Candidate[T]], known: Collection[str], *, limit: int, seen: Collection[str] = ()
) -> Selection[T]:
    """Split the candidates, which come earliest first, into what is written, what was there, and what has to wait.

    `known` holds the ids that are stored. A candidate is a duplicate only if all its ids are: one that was half written
    when a process died is completed, at no cost to the limit if its head was there. `seen` holds the heads of earlier
    parts of the same run; `limit` is what is left of `max_signals`, and less than 0 counts as 0.
    """
    handled = set(seen)
    taken: list[Candidate[T]] = []
    duplicates: list[Candidate[T]] = []
    capped: list[Candidate[T]] = []
    created = 0
    for candidate in candidates:
        if candidate.head in handled:
            continue
        handled.add(candidate.head)
        if all(id_ in known for id_ in candidate.ids):
            duplicates.append(candidate)
        elif candidate.head in known:
            taken.append(candidate)
        elif created < limit:
            taken.append(candidate)
            created += 1
        else:
            capped.append(candidate)
    return Selection(tuple(taken), tuple(duplicates), tuple(capped), created)
