"""`NotifyMetrics`: what targets were sent, and what they are owed, as Prometheus metrics (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runner.notify.courier import CourierView

_PREFIX = "rule_runner_notification"
_COUNTERS = (
    ("messages", "Messages that the target has taken."),
    ("alerts", "Alerts in these messages."),
    ("failed_tries", "Tries that the target did not take."),
    ("given_up", "Alerts that could not be sent for max_age."),
)


class NotifyMetrics(Collector):
    """The standing of each target; the counters go on over restarts, as the outbox keeps them."""

    def __init__(self, views: Callable[[], Sequence[CourierView]], now: Callable[[], datetime]) -> None:
        self._views, self._now = views, now

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry then does not collect at its start."""
        return ()

    def collect(self) -> Iterator[Metric]:
        views, now = self._views(), self._now()
        if not views:
            return
        for name, text in _COUNTERS:
            counter = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=("target",))
            for view in views:
                counter.add_metric((view.target,), getattr(view.record, name))
            yield counter
        for name, text, level in (
            ("pending", "Alerts that wait, held back or not yet taken.", lambda view: float(view.backlog.items)),
            ("failing", "1 while the target takes nothing.", lambda view: float(view.record.failures > 0)),
            ("oldest_pending_seconds", "How long the oldest of them waits.", lambda view: _age(view, now)),
            ("last_success_timestamp_seconds", "When a message was taken last.", _last_success),
        ):
            gauge = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=("target",))
            for view in views:
                gauge.add_metric((view.target,), level(view))
            yield gauge


def _age(view: CourierView, now: datetime) -> float:
    oldest = view.backlog.oldest
    return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())


def _last_success(view: CourierView) -> float:
    return 0.0 if view.record.last_success is None else view.record.last_success.timestamp()
