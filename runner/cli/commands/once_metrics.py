"""`rule-runner once --listen`: metrics and health of a single run while it lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from runner.cli.commands.once import OnceOptions, RunObserver
from runner.cli.commands.once import once as run_once
from runner.cli.metrics_port import listening
from runner.clock import SystemClock
from runner.events.files.event_files import ReadProgress
from runner.rule_run import RuleRun
from runner.schedule.schedule import Schedule
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules
from runner.settings.settings import Settings
from runner.store.protocol import RuleState, state_after
from runner.telemetry.health import HealthState
from runner.telemetry.metrics import Metrics, ServiceView

_PATIENCE = timedelta(minutes=5)
"""How long nothing may have been read and no window searched for the run to count as alive, beside a search's time."""


class ShownRun(RunObserver):
    """Metrics and health of a single run."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.health = HealthState(self.clock.now())
        self.metrics = Metrics(lambda: ServiceView(self._active, self._states, self._schedule), self.clock.now)
        self._active = ActiveRules()
        self._schedule = Schedule()
        self._states: Mapping[str, RuleState] = {}

    def reading(self, advance: ReadProgress) -> ReadProgress:
        """The same progress, each step of which is a sign of life."""

        def advanced(count: int) -> None:
            self.health.beat(self.clock.now())
            advance(count)

        return advanced

    def begin(self, active: ActiveRules, schedule: Schedule) -> None:
        self._active, self._schedule = active, schedule
        self.metrics.record_rules(active)
        self.health.record_rules(active)
        self.health.record_tick(self.clock.now(), None)

    def observed(self, execution: Execution) -> Execution:
        """The same execution, whose new alerts are counted."""
        return replace(execution, on_created=self.metrics.record_alerts)

    def on_run(self, run: RuleRun) -> None:
        self.metrics.record_run(run)
        self.health.record_run(run)
        self.health.beat(self.clock.now())
        fingerprints = {rule.rule_id: rule.fingerprint for rule in self._active.rules}
        state = state_after(self._states.get(run.rule_id), run, fingerprints.get(run.rule_id, ""))
        self._states = {**self._states, run.rule_id: state}


def once(settings: Settings, options: OnceOptions) -> int:
    """As `once`, with metrics and health served meanwhile. Raises SettingsError if nothing can listen there."""
    shown = ShownRun()
    patience = settings.search_timeout + _PATIENCE
    with listening(settings, shown.metrics, shown.health, patience=patience, now=shown.clock.now):
        return run_once(settings, shown, options)
