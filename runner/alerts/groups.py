"""What is remembered of alert suppression: per key the alerts that were made, and what each of them has counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Group:
    """An alert and the matches that it stands for."""

    alert_id: str
    created: datetime
    """The nominal end of the run that made it: the window of its suppression begins there."""
    start: int
    """The earliest and the latest time of an event, in nanoseconds since 1970."""
    end: int
    counted: frozenset[bytes]
    """The digests of the matches, that of the alert's own match among them."""
    touched: datetime
    """When a match was last counted, by the machine's clock."""
    is_written: bool = False
    """Whether the alert is known to be stored. One that is not is written by the run that searches its window again."""

    @property
    def count(self) -> int:
        """The matches beside the one of the alert itself: `docs_count`."""
        return len(self.counted) - 1


@dataclass(frozen=True, slots=True)
class KeyGroups:
    """All that is remembered of one key of a rule. A store replaces it as a whole, and only what was read."""

    key: str
    """The instance id: of a rule, a space, and the values of its `group_by` fields."""
    rule_id: str
    groups: tuple[Group, ...] = ()
    """In the order in which they were made."""
    until: datetime | None = None
    """When all of it may be forgotten, by the machine's clock."""
    version: Any = field(default=None, compare=False)
    """By which the store knows what it replaces; None of a key that is not stored."""


@dataclass(frozen=True, slots=True)
class Placeable:
    """What of a match decides where it belongs."""

    head: str
    """The id of the alert that it would make."""
    digest: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Suppressing:
    """How the matches of one run are grouped."""

    at: datetime
    """The nominal end of the run."""
    duration: timedelta | None
    """How long an alert takes further matches; None: those of its own run."""
    now: datetime
    kept: timedelta
    """How long a group is remembered after its last match."""

    def may_join(self, group: Group) -> bool:
        """Whether the run lies in the group's window. Runs may come late, so the window reaches back as far, too."""
        distance = abs(self.at - group.created)
        return distance <= self.duration if self.duration is not None else not distance

    def preference(self, group: Group) -> tuple[bool, timedelta]:
        """Sorts groups: those made before the run, the nearest one first, before those made after it."""
        return group.created > self.at, abs(self.at - group.created)


Status = Literal["open", "closed", "missing"]
"""What is known of a stored alert: `missing` ones are not stored, or not any longer."""
Placed = Literal["new", "counted", "known", "repaired", "over"]
"""What becomes of a match: it makes an alert; is counted in one; was counted before or is an alert already; is the
match of an alert that was not written; or would make one over the cap."""


@dataclass(slots=True)
class _Filling:
    """A group while matches are counted in it."""

    group: Group
    counted: set[bytes] = field(default_factory=set)
    start: int = 0
    end: int = 0

    def add(self, digest: bytes, start: int, end: int) -> None:
        self.start = min(self.start, start) if self.counted else start
        self.end = max(self.end, end) if self.counted else end
        self.counted.add(digest)

    def made(self, now: datetime) -> Group:
        """The group with what was counted."""
        if not self.counted:
            return self.group
        return replace(
            self.group,
            start=min(self.group.start, self.start),
            end=max(self.group.end, self.end),
            counted=self.group.counted | self.counted,
            touched=max(self.group.touched, now),
        )


class KeyPlan:
    """The groups of one key while the matches of a run are placed in them."""

    def __init__(self, before: KeyGroups, how: Suppressing, status: Mapping[str, Status]) -> None:
        """`status` has the alerts of the groups that `relevant` names."""
        self._before, self._how, self._status = before, how, status
        self._groups: dict[str, _Filling] = {}
        self._owners: dict[bytes, str] = {}
        for group in before.groups:
            is_there = status.get(group.alert_id) in ("open", "closed")
            self._groups[group.alert_id] = _Filling(replace(group, is_written=True) if is_there else group)
            self._owners.update(dict.fromkeys(group.counted, group.alert_id))
        self._open: str | None = None
        self.touched: set[str] = set()
        """The alerts of the groups that matches of this run belong to, counted now or before."""

    def knows(self, digest: bytes) -> bool:
        """Whether the match was counted."""
        return digest in self._owners

    def owner_of(self, digest: bytes) -> str | None:
        """The alert of the group that has counted the match."""
        return self._owners.get(digest)

    def place(self, match: Placeable, *, is_stored: bool) -> Placed:
        """Where the match belongs, counted there unless it is `new`: then `open_new` makes the group."""
        owner = self._owners.get(match.digest)
        if owner is not None:
            self.touched.add(owner)
            is_lost = match.head == owner and not is_stored and not self._groups[owner].group.is_written
            return "repaired" if is_lost else "known"
        if is_stored:
            return "known"
        if self._open is None:
            self._open = self._open_group()
        if self._open is None:
            return "new"
        self._groups[self._open].add(match.digest, match.start, match.end)
        self._owners[match.digest] = self._open
        self.touched.add(self._open)
        return "counted"

    def open_new(self, match: Placeable, *, is_written: bool = False) -> None:
        """Make a group for the match, which makes its alert."""
        how, head = self._how, match.head
        made = Group(head, how.at, match.start, match.end, frozenset((match.digest,)), how.now, is_written)
        self._groups[head] = _Filling(made)
        self._owners[match.digest] = self._open = head
        self.touched.add(head)

    def group(self, alert_id: str) -> Group:
        """The group of an alert with all that was counted in it."""
        return self._groups[alert_id].made(self._how.now)

    def after(self) -> KeyGroups | None:
        """What is to be stored, without groups that are too old; None if nothing has changed."""
        groups = tuple(filling.made(self._how.now) for filling in self._groups.values())
        if groups == self._before.groups:
            return None
        oldest = self._how.now - self._how.kept
        kept = tuple(one for one in groups if one.touched >= oldest or one.alert_id in self.touched)
        until = max((one.touched for one in kept), default=self._how.now) + self._how.kept
        return replace(self._before, groups=kept, until=until)

    def _open_group(self) -> str | None:
        groups = (filling.group for filling in self._groups.values())
        found = [one for one in groups if self._how.may_join(one) and not self._has_ended(one)]
        best = min(found, key=self._how.preference, default=None)
        return None if best is None else best.alert_id

    def _has_ended(self, group: Group) -> bool:
        """Whether its alert was closed, or deleted. One that was never written is still to come."""
        status = self._status.get(group.alert_id, "open")
        return status == "closed" or (status == "missing" and group.is_written)


def relevant(record: KeyGroups, digests: Collection[bytes], how: Suppressing) -> Iterable[str]:
    """The alerts whose status decides where matches with these digests belong."""
    for group in record.groups:
        if how.may_join(group) or not group.counted.isdisjoint(digests):
            yield group.alert_id


def as_written(record: KeyGroups, alert_ids: Collection[str]) -> KeyGroups:
    """The groups with these alerts as stored."""
    groups = (replace(one, is_written=True) if one.alert_id in alert_ids else one for one in record.groups)
    return replace(record, groups=tuple(groups))


def without_groups(record: KeyGroups, alert_ids: Collection[str]) -> KeyGroups:
    """The groups but those of these alerts."""
    return replace(record, groups=tuple(one for one in record.groups if one.alert_id not in alert_ids))
