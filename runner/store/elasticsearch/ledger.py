"""`ElasticsearchLedger`: one document per rule and source with what was searched, and one per run in the run log.

The ledger of the cluster's own events has the id of the rule as `_id` and `rule.id`. In those of other sources
`source:` and a digest of the source stand before it, and the source is in `runner.source`.

Several runners may write at a time: a document is replaced only if it is the one that was read (`if_seq_no`), else read
again and merged again. A document that was written although the answer was lost is such another writer's as well: the
run is in it already, and merging it once more changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from runner.cluster.elasticsearch import Elastic
from runner.errors import AccessError, StoreError
from runner.rule_run import ExceptedCount, RuleRun
from runner.setup.index_objects import StoreNames
from runner.store.elasticsearch.bulk import Action, ActionOutcome, write_bulk
from runner.store.elasticsearch.installation import Installation, store_errors
from runner.store.elasticsearch.run_log import search_hits
from runner.store.first_state import first_state
from runner.store.protocol import Mark, RuleState, state_after, state_with_mark
from runner.store.source import UNNAMED, EventSource, read_source
from runner.windows import Window, iso, nanoseconds

_LOG = logging.getLogger("runner.store.elasticsearch")
_PAGE = 1_000
_OF_SOURCE = "source:"
_OWN = {"kind": "own"}
"""Marks the documents of the cluster's own events; those of before sources were told apart have no mark."""
_MOST_CONFLICTS = 20
_OUTCOMES = {"succeeded": "success", "warning": "success", "failed": "failure"}
_LEVELS = {"succeeded": "info", "warning": "warn", "failed": "error"}


@dataclass(frozen=True, slots=True)
class _Stored:
    """A rule's state with the version of its document: the `after` of a replacement."""

    state: RuleState
    version: Mapping[str, Any] | None
    """None if there is no such document, or no longer."""


