"""`Metrics`: what the service did and the status of its rules as Prometheus metrics, on a registry of its own.

Counters live as long as the process; what follows from ledger and time is computed at a collection. A rule has at most
15 series, labelled by its id alone and dropped with the rule; distributions are over all rules, as one of each rule
would be ten times as many. docs/metrics.md lists every metric.
Conventions: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from runner import __version__
from runner.alerts.alert import Alert
from runner.alerts.event_fields import value_at
from runner.rule_run import RuleRun
from runner.schedule.rule_status import RuleStatus, standing_of
from runner.schedule.schedule import Schedule
from runner.service.arrivals import Looked
from runner.service.rules_in_use import ActiveRules
from runner.store.protocol import RuleState

_OUTCOMES = ("succeeded", "warning", "failed")
_RUN_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_LAG_BUCKETS = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0)


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What the service knows at this moment. The mappings may change while they are read: they are copied."""

    active: ActiveRules = field(default_factory=ActiveRules)
    states: Mapping[str, RuleState] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Schedule)
    held: frozenset[str] | None = None
    """The ids of the rules that this runner runs; None for all of them. The status of the others is not shown: what is
    known of it here is out of date."""
    newest_event: datetime | None = None
    """The newest time of an event in files that is not ahead of the clock; None for a cluster."""
    event_files: int | None = None
    """Event files of the last pass; None for a cluster."""
    is_blind: bool = False
    """Whether no events are seen, or none for too long; `/readyz` says why."""
    blind_rules: int = 0
    """Rules for which nothing was there that their index patterns name."""


@dataclass(slots=True)
class _Distribution:
    """A histogram: how many values fell into each bucket, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        buckets: list[tuple[str, float]] = []
        reached = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            reached += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), reached))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self.total)


@dataclass(slots=True)
class _RunCounts:
    """Totals of the runs of one rule."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_OUTCOMES, 0))
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    last_started: datetime | None = None

    def add(self, run: RuleRun) -> None:
        self.outcomes[run.status] += 1
        self.seconds += run.took_ms / 1000
        self.counts.update(run.counts)
        self.last_started = run.started


@dataclass(slots=True)
class _TickCounts:
    """Totals of the ticks, and the last one."""

    ticks: int = 0
    failed: int = 0
    is_troubled: bool = False
    last_at: datetime | None = None

    def add(self, at: datetime, trouble: Exception | None) -> None:
        self.ticks += 1
        self.failed += trouble is not None
        self.is_troubled = trouble is not None
        self.last_at = at


