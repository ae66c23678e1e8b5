"""Metrics: what is counted, what follows from ledger and time, their names, and the document that lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from runner.alerts.alert import Alert
from runner.errors import Problem
from runner.exceptions import ExceptionItem, Exceptions
from runner.notify.courier import CourierView
from runner.rule_run import RuleRun, Status
from runner.rules.load import LoadedRules
from runner.rules.rule import Rule
from runner.schedule.schedule import Schedule
from runner.service.rules_in_use import ActiveRules
from runner.store.outbox import Backlog, TargetRecord
from runner.store.protocol import RuleState
from runner.telemetry.metrics import Metrics, ServiceView, registry_of, rendered
from runner.telemetry.notify_metrics import NotifyMetrics
from runner.windows import Window
from tests.compiled import compiled
from tests.paths import ROOT

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def rule(rule_id: str, **fields: Any) -> Rule:
    facts = {
        "name": rule_id.upper(),
        "description": "d",
        "type": "eql",
        "language": "eql",
        "query": "any where true",
        "severity": "low",
        "risk_score": 1,
    }
    return Rule(rule_id=rule_id, **{**facts, "from_": "now-9m", **fields})


def active(*rules: Rule, problems: tuple[Problem, ...] = ()) -> ActiveRules:
    return ActiveRules(LoadedRules(rules=rules), tuple(compiled(one) for one in rules if one.enabled), problems)


def rule_run(rule_id: str, status: Status = "succeeded", **counts: Any) -> RuleRun:
    return RuleRun(rule_id, rule_id.upper(), "e", status, Window(NOON - 9 * MINUTE, NOON), NOON, **counts)


class Observed:
    """Metrics with a view that the test sets."""

    def __init__(self, view: ServiceView) -> None:
        self.view = view
        self.metrics = Metrics(lambda: self.view, lambda: NOON)
        self.metrics.record_rules(view.active)

    def samples(self) -> Samples:
        registry = CollectorRegistry()
        registry.register(self.metrics)
        text, _ = rendered(registry, "")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((f"rule_runner_{name}", frozenset(labels.items())))


@pytest.fixture
def observed() -> Observed:
    return Observed(ServiceView(active(rule("a"), rule("b")), schedule=Schedule(together=True)))


def test_runs_are_counted_by_rule_and_outcome_from_zero(observed: Observed) -> None:
    assert observed.value("runs_total", rule_id="b", outcome="failed") == 0
    for status in ("succeeded", "succeeded", "warning", "failed"):
        observed.metrics.record_run(
            rule_run("a", status, matches=5, created=1, duplicates=2, suppressed=3, capped=4, took_ms=500)
        )
    outcomes = [observed.value("runs_total", rule_id="a", outcome=name) for name in ("succeeded", "warning", "failed")]
    assert outcomes == [2, 1, 1]
    names = ("matches", "alerts_created", "alerts_duplicate", "alerts_suppressed", "alerts_capped", "run_seconds")
    assert [observed.value(f"{name}_total", rule_id="a") for name in names] == [20, 4, 8, 12, 16, 2]
    assert [observed.value(f"{name}_total", rule_id="b") for name in names] == [0] * 6
    assert observed.value("last_run_timestamp_seconds", rule_id="a") == NOON.timestamp()


def test_durations_fall_into_buckets_that_add_up(observed: Observed) -> None:
    for took in (10, 11, 5_000, 200_000):
        observed.metrics.record_run(rule_run("a", took_ms=took))
    buckets = [observed.value("run_duration_seconds_bucket", le=bound) for bound in ("0.01", "0.05", "5.0", "+Inf")]
    assert buckets == [1, 2, 3, 4]
    assert observed.value("run_duration_seconds_sum") == pytest.approx(205.021)


def test_what_a_rule_owes_follows_from_ledger_and_time(observed: Observed) -> None:
    searched = (Window(NOON - 600 * MINUTE, NOON - 500 * MINUTE), Window(NOON - 200 * MINUTE, NOON - 10 * MINUTE))
    observed.view = replace(
        observed.view,
        states={"a": RuleState("a", searched, rule_run("a"))},
        schedule=Schedule(together=True, horizon=400 * MINUTE),
    )
    assert observed.value("given_up_seconds", rule_id="a") == 100 * 60
    assert observed.value("gap_seconds", rule_id="a") == 200 * 60 + 10 * 60
    assert observed.value("owed_windows", rule_id="a") == 4 + 1
    assert observed.value("lag_seconds", rule_id="a") == 600
    assert (observed.value("gap_seconds", rule_id="b"), observed.value("lag_seconds", rule_id="b")) == (0, None)


def test_of_rules_that_another_replica_runs_nothing_is_told_of_where_they_stand(observed: Observed) -> None:
    observed.view = replace(observed.view, held=frozenset({"b"}))
    assert (observed.value("gap_seconds", rule_id="a"), observed.value("gap_seconds", rule_id="b")) == (None, 0)
    assert (observed.value("leases_held"), observed.value("rules", state="in_use")) == (1, 2)


def test_ticks_and_trouble(observed: Observed) -> None:
    assert observed.value("last_tick_timestamp_seconds") == 0
    observed.metrics.record_tick(None)
    observed.metrics.record_tick(OSError("away"))
    assert [observed.value(name) for name in ("ticks_total", "tick_failures_total", "troubled")] == [2, 1, 1]
    observed.metrics.record_tick(None)
    assert (observed.value("troubled"), observed.value("last_tick_timestamp_seconds")) == (0, NOON.timestamp())


def test_rules_by_what_became_of_them(observed: Observed) -> None:
    problems = (
        Problem(Path("x.toml"), 1, 1, "error", "m"),
        Problem(Path("x.toml"), 2, 1, "error", "m"),
        Problem(Path("y.toml"), 2, 1, "error", "m", "y"),
        Problem(Path("z.toml"), 2, 1, "warning", "m", "z"),
    )
    found = active(rule("a"), rule("off", enabled=False), problems=problems)
    unsupported = replace(found.loaded, unsupported=(rule("q", type="query"),), left_out=(rule("l"),))
    observed.view = ServiceView(replace(found, loaded=unsupported), held=frozenset({"a"}))
    states = {"in_use": 1, "disabled": 1, "broken": 2, "unsupported": 1, "left_out": 1, "deprecated": 0}
    assert {state: observed.value("rules", state=state) for state in states} == states
    assert (observed.value("last_reload_successful"), observed.value("leases_held")) == (0, 1)
    assert observed.value("last_reload_timestamp_seconds") == NOON.timestamp()


def test_a_rule_that_is_gone_takes_its_series_along(observed: Observed) -> None:
    observed.metrics.record_run(rule_run("a", created=1))
    observed.view = replace(observed.view, active=active(rule("b")))
    observed.metrics.record_rules(observed.view.active)
    assert not [labels for _, labels in observed.samples() if ("rule_id", "a") in labels]
    observed.view = replace(observed.view, active=active(rule("a")))
    assert observed.value("alerts_created_total", rule_id="a") == 0


def test_names_with_anything_in_them_are_escaped() -> None:
    name = 'quote " backslash \\ line\nend é'
    observed = Observed(ServiceView(active(rule("a", name=name))))
    assert observed.value("rule_info", rule_id="a", rule_name=name) == 1


def test_new_alerts_tell_how_late_their_events_are(observed: Observed) -> None:
    def alert(id_: str, kind: Any, **document: Any) -> Alert:
        facts = {
            "@timestamp": "2026-03-02T12:00:00.000Z",
            "kibana.alert.original_time": "2026-03-02T11:58:00.000Z",
            "kibana.alert.original_event.ingested": "2026-03-02T11:58:07.123456789Z",
        }
        return Alert(id_, "a", kind, {**facts, **document})

    alerts = [
        alert("1", "event"),
        alert("2", "building_block", **{"kibana.alert.original_event.ingested": None}),
        alert("3", "shell"),
        alert("4", "event", **{"kibana.alert.original_time": "yesterday"}),
    ]
    observed.metrics.record_alerts(alerts)
    assert observed.value("ingest_lag_seconds_count") == 1
    assert observed.value("ingest_lag_seconds_sum") == pytest.approx(7.123456)
    assert observed.value("detection_lag_seconds_count") == 2
    assert observed.value("detection_lag_seconds_sum") == 240


def test_the_newest_event_is_told_of_files_only(observed: Observed) -> None:
    assert observed.value("newest_event_timestamp_seconds") is None
    observed.view = replace(observed.view, newest_event=NOON)
    assert observed.value("newest_event_timestamp_seconds") == NOON.timestamp()


def full() -> Observed:
    """Metrics with every family there is."""
    states = {"a": RuleState("a", (Window(NOON - MINUTE, NOON),), rule_run("a"))}
    rules = replace(active(rule("a")), exceptions=Exceptions((ExceptionItem("lab", "lab", rules=("a",)),)))
    made = Observed(ServiceView(rules, states, held=frozenset({"a"}), newest_event=NOON, event_files=1))
    made.metrics.record_run(rule_run("a"))
    return made


def families() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Every metric of ours as a reader of the page sees it: name, type, labels."""
    registry = CollectorRegistry()
    registry.register(full().metrics)
    registry.register(NotifyMetrics(lambda: [CourierView("soc", TargetRecord(NOON))], lambda: NOON))
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        name = f"{family.name}_info" if family.type == "info" else name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        yield name, "gauge" if family.type == "info" else family.type, frozenset(labels)