class ElasticsearchLedger:
    """The ledger of one source and the run log in two indices. Implements `Ledger`."""

    def __init__(
        self, client: Elastic, names: StoreNames, installation: Installation, *, source: EventSource = UNNAMED
    ) -> None:
        self._client = client
        self._source = source
        self._has_read = False
        self._names = names
        self._installation = installation
        # The last known state of each rule. One that is out of date costs a conflict, nothing else.
        self._seen: dict[str, _Stored] = {}

    async def read(self) -> Mapping[str, RuleState]:
        await self._refresh()
        others = {} if self._source.kind else {"must_not": {"prefix": {"rule.id": _OF_SOURCE}}}
        known: dict[str, dict[EventSource, RuleState]] = {}
        async for hit in _state_hits(self._client, self._names.state, others):
            source, stored = _source_of(hit), _read_stored(hit)
            if not self._source.kind:
                source = self._source
            if source is not None:
                known.setdefault(stored.state.rule_id, {})[source] = stored.state
            if source == self._source:
                self._seen[stored.state.rule_id] = stored
        states: dict[str, RuleState] = {}
        for rule_id, by_source in known.items():
            if (state := by_source.get(self._source) or first_state(self._source, by_source)) is not None:
                states[rule_id] = state
                if self._source not in by_source:
                    self._seen[rule_id] = _Stored(state, None)
        self._has_read = True
        return states

    async def record(self, run: RuleRun, fingerprint: str) -> None:
        """Add one run to its rule's state and to the run log; raises StoreError if that cannot be written."""
        await self._installation.ensure()
        if self._source.kind and not self._has_read:
            await self.read()  # another source may leave something to this one
        stored = self._seen.get(run.rule_id) or await self._look_up(run.rule_id)
        for _ in range(_MOST_CONFLICTS):
            state = _with_run(_state_of(stored), run, fingerprint)
            ledger, log = await self._write(state, stored, run)
            if not log.stored and not log.conflict:
                raise _failure(log, self._names.runs)
            if ledger.stored:
                self._seen[run.rule_id] = _Stored(state, ledger.item)
                return
            if not ledger.conflict:
                raise _failure(ledger, self._names.state)
            await asyncio.sleep(random.uniform(0, 0.05))
            stored = await self._look_up_again(run.rule_id, stored)
        raise StoreError(f"{self._names.state}: the state of rule {run.rule_id} kept changing while it was written")

    async def add_marks(self, marks: Sequence[Mark]) -> None:
        """Add marks to the states of their rules, in one request if nobody else writes; raises StoreError."""
        await self._installation.ensure()
        for part in _one_a_rule(marks):
            waiting = part
            for _ in range(_MOST_CONFLICTS):
                waiting = await self._mark_once(waiting)
                if not waiting:
                    break
                await asyncio.sleep(random.uniform(0, 0.05))
            else:
                raise StoreError(f"{self._names.state}: {len(waiting)} states kept changing while they were marked")

    async def _mark_once(self, marks: Sequence[Mark]) -> list[Mark]:
        """Those of the marks, one a rule, whose document was not the one that was read; it is read anew for them."""
        before = {mark.rule_id: self._seen.get(mark.rule_id) for mark in marks}
        after = {mark.rule_id: state_with_mark(_state_of(before[mark.rule_id]), mark) for mark in marks}
        actions = [self._replacement(state, before[rule_id]) for rule_id, state in after.items()]
        conflicts: list[Mark] = []
        for mark, outcome in zip(marks, await self._send(actions), strict=True):
            if outcome.stored:
                self._seen[mark.rule_id] = _Stored(after[mark.rule_id], outcome.item)
            elif outcome.conflict:
                conflicts.append(mark)
                if (stored := await self._look_up_again(mark.rule_id, before[mark.rule_id])) is not None:
                    self._seen[mark.rule_id] = stored
            else:
                raise _failure(outcome, self._names.state)
        return conflicts

    async def _write(
        self, state: RuleState, stored: _Stored | None, run: RuleRun
    ) -> tuple[ActionOutcome, ActionOutcome]:
        """What became of the ledger's document and of the run's, sent in one request."""
        header = {"_index": self._names.runs, "_id": _run_id(run), "require_alias": True}
        log = Action(orjson.dumps({"create": header}), orjson.dumps(_run_document(run, self._source)))
        ledger, logged = await self._send((self._replacement(state, stored), log))
        return ledger, logged

    def _replacement(self, state: RuleState, stored: _Stored | None) -> Action:
        """Writes the state in the place of the one that was read, and only of that one."""
        header: dict[str, Any] = {"_index": self._names.state, "_id": _key(self._source, state.rule_id)}
        document = orjson.dumps(_state_document(state, self._source))
        if stored is None or stored.version is None:
            return Action(orjson.dumps({"create": header}), document)
        header |= {"if_seq_no": stored.version["_seq_no"], "if_primary_term": stored.version["_primary_term"]}
        return Action(orjson.dumps({"index": header}), document)

    async def _send(self, actions: Sequence[Action]) -> list[ActionOutcome]:
        with store_errors():
            return await write_bulk(self._client, actions, index=self._names.state)

    async def _look_up(self, rule_id: str) -> _Stored | None:
        with store_errors():
            document = await self._client.read_document(self._names.state, _key(self._source, rule_id))
        return None if document is None else _read_stored(document)

    async def _look_up_again(self, rule_id: str, before: _Stored | None) -> _Stored | None:
        """The document as it is now; of a deleted one the state as it was known."""
        stored = await self._look_up(rule_id)
        return stored if stored is not None or before is None else _Stored(before.state, None)

    async def _refresh(self) -> None:
        """Make the last writes visible, those of others too; without the right to do so, go by what is visible."""
        try:
            with store_errors():
                await self._client.refresh(self._names.state)
        except AccessError as error:
            _LOG.warning("the newest state may not be visible yet: %s", error)


async def read_sources(client: Elastic, index: str) -> tuple[EventSource, ...]:
    """Every source that has a ledger in the index, the cluster itself first."""
    found = {_source_of(hit) or UNNAMED async for hit in _state_hits(client, index, {})}
    return tuple(sorted(found))


