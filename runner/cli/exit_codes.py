"""Exit codes, and the errors that lead to them."""

from __future__ import annotations

from enum import IntEnum

from runner.errors import ClusterError, RunnerError, UnreachableError


class ExitCode(IntEnum):
    """What the command's exit status says."""

    FINE = 0
    FINDINGS = 1
    RULE_FAILED = 2
    USAGE = 3
    UNREACHABLE = 4


def exit_code_for(error: RunnerError) -> ExitCode:
    """The exit status of a command that ends with this error. A cluster that is overloaded or broken counts as away."""
    if isinstance(error, UnreachableError):
        return ExitCode.UNREACHABLE
    if isinstance(error, ClusterError) and (error.status >= 500 or error.status == 429):
        return ExitCode.UNREACHABLE
    return ExitCode.USAGE
