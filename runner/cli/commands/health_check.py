"""`rule-runner status --check`: whether the service works, for health checks."""

from __future__ import annotations

from runner.cli.console import say
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import heartbeat_path
from runner.clock import SystemClock
from runner.errors import AccessError
from runner.settings.settings import Settings
from runner.telemetry.heartbeat import read_heartbeat


def check(settings: Settings) -> ExitCode:
    """FINE if `rule-runner run` is at work with these settings on this machine; else the reason, and FINDINGS."""
    path = heartbeat_path(settings)
    try:
        heartbeat = read_heartbeat(path)
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror or error}") from None
    if heartbeat is None:
        complaint: str | None = f"no service runs with these settings: it would leave its sign of life in {path}"
    else:
        complaint = heartbeat.complaint(SystemClock().now())
    if complaint is not None:
        say(complaint, "red")
        return ExitCode.FINDINGS
    return ExitCode.FINE
