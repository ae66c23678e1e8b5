"""`Running`: the service that runs, and what signals do to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from runner.cli.console import may_color
from runner.cli.locations import require_rule_paths, rule_sources
from runner.cli.notifying import Notifying
from runner.errors import RunnerError
from runner.service.service import Service
from runner.settings.settings import Settings, variables_for
from runner.telemetry.logs import configure_logging

_RELOADED = (
    "rules",
    "exceptions",
    "overrides",
    "select",
    "notifications",
    "catch_up",
    "on_cap",
    "log_level",
    "log_format",
)
"""Settings that SIGHUP reads again; the others count from the next start on."""
_LOG = structlog.get_logger("runner.service")


@dataclass(slots=True)
class Running:
    """The service that signals are for; SIGHUP reads the rules and the settings of `_RELOADED` again."""

    settings: Settings
    reread: Callable[[], Settings]
    service: Service | None = None
    notifying: Notifying | None = None

    def stop(self) -> None:
        """End the service, if it runs."""
        if self.notifying is not None:
            self.notifying.wind_down()
        if self.service is not None:
            self.service.stop()

    def reload(self) -> None:
        """Read again, use what can be used at once, and log what has changed."""
        try:
            found = self.reread()
            require_rule_paths(found)
        except RunnerError as error:
            _LOG.error(f"SIGHUP: the settings cannot be used, those of before stay in use: {error}")
            found = self.settings
        names = [name for name in Settings.model_fields if getattr(found, name) != getattr(self.settings, name)]
        changed = [f"{variables_for(name)[0]} is {_value(found, name)}" for name in names if name in _RELOADED]
        fixed = [variables_for(name)[0] for name in names if name not in _RELOADED]
        self.settings = self.settings.model_copy(update={name: getattr(found, name) for name in _RELOADED})
        secrets = () if self.notifying is None else self.notifying.told.secrets
        configure_logging(self.settings, stream=sys.stderr, color=may_color(), secrets=secrets)
        if self.service is not None:
            self.service.reload(
                rule_sources(self.settings), on_cap=self.settings.on_cap, horizon=self.settings.catch_up
            )
        if self.notifying is not None:
            self.notifying.reload(self.settings)
        _LOG.info(f"SIGHUP: the rules are read again; {', '.join(changed) or 'no setting has changed'}")
        if fixed:
            _LOG.warning(f"SIGHUP: {', '.join(fixed)} changed, which counts from the next start on")


def _value(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
