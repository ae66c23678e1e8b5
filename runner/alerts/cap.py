"""Which matches of a run become alerts: repeats out, the earliest first, no more new ones than the rule allows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from runner.alerts.identity import alert_ids, former_alert_ids
from runner.rules.rule import Rule
from runner.search.protocol import Match


@dataclass(frozen=True, slots=True)
class Candidate:
    """One match with the ids of its alerts, which may cost a hash of each document; the last id is the head's."""

    match: Match
    ids: tuple[str, ...]
    former_head: str = ""
    """The head's id by the recipe of earlier versions, where that was another."""
    rivals: tuple[str, ...] = ()
    """Ids of alerts that stand for this one where they are stored: of later events with the same new terms."""

    @property
    def head(self) -> str:
        return self.ids[-1]


@dataclass(frozen=True, slots=True)
class Selection:
    """The candidates of a run, sorted by what is done with them. One that repeats an earlier one is in none."""

    taken: tuple[Candidate, ...] = ()
    """To be written: the new ones, and those of which only a part is stored."""
    duplicates: tuple[Candidate, ...] = ()
    """Stored already, whole."""
    capped: tuple[Candidate, ...] = ()
    """New, but over the limit: left for the next run."""
    created: int = 0
    """The new alerts among `taken`: those whose head is not stored yet."""

    @property
    def heads(self) -> frozenset[str]:
        """The heads of all candidates of this selection, for the `seen` of a later part of the same run."""
        return frozenset(one.head for group in (self.taken, self.duplicates, self.capped) for one in group)


def candidate_for(match: Match, rule: Rule, space: str) -> Candidate:
    """The match with the ids of the alerts that the rule makes of it in a space."""
    ids, former = alert_ids(match, rule, space), former_alert_ids(match, rule, space)
    rivals = tuple(alert_ids(replace(match, hits=(hit,)), rule, space)[-1] for hit in match.others)
    return Candidate(match, ids, former[-1] if former != ids else "", rivals)


def take_new(
    candidates: Iterable[Candidate], known: Collection[str], *, limit: int, seen: Collection[str] = ()
) -> Selection:
    """The candidates, which come earliest first, split into those to write, those stored already, those over the cap.

    `known` holds the ids that are stored. A candidate is a duplicate only if all its ids are: one that was half written
    when a process died is completed, at no cost to the limit if its head was there. `seen` holds the heads of earlier
    parts of the same run; `limit` is what is left of `max_signals`, and less than 0 counts as 0.
    """
    handled = set(seen)
    taken: list[Candidate] = []
    duplicates: list[Candidate] = []
    capped: list[Candidate] = []
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
