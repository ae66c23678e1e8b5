"""Checks of the rules' index patterns: their indices, remote clusters and fields, and the age and lag of events."""

from __future__ import annotations

import re
from asyncio import Semaphore
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

from runner.cluster import answer_shapes
from runner.cluster.elasticsearch import Elastic
from runner.cluster.transport import ApiCall, targets_part
from runner.doctor.checks import Check, CheckResult, gather, guarded, moment_of, names_of, ok, spoken
from runner.doctor.hosts import CurrentTime
from runner.errors import AccessError, ClusterError, RunnerError
from runner.events.fields.schema import Schema
from runner.messages.quantities import counted
from runner.rules.rule import ANOMALIES, Rule
from runner.search.cluster.field_caps import FieldCapsCache
from runner.search.cluster.search_failures import is_remote, left_out, local_patterns
from runner.search.compiled_rule import CompiledRule, compile_rules

_UNKNOWN = re.compile(r"Unknown column \[([^\]]+)\]")
_NOTHING = "nothing there"
NEWEST = 100
"""The newest events whose ingest lag is measured."""
_QUIET = timedelta(hours=1)
"""Age of the newest event without a warning, even if the look-back is shorter."""
AHEAD = timedelta(minutes=5)
"""Lead of the newest event's time over ours without a warning."""


async def check_indices(
    client: Elastic, rules: Sequence[Rule], *, limit: Semaphore
) -> tuple[list[Check], frozenset[str]]:
    """The checks of each index pattern and of rules without any index, and the local patterns that match something."""
    patterns = sorted({name for rule in rules for name in local_patterns(rule.patterns_read)})
    answers = await gather((_resolved(client, pattern) for pattern in patterns), limit)
    found = dict(zip(patterns, answers, strict=True))
    checks = [*_pattern_checks(found), *await _check_remotes(client, rules)]
    existing = frozenset(pattern for pattern, counts in found.items() if _exists(counts))
    unknown = frozenset(pattern for pattern, counts in found.items() if isinstance(counts, RunnerError))
    known = existing | unknown
    blind: dict[tuple[str, ...], list[Rule]] = {}
    for rule in rules:
        if _is_nothing(rule.index, known):
            blind.setdefault(tuple(sorted(rule.index)), []).append(rule)
    # A pattern with a problem below is not also reported as fine.
    alone = {index[0] for index in blind if len(index) == 1}
    checks = [check for check in checks if check.found != _NOTHING or check.subject not in alone]
    for index, concerned in blind.items():
        remedy, seen = "ship events there, or correct `index` in the rules, or turn them off", "events"
        if index == ANOMALIES:
            remedy, seen = "set up and start the jobs of machine learning, or turn the rules off", "anomalies"
        text = f"nothing is there: these rules see no {seen}"
        checks.append(Check("index", ", ".join(index), "problem", text, remedy, names_of(concerned)))
    checks += _indicator_checks(rules, known)
    return checks, existing


def _is_nothing(patterns: Sequence[str], known: Collection[str]) -> bool:
    """Whether nothing is there that the patterns name; what is in remote clusters is not known."""
    return not any(map(is_remote, patterns)) and not set(known).intersection(local_patterns(patterns))


def _indicator_checks(rules: Sequence[Rule], known: Collection[str]) -> list[Check]:
    """The checks of rules that know no indicators."""
    without: dict[tuple[str, ...], list[Rule]] = {}
    for rule in rules:
        if rule.threat_index and _is_nothing(rule.threat_index, known):
            without.setdefault(rule.threat_index, []).append(rule)
    remedy = "ship indicators there, or correct `threat_index` in the rules, or turn them off"
    text = "nothing is there: these rules know no indicators and find nothing"
    return [
        Check("index", ", ".join(index), "problem", text, remedy, names_of(concerned))
        for index, concerned in without.items()
    ]


def _exists(counts: dict[str, int] | RunnerError) -> bool:
    return isinstance(counts, dict) and any(counts.values())


async def _resolved(client: Elastic, pattern: str) -> dict[str, int] | RunnerError:
    """The counts of data streams, indices and aliases that a pattern matches, or the error of the request."""
    path = f"/_resolve/index/{targets_part((pattern,))}"
    try:
        answer = await client.transport.send_for_object(
            ApiCall("GET", path, f"look up {pattern}", ignore=(404,), expects=answer_shapes.RESOLVED)
        )
    except RunnerError as error:
        return error
    backing = sum("data_stream" in index for index in answer.get("indices") or ())
    return {
        "data stream": len(answer.get("data_streams") or ()),
        "index": len(answer.get("indices") or ()) - backing,
        "alias": len(answer.get("aliases") or ()),
    }