def documented() -> Iterator[tuple[str, str, frozenset[str]]]:
    """The rows of the tables in docs/metrics.md: | `name` | type | labels | meaning | query |."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for row in re.finditer(r"(?m)^\| `(rule_runner_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \| (.+) \|$", text):
        name, kind, labels, meaning, query = row.groups()
        assert meaning.strip() and re.search(r"`[^`]+`", query), name
        yield name, kind, frozenset(re.findall(r"`(\w+)`", labels))


def test_the_document_lists_every_metric_with_type_labels_and_a_query() -> None:
    assert sorted(documented()) == sorted(families())


@pytest.mark.parametrize("file", ["docs/metrics.md", "docs/monitoring/alerts.yml", "docs/monitoring/dashboard.json"])
def test_queries_that_are_shown_ask_for_metrics_that_there_are(file: str) -> None:
    names = set()
    for name, kind, _ in families():
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else set()
        names.add(name)
    asked = set(re.findall(r"\brule_runner_\w+", (ROOT / file).read_text(encoding="utf-8")))
    assert asked and asked <= names, asked - names


def test_what_targets_are_owed() -> None:
    record = TargetRecord(NOON, messages=3, alerts=5, failed_tries=2, given_up=1, failures=1, last_success=NOON)
    view = CourierView("soc", record, Backlog(7, 2, NOON - MINUTE))
    shown = {
        sample.name.removeprefix("rule_runner_notification_"): sample.value
        for family in NotifyMetrics(lambda: [view], lambda: NOON).collect()
        for sample in family.samples
    }
    assert shown == {
        **{"messages_total": 3, "alerts_total": 5, "failed_tries_total": 2, "given_up_total": 1},
        **{"pending": 7, "failing": 1, "oldest_pending_seconds": 60},
        "last_success_timestamp_seconds": NOON.timestamp(),
    }
    assert list(NotifyMetrics(lambda: [], lambda: NOON).collect()) == []


def test_names_follow_the_conventions() -> None:
    for name, kind, labels in families():
        assert re.fullmatch(r"rule_runner_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"(_ms|_millis|_minutes|_hours|_percent)\b", name), name
        assert labels <= {"rule_id", "outcome", "state", "version", "rule_name", "exception", "target"}, name


def test_a_thousand_rules_have_a_bounded_number_of_series() -> None:
    observed = Observed(ServiceView(active(*(rule(str(number)) for number in range(1_000)))))
    for number in range(1_000):
        observed.metrics.record_run(rule_run(str(number)))
    assert len(observed.samples()) < 16_100


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text;version=1.0.0", "*/*"])
def test_the_page_is_in_the_format_that_is_asked_for(accept: str) -> None:
    registry = registry_of(full().metrics)
    text, content_type = rendered(registry, accept)
    is_open = "openmetrics" in accept
    assert content_type.startswith("application/openmetrics-text" if is_open else "text/plain")
    assert text.endswith(b"# EOF\n") == is_open
    assert b"process_resident_memory_bytes" in text and b"rule_runner_build_info{version=" in text


@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
@pytest.mark.parametrize("version", ["x", "1.0.0\0", "9.9.9", "-1", "1..0", "\u00e9", ""])
def test_an_accept_header_of_no_known_version_is_answered(kind: str, version: str) -> None:
    text, content_type = rendered(registry_of(full().metrics), f"{kind};version={version};escaping=\0")
    assert b"process_resident_memory_bytes" in text and content_type.isprintable()


def test_two_services_in_one_process_count_apart() -> None:
    first, second = full(), full()
    first.metrics.record_tick(None)
    assert (first.value("ticks_total"), second.value("ticks_total")) == (1, 0)
