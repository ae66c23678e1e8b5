"""Exit codes, and those of errors."""

from __future__ import annotations

from enum import IntEnum

from runner.errors import ClusterError, RunnerError, UnreachableError


class ExitCode(IntEnum):
    """The exit status of a command."""

    FINE = 0
    FINDINGS = 1
    RULE_FAILED = 2
    USAGE = 3
    UNREACHABLE = 4


def exit_code_for(error: RunnerError) -> ExitCode:
    """The exit status for an error; an overloaded or failing cluster counts as unreachable."""
    if isinstance(error, UnreachableError):
        return ExitCode.UNREACHABLE
    if isinstance(error, ClusterError) and (error.status >= 500 or error.status == 429):
        return ExitCode.UNREACHABLE
    return ExitCode.USAGE