def _pattern_checks(found: Mapping[str, dict[str, int] | RunnerError]) -> list[Check]:
    plural = {"index": "indices", "alias": "aliases"}
    checks = []
    for pattern, counts in sorted(found.items(), key=lambda item: not _exists(item[1])):
        if isinstance(counts, RunnerError):
            outcome: CheckResult = "warning" if isinstance(counts, AccessError) else "problem"
            checks.append(Check("index", pattern, outcome, f"could not be looked at: {counts}"))
            continue
        parts = [counted(count, kind, plural.get(kind, "")) for kind, count in counts.items() if count]
        checks.append(ok("index", pattern, ", ".join(parts) or _NOTHING))
    # Patterns without a match last.
    return sorted(checks, key=lambda check: check.found == _NOTHING)


async def _check_remotes(client: Elastic, rules: Sequence[Rule]) -> list[Check]:
    """A check per remote cluster that rules name: whether it exists and is connected."""
    wanted: dict[str, list[Rule]] = {}
    for rule in rules:
        parts = [part.strip() for patterns in rule.index for part in patterns.split(",")]
        for name in {part.removeprefix("-").partition(":")[0] for part in parts if is_remote(part)}:
            wanted.setdefault(name, []).append(rule)
    if not wanted:
        return []
    try:
        remotes = await client.transport.send_for_object(
            ApiCall("GET", "/_remote/info", "read the remote clusters", expects=answer_shapes.BY_NAME)
        )
    except (AccessError, ClusterError) as error:
        remedy = "grant the cluster privilege `monitor` to see whether they are connected"
        concerned = names_of({rule for own in wanted.values() for rule in own})
        return [Check("remote", ", ".join(sorted(wanted)), "warning", str(error), remedy, concerned)]
    return [_remote_check(name, remotes, concerned) for name, concerned in sorted(wanted.items())]


def _remote_check(name: str, remotes: Mapping[str, Any], rules: Iterable[Rule]) -> Check:
    matching = {remote: about for remote, about in remotes.items() if fnmatchcase(remote, name)}
    if not matching:
        there = f"; there are {', '.join(sorted(remotes))}" if remotes else ""
        remedy = "connect it (cluster settings `cluster.remote`), or correct `index` in the rules"
        return Check("remote", name, "problem", f"no remote cluster has this name{there}", remedy, names_of(rules))
    away = sorted(remote for remote, about in matching.items() if not about.get("connected"))
    if away:
        remedy = "see to the connection; until then the windows of these rules stay owed"
        return Check("remote", name, "problem", f"not connected: {', '.join(away)}", remedy, names_of(rules))
    return ok("remote", name, f"connected: {', '.join(sorted(matching))}")


async def check_fields(
    client: Elastic, rules: Sequence[Rule], *, limit: Semaphore, runtime_mappings: Mapping[str, Any] | None = None
) -> list[Check]:
    """The checks of the rules' queries against the fields of their indices, as a search makes them."""
    cache = FieldCapsCache(client, runtime_mappings=runtime_mappings)
    groups: dict[tuple[str, ...], list[CompiledRule]] = {}
    for compiled in filter(lambda one: one.is_local, compile_rules(rules)[0]):
        cache.want(compiled)
        groups.setdefault(compiled.rule.index, []).append(compiled)
    pending = (guarded("field", ", ".join(index), _field_checks(cache, index, own)) for index, own in groups.items())
    return [check for checks in await gather(pending, limit) for check in checks]


async def _field_checks(cache: FieldCapsCache, index: tuple[str, ...], compiled: Sequence[CompiledRule]) -> list[Check]:
    types = await cache.types(index)
    if not types.indices:
        return []  # Rules without an index have a problem already.
    subject = ", ".join(index)
    missing: dict[str, list[Rule]] = {}
    checks = []
    rules = [one.rule for one in compiled]
    for one, rule in zip(compiled, rules, strict=True):
        faults = [problem for problem in one.resolved(types.schema)[1] if problem.severity == "error"]
        for fault in faults:
            if unknown := _UNKNOWN.search(fault.message):
                missing.setdefault(unknown[1], []).append(rule)
            else:
                remedy = "change the query, or the mapping; until then the rule can not be run"
                place = f"{fault.file}:{fault.line}:{fault.column}: " if fault.line else ""
                checks.append(Check("query", subject, "problem", f"{place}{fault.text}", remedy, names_of([rule])))
    remedy = "ship events that have it, or write `?` before it in the query; until then these rules can not be run"
    for name, concerned in sorted(missing.items()):
        found = f"no index of {subject} has this field"
        checks.append(Check("field", name, "problem", found, remedy, names_of(set(concerned))))
    checks += _tiebreaker_checks(types.schema, rules, subject)
    if not checks:
        found = f"{counted(len(types.indices), 'index', 'indices')} with all that {counted(len(rules), 'rule')} read"
        checks.append(ok("field", subject, found))
    return checks


