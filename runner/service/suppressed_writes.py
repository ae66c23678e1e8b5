"""The matches of one run of a rule with alert suppression, written as alerts and as counts of alerts.

The order of writing makes every crash one that the next search of the window repairs. First the groups are stored, each
key by compare and swap, so that a match is counted once whoever finds it, and how often. Then the alerts of new groups
are created, and marked as written in their groups; then the counts of alerts that are there are raised to those of
their groups. An alert that a crash kept from being written or raised belongs to a match of a window that is still owed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runner.alerts.alert import Alert, AlertGroup
from runner.alerts.build import AlertContext, build_alerts, rests_on_own_alert
from runner.alerts.cap import Candidate
from runner.alerts.event_fields import value_at
from runner.alerts.groups import (
    Group,
    KeyGroups,
    KeyPlan,
    Placed,
    Status,
    Suppressing,
    as_written,
    relevant,
    without_groups,
)
from runner.alerts.suppression import SUPPRESSION, Keyed, keyed, raised, suppressed_alert
from runner.errors import StoreError
from runner.rules.rule import Rule
from runner.service.written import OF_A_DOCUMENT, Written, reason_against
from runner.store.changes import AlertChange
from runner.store.protocol import AlertStore, StoredAlert

_MOST_CONFLICTS = 50
"""How often a group is planned anew because others write to it at the same time."""
_COMPARED = tuple(f"{SUPPRESSION}.{name}" for name in ("docs_count", "start", "end"))


class SuppressedWrites:
    """The writes of one run. Methods raise StoreError."""

    def __init__(self, store: AlertStore, rule: Rule, context: AlertContext, how: Suppressing) -> None:
        self._store, self._rule, self._context, self._how = store, rule, context, how
        self._created: dict[str, Alert] = {}
        self._over: set[str] = set()

    @property
    def created(self) -> list[Alert]:
        """The alerts that this run has created, with their counts at its end."""
        return list(self._created.values())

    @property
    def over(self) -> int:
        """New matches that were left, since the cap allowed no alert for them."""
        return len(self._over)

    def split(self, part: Sequence[Candidate]) -> tuple[list[Keyed], list[Candidate], Written]:
        """The matches that belong to a group, those that are not to be suppressed, and why others can be no alert.

        One that rests on an alert of this very rule is in none: it becomes nothing.
        """
        mine: list[Keyed] = []
        others: list[Candidate] = []
        impossible: list[str] = []
        context = self._context
        for candidate in part:
            try:
                if rests_on_own_alert(candidate.match, self._rule, context.space):
                    continue
                found = keyed(candidate, self._rule, space=context.space, types=context.types, now=context.now)
            except OF_A_DOCUMENT as error:
                impossible.append(reason_against(candidate.match, error))
                continue
            if found is None:
                others.append(candidate)
            else:
                mine.append(found)
        return mine, others, Written(impossible=tuple(impossible))

    async def write(self, part: Sequence[Keyed], known: Collection[str], *, limit: int) -> Written:
        """What was written of the next matches, at most `limit` new alerts.

        `known` are the ids of those alerts of the matches that are stored.
        """
        mine, written, context = list(part), Written(), self._context
        for _ in range(_MOST_CONFLICTS):
            if not mine:
                return written
            attempt = _Attempt(self._store, self._rule, context, self._how, known, limit=limit - written.created)
            done, mine = await attempt.write(mine)
            written = written.plus(done)
            self._over |= attempt.over
            self._created.update(attempt.created)
            for alert_id, group in attempt.final.items():
                if (alert := self._created.get(alert_id)) is not None:
                    document = alert.document
                    shown = {**document, **raised(document, group, context.now)}
                    self._created[alert_id] = replace(alert, document=shown)
            if mine:
                await asyncio.sleep(random.uniform(0, 0.02))
        raise StoreError(f"the groups of suppressed alerts of rule {self._rule.rule_id} kept changing while written")


@dataclass(slots=True)
class _Attempt:
    """One pass over matches: planned, stored, written. Those of keys that others changed meanwhile are left."""

    store: AlertStore
    rule: Rule
    context: AlertContext
    how: Suppressing
    known: Collection[str]
    limit: int
    plans: dict[str, KeyPlan] = field(default_factory=dict)
    records: dict[str, KeyGroups] = field(default_factory=dict)
    """What was read of each key, then what was stored."""
    stored: Mapping[str, StoredAlert] = field(default_factory=dict)
    created: dict[str, Alert] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    final: dict[str, Group] = field(default_factory=dict)
    """The groups that matches were counted in, by their alert, as they were stored."""

    async def write(self, matches: Sequence[Keyed]) -> tuple[Written, list[Keyed]]:
        """What was written, and the matches that have to be placed once more."""
        await self._read(matches)
        placed: list[tuple[Keyed, Placed]] = []
        heads: dict[str, tuple[Keyed, AlertGroup]] = {}
        written = Written()
        for match in matches:
            try:
                if (where := self._place(match, heads)) is not None:
                    placed.append((match, where))
            except OF_A_DOCUMENT as error:
                written = written.plus(Written(impossible=(reason_against(match.candidate.match, error),)))
        lost, planned = await self._store_groups(), len(heads)
        again = [match for match in matches if match.key in lost]
        settled = [(match, where) for match, where in placed if match.key not in lost]
        heads = {id_: head for id_, head in heads.items() if head[0].key not in lost}
        done, refused = await self._create(heads)
        written = written.plus(done).plus(_counted(settled))
        for match, where in settled:
            if where == "over" and len(heads) == planned and not refused:
                self.over.add(match.place.head)
            elif where == "over":
                again.append(match)  # a place under the cap has become free
            elif match.place.head not in refused and self._owner_of(match) in refused:
                again.append(match)  # its alert was rejected: the next match of the group makes one
                written = written.plus(Written(suppressed=-1)) if where == "counted" else written
        await self._raise(settled, heads.keys() - refused)
        return written, again

    async def _read(self, matches: Sequence[Keyed]) -> None:
        """Read the groups of the matches first, and the alerts after them: an alert of a written group is there."""
        groups: dict[str, set[bytes]] = {}
        for match in matches:
            groups.setdefault(match.key, set()).add(match.place.digest)
        found = await self.store.groups.read(groups)
        asked: set[str] = {match.place.head for match in matches if match.place.head in self.known}
        for key, digests in groups.items():
            record = self.records[key] = found.get(key) or KeyGroups(key, self.rule.rule_id)
            asked.update(relevant(record, digests, self.how))
        self.stored = await self.store.by_ids(asked) if asked else {}
        status = {id_: _status_of(self.stored.get(id_)) for id_ in asked}
        self.plans = {key: KeyPlan(record, self.how, status) for key, record in self.records.items()}

    def _place(self, match: Keyed, heads: dict[str, tuple[Keyed, AlertGroup]]) -> Placed | None:
        """What becomes of the match; None for one that rests on an alert of its own rule, which becomes nothing."""
        plan, head = self.plans[match.key], match.place.head
        is_stored = head in self.known or head in self.stored
        if is_stored and self._is_forgotten(match, plan):
            plan.open_new(match.place, is_written=head in self.stored)
            return "known"
        where = plan.place(match.place, is_stored=is_stored)
        if where in ("new", "repaired"):
            if where == "new" and self.limit <= 0:
                return "over"
            made = build_alerts(match.candidate, self.rule, self.context)
            if made is None:
                return None
            self.limit -= 1
            heads[head] = match, made
            if where == "new":
                plan.open_new(match.place)
        return where

    def _is_forgotten(self, match: Keyed, plan: KeyPlan) -> bool:
        """Whether the match is that of a suppressed alert whose group is not remembered any longer."""
        if plan.knows(match.place.digest):
            return False
        stored = self.stored.get(match.place.head)
        return stored is None or value_at(stored.document, "kibana.alert.instance.id") == match.key

    async def _store_groups(self) -> set[str]:
        """The keys of the groups that could not be stored, since another writer was faster."""
        changed = [record for plan in self.plans.values() if (record := plan.after()) is not None]
        outcome = await self.store.groups.replace(changed, self.how.now) if changed else {}
        self.records.update((key, record) for key, record in outcome.items() if record is not None)
        return {key for key, record in outcome.items() if record is None}

    async def _create(self, heads: Mapping[str, tuple[Keyed, AlertGroup]]) -> tuple[Written, set[str]]:
        """What was written, and the ids of the alerts that the store has rejected; their groups are gone."""
        if not heads:
            return Written(), set()
        made = [
            suppressed_alert(group, match, self.plans[match.key].group(id_)) for id_, (match, group) in heads.items()
        ]
        alerts = [alert for group in made for alert in group.alerts]
        result = await self.store.create(alerts)
        self.created = {alert.id: alert for alert in alerts if alert.id in result.created}
        rejected = result.rejected or {}
        refused = heads.keys() & rejected.keys()
        reasons = tuple(f"alert {id_}: {reason}" for id_, reason in rejected.items())
        written = Written(len(heads.keys() & result.created), len(heads.keys() & result.duplicates), reasons)
        await self._change_groups(
            {match.key for match, _ in heads.values()},
            lambda record: as_written(without_groups(record, refused), heads.keys()),
        )
        return written, set(refused)

    async def _change_groups(self, keys: Collection[str], change: Callable[[KeyGroups], KeyGroups]) -> None:
        """Change what is stored of these keys, whatever others have made of it."""
        waiting = {key: self.records[key] for key in keys}
        for attempt in range(_MOST_CONFLICTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, 0.02))
                waiting = dict(await self.store.groups.read(waiting))
            wanted = {key: change(record) for key, record in waiting.items()}
            differing = [record for key, record in wanted.items() if record.groups != waiting[key].groups]
            outcome = await self.store.groups.replace(differing, self.how.now) if differing else {}
            done = {**waiting, **{key: record for key, record in outcome.items() if record is not None}}
            self.records.update(done)
            waiting = {key: waiting[key] for key, record in outcome.items() if record is None}
            if not waiting:
                return
        raise StoreError(f"the groups of suppressed alerts of rule {self.rule.rule_id} kept changing while written")

    async def _raise(self, settled: Sequence[tuple[Keyed, Placed]], written: Collection[str]) -> None:
        """Raise the counts of the alerts of all groups that matches belong to, where they are below the group's.

        That of a match counted before, too: the run that counted it may have died before it came to the alert.
        """
        touched = {id_ for match, _ in settled for id_ in self.plans[match.key].touched}
        keys = {match.key for match, _ in settled}
        groups = (group for key in keys for group in self.records[key].groups)
        self.final = {group.alert_id: group for group in groups if group.alert_id in touched}
        documents = {id_: stored.document for id_, stored in self.stored.items()}
        documents |= {id_: alert.document for id_, alert in self.created.items()}
        # An alert that another runner has just created is not known yet.
        unknown = [id_ for id_ in written if id_ not in documents]
        documents |= {id_: stored.document for id_, stored in (await self._by_ids(unknown)).items()}
        waiting = {id_: documents[id_] for id_ in self.final if id_ in documents}
        for attempt in range(_MOST_CONFLICTS):
            if attempt:
                waiting = {id_: one.document for id_, one in (await self._by_ids(waiting)).items()}
            changes = [
                AlertChange(id_, fields, expected={name: value_at(document, name) for name in _COMPARED})
                for id_, document in waiting.items()
                if (fields := raised(document, self.final[id_], self.how.now))
            ]
            if not changes:
                return
            result = await self.store.update(changes)
            if result.rejected:
                id_, reason = next(iter(result.rejected.items()))
                raise StoreError(f"the count of alert {id_} could not be written: {reason}")
            waiting = {id_: waiting[id_] for id_ in result.conflicts}
            if not waiting:
                return
        raise StoreError(f"{len(waiting)} alerts of rule {self.rule.rule_id} kept changing while their counts were set")

    async def _by_ids(self, ids: Collection[str]) -> Mapping[str, StoredAlert]:
        return await self.store.by_ids(ids) if ids else {}

    def _owner_of(self, match: Keyed) -> str | None:
        return self.plans[match.key].owner_of(match.place.digest)


def _counted(settled: Sequence[tuple[Keyed, Placed]]) -> Written:
    """The matches that were counted, now or before."""
    places = [where for _, where in settled]
    return Written(duplicates=places.count("known"), suppressed=places.count("counted"))


def _status_of(stored: StoredAlert | None) -> Status:
    if stored is None:
        return "missing"
    return "closed" if value_at(stored.document, "kibana.alert.workflow_status") == "closed" else "open"
