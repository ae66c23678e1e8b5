"""The command `rule-runner`: its subcommands, and the messages and exit codes of errors."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar

import typer

from runner import __version__
from runner.cli import alerts_arguments, arguments, notify_arguments, signals
from runner.cli.config_arguments import config
from runner.cli.exceptions_arguments import exceptions
from runner.cli.exit_codes import ExitCode, exit_code_for
from runner.cli.rules_arguments import rules
from runner.cli.shell.command_form import CommandGroup, Commands, ConfigOption
from runner.cli.state_arguments import state_file
from runner.errors import RunnerError


class _PipeClosed(Exception):  # noqa: N818 - not an error
    """The reader closed the pipe."""


class _InterruptedError(Exception):
    """A signal has ended the command."""

    def __init__(self, error: signals.Interrupted) -> None:
        super().__init__()
        self.number, self.code = error.number, error.code


class _Root(CommandGroup):
    """The group of all commands; it passes a broken pipe and a signal on to `run`, since click has exit codes of its
    own for them."""

    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Search and alert": ("run", "once", "replay", "status"),
        "Write rules": ("new", "check", "test", "search", "rules", "exceptions"),
        "Work with alerts": ("alerts", "web", "notify"),
        "Set up and look after": ("doctor", "setup", "config", "state", "sample"),
    }

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _PipeClosed from None
        except signals.Interrupted as error:
            raise _InterruptedError(error) from None


app = Commands(
    name="rule-runner",
    cls=_Root,
    help="Elastic's detection rules, run on a schedule wherever the events are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _command in (
    arguments.run, arguments.once, arguments.check, arguments.new, arguments.test, arguments.search, arguments.replay,
    arguments.status, arguments.web, arguments.doctor, arguments.setup, arguments.sample,
):  # fmt: skip
    app.command()(_command)
app.add_typer(alerts_arguments.alerts, name="alerts")
app.add_typer(exceptions, name="exceptions")
app.add_typer(rules, name="rules")
app.add_typer(notify_arguments.notify, name="notify")
app.add_typer(state_file, name="state")
app.add_typer(config, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"rule-runner {__version__}\n")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Elastic's detection rules, run on a schedule wherever the events are."""


def _is_service(arguments: list[str]) -> bool:
    """Whether the command is the service, for which a signal is the usual end."""
    return next((one for one in arguments if not one.startswith("-")), "") in ("run", "web")


def run() -> None:
    """Run the command line and exit with its code."""
    undo = signals.install(code=0 if _is_service(sys.argv[1:]) else None)
    try:
        code = app(standalone_mode=False, prog_name="rule-runner") or ExitCode.FINE
        sys.stdout.flush()
    except (signals.Interrupted, _InterruptedError) as error:
        code = error.code
        signals.tell(f"interrupted by {signals.name_of(error.number)}: the command is not finished")
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except (_PipeClosed, BrokenPipeError):  # the reader (head, a pager) closed the pipe
        _drop_output()
        code = ExitCode.FINE
    except Exception as error:  # noqa: BLE001 - shown and turned into an exit code, or raised again
        code = _code_of(error)
    if signals.has_come():
        # To take down all objects of hundreds of rules may take seconds.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(int(code))
    undo()
    sys.exit(int(code))


def _drop_output() -> None:
    """Let flushing of what is buffered for stdout raise nothing at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _code_of(error: Exception) -> ExitCode:
    """Print the error and return its exit code; an unexpected error is raised again.

    Typer 0.26 and later have a copy of click whose exceptions are not exported: they are recognised by their methods.
    """
    from runner.cli.console import say, show_query_error
    from runner.messages.query_errors import QueryError

    if isinstance(error, QueryError):
        show_query_error(error)
        return ExitCode.USAGE
    if isinstance(error, RunnerError):
        say(f"error: {error}", "red")
        return exit_code_for(error)
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        _drop_output()
        say(f"error: {error.strerror}: what is printed, or a file beside it, could not be written", "red")
        return ExitCode.USAGE
    if not callable(getattr(error, "format_message", None)):
        raise error
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        say(context.get_help())
        return ExitCode.USAGE
    say(f"error: {error.format_message()}", "red")  # type: ignore[attr-defined]
    if context is not None:
        say(f"try `{context.command_path} --help`")
    return ExitCode.USAGE