def _tiebreaker_checks(schema: Schema, rules: Sequence[Rule], subject: str) -> list[Check]:
    """Problems of tiebreaker fields: no query names them, so that only sorting by a missing one would fail."""
    missing: dict[str, list[Rule]] = {}
    for rule in rules:
        if rule.tiebreaker_field and schema.find(rule.tiebreaker_field) is None:
            missing.setdefault(rule.tiebreaker_field, []).append(rule)
    remedy = "correct `tiebreaker_field` in the rules, or leave it out"
    return [
        Check("field", name, "problem", f"no index of {subject} has this tiebreaker field", remedy, names_of(own))
        for name, own in missing.items()
    ]


async def check_events(
    client: Elastic, rules: Sequence[Rule], patterns: Iterable[str], *, now: CurrentTime, limit: Semaphore
) -> list[Check]:
    """The checks per existing pattern of the newest event's age, and of the lag of its ingestion."""
    groups: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for pattern in set(patterns).intersection(local_patterns(rule.index)):
            groups.setdefault((pattern, rule.timestamp_field or "@timestamp"), []).append(rule)
    pending = (
        guarded("events", pattern, _arrival_checks(client, pattern, time, rules=own, now=now))
        for (pattern, time), own in sorted(groups.items())
    )
    return [check for checks in await gather(pending, limit) for check in checks]


async def _arrival_checks(
    client: Elastic, pattern: str, time: str, *, rules: Sequence[Rule], now: CurrentTime
) -> list[Check]:
    body = {
        "size": NEWEST,
        "_source": False,
        "fields": [time, "event.ingested"],
        "sort": [{time: {"order": "desc", "unmapped_type": "date", "numeric_type": "date"}}],
        "query": {"exists": {"field": time}},
        "track_total_hits": False,
    }
    answer = await client.search((pattern,), body, params={"ignore_unavailable": True, "allow_no_indices": True})
    if trouble := left_out(answer):
        remedy = "see to the cluster's health; windows with such answers stay owed"
        return [Check("events", pattern, "warning", f"not all shards answered: {trouble}", remedy, names_of(rules))]
    hits = [hit for hit in answer["hits"]["hits"] if hit.get("sort") and hit["sort"][0] is not None]
    if not hits:
        found = f"no event with `{time}` is there"
        remedy = "see whether anything is shipped there at all"
        return [Check("events", pattern, "warning", found, remedy, names_of(rules))]
    newest = moment_of(hits[0]["sort"][0])
    checks = [_age_check(pattern, now() - newest, rules)]
    lags = [lag for hit in hits if (lag := _lag(hit)) is not None]
    if (longest := max(lags, default=timedelta(0))) > timedelta(0):
        checks.append(lag_check(pattern, lags, rules, longest=longest))
    return checks


def _age_check(pattern: str, age: timedelta, rules: Sequence[Rule]) -> Check:
    if age < -AHEAD:
        found = f"the newest event is {spoken(age)} ahead of our time: it is in no window until then"
        return Check("events", pattern, "warning", found, "set the clocks of the hosts", names_of(rules))
    found = f"the newest event is {spoken(age)} old"
    outdated = [rule for rule in rules if age > max(rule.look_back, _QUIET)]
    if not outdated:
        return ok("events", pattern, found)
    longest = max(rule.look_back for rule in outdated)
    remedy = "see whether events still come; `replay` searches a span that has passed"
    text = f"{found}: further back than these rules look ({spoken(longest)})"
    return Check("events", pattern, "warning", text, remedy, names_of(outdated))


def lag_check(pattern: str, lags: Sequence[timedelta], rules: Sequence[Rule], *, longest: timedelta) -> Check:
    """A warning if events arrive later than the windows of rules overlap."""
    missing = [rule for rule in rules if not rule.timestamp_override and longest > rule.look_back - rule.every]
    found = (
        f"of the newest {len(lags)} events the slowest arrived {spoken(longest)} after it happened, "
        f"the median {spoken(timedelta(seconds=median(lag.total_seconds() for lag in lags)))}"
    )
    if not missing:
        return ok("lag", pattern, found)
    least = min(rule.look_back - rule.every for rule in missing)
    remedy = '`timestamp_override = "event.ingested"` in the rules, or an earlier `from`'
    text = f"{found}: later than windows overlap ({spoken(least)} at the least), so that events may be missed"
    return Check("lag", pattern, "warning", text, remedy, names_of(missing))


def _lag(hit: Mapping[str, Any]) -> timedelta | None:
    """The time from an event to its ingestion; None if unknown."""
    written = ((hit.get("fields") or {}).get("event.ingested") or [None])[0]
    try:
        ingested = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return None
    happened = moment_of(hit["sort"][0])
    return (ingested if ingested.tzinfo else ingested.replace(tzinfo=UTC)) - happened