class Metrics(Collector):
    """Counters of runs, ticks and alerts, with the status of the rules at the time of a collection.

    The service's thread records, another one may collect at the same time.
    """

    def __init__(self, current_view: Callable[[], ServiceView], now: Callable[[], datetime]) -> None:
        self._current_view = current_view
        self._now = now
        self._lock = threading.Lock()
        self._totals: dict[str, _RunCounts] = {}
        self._ticks = _TickCounts()
        self._durations = _Distribution(_RUN_BUCKETS)
        self._ingest = _Distribution(_LAG_BUCKETS)
        self._detection = _Distribution(_LAG_BUCKETS)
        self._reloaded: datetime | None = None
        self._arrived: Counter[str] = Counter()
        self._excepted: Counter[str] = Counter()
        self._late_spans = 0

    def record_run(self, run: RuleRun) -> None:
        """A run is done."""
        with self._lock:
            self._totals.setdefault(run.rule_id, _RunCounts()).add(run)
            self._durations.add(run.took_ms / 1000)
            if run.complete:
                self._excepted.update({one.exception: one.events for one in run.excepted})

    def record_rules(self, active: ActiveRules) -> None:
        """The rules in use have changed; those that are gone are forgotten."""
        with self._lock:
            here = {rule.rule_id for rule in active.rules}
            self._totals = {rule_id: totals for rule_id, totals in self._totals.items() if rule_id in here}
            self._reloaded = self._now()

    def record_tick(self, trouble: Exception | None) -> None:
        """A tick is over; `trouble` is what keeps the service from its work."""
        with self._lock:
            self._ticks.add(self._now(), trouble)

    def record_look(self, looked: Looked) -> None:
        """The event files were looked at."""
        with self._lock:
            self._arrived.update(read=looked.events, owed=looked.late.events_owed, given_up=looked.late.events_beyond)
            self._late_spans += looked.late.owed

    def record_alerts(self, alerts: Iterable[Alert]) -> None:
        """New alerts were stored: the times of their events show how late events arrive and are detected."""
        with self._lock:
            for alert in alerts:
                happened = _time_at(alert, "kibana.alert.original_time")
                if alert.kind == "shell" or happened is None:
                    continue
                if (ingested := _time_at(alert, "kibana.alert.original_event.ingested")) is not None:
                    self._ingest.add(max(0.0, (ingested - happened).total_seconds()))
                if (detected := _time_at(alert, "@timestamp")) is not None:
                    self._detection.add(max(0.0, (detected - happened).total_seconds()))

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry then does not collect at its start, before there is a service."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric as it is now."""
        view, now = self._current_view(), self._now()
        states = dict(view.states)
        ours = [one for one in view.active.compiled if view.held is None or one.rule.rule_id in view.held]
        standings = [
            standing_of(one.rule, states.get(one.rule.rule_id), view.schedule, now=now, reach=one.reach) for one in ours
        ]
        with self._lock:
            families = [*self._service(view), *self._runs(view.active), *self._lags(view)]
        yield InfoMetricFamily("rule_runner_build", "The version that runs.", value={"version": __version__})
        yield from families
        yield from _rules(view.active)
        yield from _standings(standings, now)

    def _service(self, view: ServiceView) -> Iterator[Metric]:
        ticks, failed = self._ticks.ticks, self._ticks.failed
        yield _counter("ticks", "Looks at what is due.", ticks)
        yield _counter("tick_failures", "Ticks that came to nothing, or fell into a pause after one.", failed)
        yield _gauge("last_tick_timestamp_seconds", "When the last tick was over.", _seconds(self._ticks.last_at))
        yield _gauge("troubled", "1 while something keeps the service from searching.", float(self._ticks.is_troubled))
        yield _gauge("last_reload_timestamp_seconds", "When the rules in use last changed.", _seconds(self._reloaded))
        if view.held is not None:
            yield _gauge("leases_held", "Rules that this runner holds the lease of.", len(view.held))

    def _runs(self, active: ActiveRules) -> Iterator[Metric]:
        """The counters of the rules, from 0: a rate of a counter that is not there yet misses its first step."""
        totals = {rule.rule_id: self._totals.get(rule.rule_id, _RunCounts()) for rule in active.rules}
        runs = (((rule_id, name), n) for rule_id, one in totals.items() for name, n in one.outcomes.items())
        yield _counter("runs", "Runs by outcome.", runs, labels=("rule_id", "outcome"))
        yield self._durations.family("rule_runner_run_duration_seconds", "How long runs took, over all rules.")
        seconds = (((rule_id,), one.seconds) for rule_id, one in totals.items())
        yield _counter("run_seconds", "How long the runs of a rule took together.", seconds)
        for name, text, count_name in (
            ("matches", "Matches that searches found.", "matches"),
            ("alerts_created", "New alerts, building blocks not counted.", "created"),
            ("alerts_duplicate", "Matches whose alert was there already.", "duplicates"),
            ("alerts_suppressed", "Matches that alert suppression took.", "suppressed"),
            ("alerts_capped", "New matches over max_signals, at the run that met them.", "capped"),
        ):
            yield _counter(name, text, (((rule_id,), one.counts[count_name]) for rule_id, one in totals.items()))
        excepted = (((item.id,), self._excepted[item.id]) for item in active.exceptions.items)
        text = "Events that an exception has kept from rules, each counted once a rule."
        yield _counter("excepted_events", text, excepted, labels=("exception",))
        last = (((rule_id,), _seconds(one.last_started)) for rule_id, one in self._totals.items())
        yield _gauge("last_run_timestamp_seconds", "When the rule's last run began.", last)

    def _lags(self, view: ServiceView) -> Iterator[Metric]:
        yield self._ingest.family(
            "rule_runner_ingest_lag_seconds", "From @timestamp to event.ingested, of the events of new alerts."
        )
        yield self._detection.family(
            "rule_runner_detection_lag_seconds", "From @timestamp of an event to its alert, of new alerts."
        )
        yield _counter("events_read", "New events in files, each counted once.", self._arrived["read"])
        late = (((outcome,), self._arrived[outcome]) for outcome in ("owed", "given_up"))
        text = "Events in files that came after the windows of their time were searched."
        yield _counter("late_events", text, late, labels=("outcome",))
        yield _counter("late_spans", "Spans of rules that are owed again for late events.", self._late_spans)
        if (newest := view.newest_event) is not None:
            yield _gauge("newest_event_timestamp_seconds", "The newest time of an event in files.", _seconds(newest))
        if view.event_files is not None:
            yield _gauge("event_files", "Event files that the last pass found.", view.event_files)
        yield _gauge("blind", "1 while no events are seen, or none for too long.", float(view.is_blind))
        yield _gauge("blind_rules", "Rules whose index patterns nothing is there for.", view.blind_rules)


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """A registry with these metrics and those of the process (memory, processor time, files, garbage)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def rendered(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """All metrics as the `Accept` header wants them (OpenMetrics or Prometheus' text), and the content type.

    A header that the client library cannot read, as with `version=x`, counts as none.
    """
    try:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type
    except (TypeError, ValueError):
        encode, content_type = choose_encoder("")
        return encode(registry), content_type


def _rules(active: ActiveRules) -> Iterator[Metric]:
    """How many rules there are, and the names behind the ids."""
    errors = [problem for problem in active.problems if problem.severity == "error"]
    counts = (
        (("in_use",), len(active.rules)),
        (("disabled",), len(active.disabled)),
        (("broken",), len({problem.rule_id or str(problem.file) for problem in errors})),
        (("unsupported",), len(active.loaded.unsupported)),
        (("left_out",), len(active.loaded.left_out)),
        (("deprecated",), len(active.loaded.deprecated)),
    )
    yield _gauge("rules", "Rules of the rule files by what became of them.", counts, labels=("state",))
    yield _gauge("last_reload_successful", "1 if no rule file or query has an error.", float(not errors))
    broken = [problem for problem in active.exceptions.problems if problem.severity == "error"]
    used = {item.id for one in active.compiled for item in one.exceptions}
    states = {"in_force": len(used), "unused": len(active.exceptions.items) - len(used), "broken": len(broken)}
    by_state = (((state,), count) for state, count in states.items())
    yield _gauge("exceptions", "Exceptions of the exception files by what became of them.", by_state, labels=("state",))
    names = (((rule.rule_id, rule.name), 1) for rule in active.rules)
    text = "The name of each rule in use, to be joined by id."
    yield _gauge("rule_info", text, names, labels=("rule_id", "rule_name"))


def _standings(standings: Sequence[RuleStatus], now: datetime) -> Iterator[Metric]:
    """Where each rule stands."""
    owed = (((one.rule_id,), one.owed_windows) for one in standings)
    gaps = (((one.rule_id,), one.owed_length.total_seconds()) for one in standings)
    given_up = (((one.rule_id,), one.given_up_length.total_seconds()) for one in standings)
    lags = (((one.rule_id,), lag.total_seconds()) for one in standings if (lag := one.lag(now)) is not None)
    yield _gauge("owed_windows", "Runs that it takes to search what is owed.", owed)
    yield _gauge("gap_seconds", "Length of the spans that are owed.", gaps)
    text = "Length of the unsearched spans that are older than RUNNER_CATCH_UP."
    yield _gauge("given_up_seconds", text, given_up)
    yield _gauge("lag_seconds", "How far the newest searched time is behind now.", lags)


_Values = float | Iterable[tuple[tuple[str, ...], float]]
"""The value of the one series of a family, or those of several by the values of their labels."""


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    text: str,
    values: _Values,
    *,
    labels: tuple[str, ...] = ("rule_id",),
) -> Metric:
    if isinstance(values, (int, float)):
        return kind(f"rule_runner_{name}", text, value=values)
    family = kind(f"rule_runner_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


_counter = partial(_family, CounterMetricFamily)
_gauge = partial(_family, GaugeMetricFamily)


def _seconds(moment: datetime | None) -> float:
    """Seconds since 1970; 0 for what has not happened, as Prometheus' own metrics have it."""
    return moment.timestamp() if moment is not None else 0.0


def _time_at(alert: Alert, path: str) -> datetime | None:
    """The time in a field of the document; None where there is none that can be read."""
    try:
        found = datetime.fromisoformat(str(value_at(alert.document, path)))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