async def _state_hits(client: Elastic, index: str, query: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    """The documents of the ledgers by `rule.id`; `query` has more parts of the `bool` query."""
    body: dict[str, Any] = {
        "size": _PAGE,
        "query": {"bool": {"filter": {"exists": {"field": "rule.id"}}, **query}},  # leases stand in the same index
        "sort": [{"rule.id": "asc"}],
        "seq_no_primary_term": True,
    }
    while True:
        hits = await search_hits(client, index, body)
        for hit in hits:
            yield hit
        if len(hits) < _PAGE:
            return
        body["search_after"] = hits[-1]["sort"]


def _key(source: EventSource, rule_id: str) -> str:
    return f"{_OF_SOURCE}{source.digest}:{rule_id}" if source.kind else rule_id


def _source_of(hit: Mapping[str, Any]) -> EventSource | None:
    """The source of a document; one without kind where none is recorded, None for the cluster's own events."""
    source = hit.get("_source")
    part = source.get("runner") if isinstance(source, Mapping) else None
    found = part.get("source") if isinstance(part, Mapping) else None
    if found == _OWN:
        return None
    try:
        return UNNAMED if found is None else read_source(found, is_lasting=found["is_lasting"] is not False)
    except (KeyError, TypeError, ValueError) as error:
        place = f"{hit.get('_index')}/{hit.get('_id')}"
        raise StoreError(f"{place} is not a state of a rule that can be read: {error!r}") from None


def _failure(outcome: ActionOutcome, index: str) -> StoreError:
    return StoreError(f"{index} can not be written: {outcome.explained}")


def _one_a_rule(marks: Sequence[Mark]) -> list[list[Mark]]:
    """The marks in their order, in parts with one for each rule: a bulk request must not write a document twice."""
    parts: list[list[Mark]] = []
    numbers: Counter[str] = Counter()
    for mark in marks:
        number = numbers[mark.rule_id]
        numbers[mark.rule_id] += 1
        if number == len(parts):
            parts.append([])
        parts[number].append(mark)
    return parts


def _state_of(stored: _Stored | None) -> RuleState | None:
    return stored.state if stored is not None else None


def _with_run(state: RuleState | None, run: RuleRun, fingerprint: str) -> RuleState:
    """The state after the run: its window is searched if it is complete; the run that started later is the last."""
    after = state_after(state, run, fingerprint)
    if state is not None and state.last is not None and state.last.started > run.started:
        return replace(after, last=state.last, fingerprint=state.fingerprint)
    return after


def _state_document(state: RuleState, source: EventSource) -> dict[str, Any]:
    last = state.last
    document: dict[str, Any] = {
        "rule": {"id": _key(source, state.rule_id)},
        "runner": {
            "source": _source_json(source, state.rule_id) if source.kind else _OWN,
            "fingerprint": state.fingerprint,
            "searched": [_window_json(window) for window in state.searched],
            "skipped": [_window_json(window) for window in state.skipped],
            "paused": None if state.paused is None else _moment(state.paused),
            "late": [_window_json(window) for window in state.late],
            "excepted": [_count_json(count) for count in state.excepted],
        },
    }
    if last is not None:
        document["@timestamp"] = iso(last.started)
        document["rule"]["name"] = last.name
        document["event"] = {"outcome": _OUTCOMES[last.status]}
        document["runner"] |= {
            "status": last.status,
            "complete": last.complete,
            "window": {"from": iso(last.window.start), "to": iso(last.window.end)},
            "last": _run_json(last),
        }
    return document


def _source_json(source: EventSource, rule_id: str) -> dict[str, Any]:
    return {**source.as_json(), "is_lasting": source.is_lasting, "rule_id": rule_id}


def _run_document(run: RuleRun, source: EventSource) -> dict[str, Any]:
    """The run in the names of ECS, for the run log."""
    end = run.started + timedelta(milliseconds=run.took_ms)
    found = f"{run.matches} matches, {run.created} created, {run.duplicates} there already"
    return {
        "@timestamp": iso(run.started),
        "message": "; ".join(run.messages) or f"rule {run.name} over {run.window}: {found}",
        "ecs": {"version": "8.17.0"},
        "log": {"level": _LEVELS[run.status]},
        "event": {
            "kind": "event",
            "provider": "rule-runner",
            "dataset": "rule-runner.run",
            "action": "rule-run",
            "outcome": _OUTCOMES[run.status],
            "start": iso(run.started),
            "end": iso(end),
            "duration": run.took_ms * 1_000_000,
        },
        "rule": {"id": run.rule_id, "name": run.name},
        "kibana": {"alert": {"rule": {"execution": {"uuid": run.execution_id}}}},
        "runner": {
            "status": run.status,
            "window": {"from": iso(run.window.start), "to": iso(run.window.end)},
            **run.counts,
            "complete": run.complete,
            "took_ms": run.took_ms,
            "lag_ms": max(0, (run.started - run.window.end) // timedelta(milliseconds=1)),
            "messages": list(run.messages),
            **({"source": source.as_json()} if source.kind else {}),
        },
    }


def _run_id(run: RuleRun) -> str:
    """The same for the same run, so that one sent twice is logged once."""
    window = run.window
    return f"{run.execution_id}:{run.rule_id}:{nanoseconds(window.start)}:{nanoseconds(window.end)}"


def _run_json(run: RuleRun) -> dict[str, Any]:
    return {
        "rule_id": run.rule_id,
        "name": run.name,
        "execution_id": run.execution_id,
        "status": run.status,
        "window": _window_json(run.window),
        "started": _moment(run.started),
        **run.counts,
        "took_ms": run.took_ms,
        "complete": run.complete,
        "messages": list(run.messages),
    }


def _read_stored(hit: Mapping[str, Any]) -> _Stored:
    """The state in a document of the ledger; raises StoreError for one that is not ours."""
    try:
        source = hit["_source"]
        part = source["runner"]
        last = part.get("last")
        state = RuleState(
            str((part.get("source") or {}).get("rule_id") or source["rule"]["id"]),
            tuple(_read_window(window) for window in part["searched"]),
            None if last is None else _read_run(last),
            part["fingerprint"],
            tuple(_read_window(window) for window in part.get("skipped") or ()),
            None if part.get("paused") is None else _read_moment(part["paused"]),
            tuple(_read_window(window) for window in part.get("late") or ()),
            tuple(_read_count(count) for count in part.get("excepted") or ()),
        )
        return _Stored(state, {"_seq_no": hit["_seq_no"], "_primary_term": hit["_primary_term"]})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        place = f"{hit.get('_index')}/{hit.get('_id')}"
        raise StoreError(f"{place} is not a state of a rule that can be read: {error!r}") from None


def _read_run(value: Mapping[str, Any]) -> RuleRun:
    window, started = _read_window(value["window"]), _read_moment(value["started"])
    return RuleRun(**{**value, "window": window, "started": started, "messages": tuple(value["messages"])})


def _count_json(count: ExceptedCount) -> dict[str, Any]:
    newest = None if count.newest is None else _moment(count.newest)
    return {"exception": count.exception, "events": count.events, "newest": newest}


def _read_count(value: Mapping[str, Any]) -> ExceptedCount:
    newest = value.get("newest")
    return ExceptedCount(str(value["exception"]), int(value["events"]), None if not newest else _read_moment(newest))


def _window_json(window: Window) -> dict[str, str]:
    return {"from": _moment(window.start), "to": _moment(window.end)}


def _read_window(value: Mapping[str, str]) -> Window:
    return Window(_read_moment(value["from"]), _read_moment(value["to"]))


def _moment(moment: datetime) -> str:
    """ISO text to the microsecond: cut to milliseconds, windows that touch would have a gap between them."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _read_moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
