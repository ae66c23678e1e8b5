"""How this program is called, in hints that can be copied to a shell as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.settings.settings import Settings


def own_command() -> str:
    """The words before a subcommand that call this program again from the same folder.

    `rule-runner` if that is what the shell finds under this name, else the path of the script, or Python with the
    module, where it was called so.
    """
    return _own_command(sys.argv[0], sys.executable, str(Path.cwd()), os.environ.get("PATH", ""))


def runnable(text: str) -> str:
    """The text with the commands in it, quoted by backticks, as this program is called."""
    return text.replace("`rule-runner ", f"`{own_command()} ") if "`rule-runner " in text else text


def as_called(command: str, state: str = "") -> str:
    """A command line of `rule-runner` as this program is called; commands for alerts get the flag `state`."""
    program, _, rest = command.partition(" ")
    if program != "rule-runner":
        return command
    return f"{own_command()} {rest}{state if rest.startswith('alerts ') else ''}"


def state_flag(settings: Settings) -> str:
    """The `--state` that a following command needs to find the same alerts, with a blank before it; "" if none."""
    return "" if settings.is_default("state") else f" --state {shlex.quote(str(settings.state))}"


@cache
def _own_command(called: str, python: str, folder: str, path: str) -> str:
    if Path(called).name == "__main__.py":
        return f"{_shortest(Path(python), folder, path)} -m runner"
    if os.sep not in called:
        return "rule-runner"
    return _shortest(Path(called), folder, path)


def _shortest(program: Path, folder: str, path: str) -> str:
    """The name of a program if the shell finds it by that, else its path, from `folder` if it is below it."""
    found = shutil.which(program.name, path=path)
    place = Path(os.path.abspath(program))  # noqa: PTH100 - a virtual environment's python is a link, not to be followed
    if found is not None and Path(found).exists() and Path(os.path.abspath(found)) == place:  # noqa: PTH100
        return program.name
    return shlex.quote(str(place.relative_to(folder) if place.is_relative_to(folder) else place))
