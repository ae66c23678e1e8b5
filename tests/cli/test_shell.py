"""The command line as a shell sees it: help, completion, pages on a terminal, and the settings in force."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from runner.cli.app import app
from runner.cli.shell.command_form import OwnCommand
from tests.cli.conftest import Command
from tests.paths import ROOT

BIN = Path(sys.executable).parent


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(get_command(app)))


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_what_a_value_is_and_no_type(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, OwnCommand)
    assert [param.name for param in command.params if param.name == "config"] == ["config"]
    with_value = [
        param for param in command.params if param.param_type_name == "argument" or not getattr(param, "is_flag", False)
    ]
    assert [param.name for param in with_value if not param.metavar] == []
    assert [param.name for param in command.params if not getattr(param, "help", None)] == []


def test_help_is_in_sections(command: Command) -> None:
    root = command("--help").out
    assert root.index("Search and alert:") < root.index("  once ") < root.index("Write rules:") < root.index("  check ")
    assert "Commands:\n" not in root  # each has its section
    page = command("search", "--help").out
    assert page.startswith("Usage: rule-runner search [OPTIONS] [QUERY]\n")
    titles = ["Arguments:", "Input:", "Filters:", "Options:", "Common options:"]
    assert [line for line in page.splitlines() if line in titles] == titles
    assert not any(word in page for word in ("<str>", "<int>", "TEXT", "INTEGER"))
    assert command("alerts", "show", "--help").out.startswith("Usage: rule-runner alerts show [OPTIONS] ID\n")
    assert command("alerts", "close", "--help").out.startswith("Usage: rule-runner alerts close [OPTIONS] [ID...]\n")


# Settings


def test_the_settings_in_force(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rule-runner.toml").write_text("on_cap = 'drop'\ntick = '90m'\nworkers = 2\n")
    (tmp_path / ".env").write_text("RUNNER_WORKERS=3\n")
    env = {"ELASTICSEARCH_API_KEY": "aHVudGVyOjI=", "ELASTICSEARCH_HOSTS": "es"}
    found = command("config", "show", "-o", "json", "--state", "x.db", env=env).json["settings"]
    layers = ["config_file", "config_file", "env_file", "flag", "environment", "default"]
    names = ["on_cap", "tick", "workers", "state", "elasticsearch_hosts", "catch_up"]
    assert [found[name]["from"] for name in names] == layers
    assert [found[name]["value"] for name in names] == ["drop", "90m", 3, "x.db", ["https://es:9200"], "7d"]
    assert found["tick"]["place"] == "tick (rule-runner.toml, line 2)"
    table = command("config", "show", env=env)
    assert "elasticsearch_api_key          ********" in table.out
    assert "aHVudGVy" not in table.out + table.err + str(found)


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_a_config_file_is_named(before: bool, command: Command, tmp_path: Path) -> None:
    (tmp_path / "soc.toml").write_text("space = 'soc'\n")
    (tmp_path / "rule-runner.toml").write_text("space = 'beside'\n")
    flag, shown = ["--config", "soc.toml"], ["config", "show", "-o", "json"]
    given = [*flag, *shown] if before else [*shown, *flag]
    assert command(*given).json["settings"]["space"]["value"] == "soc"
    assert command(*shown).json["settings"]["space"]["value"] == "beside"
    assert command(*shown, "--config", "none.toml").code == 3


def test_settings_beside_rules_are_no_rule(command: Command, tmp_path: Path, shipped: Path) -> None:
    shutil.copytree(shipped, tmp_path, dirs_exist_ok=True)
    (tmp_path / "rule-runner.toml").write_text("on_cap = 'drop'\n")
    answer = command("check", ".")
    assert answer.code == 0, answer.err
    assert "rule-runner.toml" not in answer.out + answer.err


def test_the_schema_is_printed(command: Command) -> None:
    assert command("config", "schema").json["title"] == "rule-runner.toml"


# Completion


def offered(typed: str, folder: Path, shell: str = "bash") -> list[str]:
    """What is offered for the last word of a command line that is typed so far."""
    words = typed.split(" ")
    environ = {
        "PATH": os.environ["PATH"],
        "_RULE_RUNNER_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": typed,
    }
    program = [str(BIN / "rule-runner")]
    done = subprocess.run(program, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
def test_words_rules_and_alerts_are_completed(command: Command, sample: Path, tmp_path: Path) -> None:
    assert command("once", "--events", sample, "--now", "2026-03-02T10:05:00Z", "--rules", ROOT / "rules").code == 0
    assert "check" in offered("rule-runner ch", tmp_path)
    assert offered("rule-runner alerts list --output ", tmp_path) == ["table", "json"]
    rules = f"--rules {ROOT / 'rules' / 'linux'}"
    found = offered(f"rule-runner once {rules} --rule ", tmp_path)
    assert len(found) == 2
    assert offered(f"rule-runner once {rules} --rule {found[0][:4]}", tmp_path) == found[:1]
    assert "Reverse Shell" in " ".join(offered(f"rule-runner once {rules} --rule ", tmp_path, "zsh"))
    ids = [alert["id"] for alert in command("alerts", "list", "-o", "json").json["alerts"]]
    found = offered("rule-runner alerts show ", tmp_path)
    assert sorted(found) == sorted(id_[:12] for id_ in ids)
    assert offered(f"rule-runner alerts show {found[0][:3]}", tmp_path)[0] in found
    assert found[0] in "\n".join(offered("rule-runner alerts show ", tmp_path, "zsh"))
    (tmp_path / "rule-runner.db").write_bytes(b"no database")
    assert offered("rule-runner alerts show ", tmp_path) == []
    (tmp_path / "rule-runner.toml").write_text("wrong = 1\n")
    assert offered("rule-runner once --rule ", tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str, tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHELL": f"/bin/{shell}"}
    environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    program = [str(BIN / "rule-runner"), "--show-completion", shell]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert "_RULE_RUNNER_COMPLETE" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


# Pages


def on_terminal(words: list[str], folder: Path, rows: int, **environ: str) -> str:
    """What a command prints on a terminal of so many rows."""
    own, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
    given = {"PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONPATH": str(ROOT), **environ}
    program = subprocess.Popen(
        [sys.executable, "-m", "runner", *words],
        cwd=folder,
        env=given,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    printed = b""
    while True:
        try:
            part = os.read(own, 65_536)
        except OSError:  # the last one that had it open has ended
            part = b""
        if not part:
            break
        printed += part
    os.close(own)
    assert program.wait() == 0, printed.decode()
    return printed.decode()


@pytest.mark.slow
def test_what_is_longer_than_the_terminal_goes_through_the_pager(tmp_path: Path) -> None:
    pager = {"PAGER": "sed 's/^/> /'"}
    paged = on_terminal(["config", "show"], tmp_path, 20, **pager)
    assert all(line.startswith("> ") for line in paged.splitlines())
    assert "\x1b[" in paged  # as coloured as without it
    for plain in (
        on_terminal(["config", "show"], tmp_path, 300, **pager),
        on_terminal(["config", "show", "--no-pager"], tmp_path, 20, **pager),
        on_terminal(["config", "show"], tmp_path, 20, PAGER="cat"),
        on_terminal(["config", "show"], tmp_path, 20, TERM="dumb", **pager),
        on_terminal(["config", "show"], tmp_path, 20, PAGER="/nowhere/pager 2> /dev/null"),
    ):
        assert "on_cap" in plain
        assert "> " not in plain
    assert "on_cap" not in on_terminal(["config", "show"], tmp_path, 20, PAGER="head -n 2 > /dev/null")
