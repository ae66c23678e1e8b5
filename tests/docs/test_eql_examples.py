"""The examples of the pages: every command is run, and prints what the page shows.

A block of code that is fenced with a file name after its language makes that file. In a `console` block a line that
begins with `$ ` is a command (a backslash at its end goes on in the next line), and what follows is all that it prints.
Three dots stand for anything on their line, alone on a line for any number of lines. The time that a search took does
not count.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.slow

PAGES = ("eql.md", "explain.md", "kql.md", "rules.md", "times.md", "tutorial.md", "migrating.md")
_BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_TOOK = re.compile(r'"took":\d+')


@dataclass(frozen=True, slots=True)
class Example:
    """One command of a page, and what the page says that it prints."""

    line: int
    command: str
    printed: str


def read_page(name: str) -> tuple[dict[str, str], list[Example]]:
    """The files and the commands of a page, in order."""
    text = (ROOT / "docs" / name).read_text()
    files: dict[str, str] = {}
    examples: list[Example] = []
    for block in _BLOCK.finditer(text):
        if block["file"]:
            files[block["file"]] = block["text"]
        elif block["language"] == "console":
            first = text.count("\n", 0, block.start("text")) + 1
            examples.extend(read_console(block["text"], first))
    return files, examples


def read_console(text: str, first_line: int) -> list[Example]:
    """The commands of one block, which begins on a line of the page."""
    lines = text.splitlines()
    examples = []
    place = 0
    while place < len(lines):
        assert lines[place].startswith("$ "), f"line {first_line + place}: a command was expected"
        line = first_line + place
        command = lines[place][2:]
        while command.endswith("\\"):
            place += 1
            command = command[:-1] + lines[place]
        place += 1
        printed = []
        while place < len(lines) and not lines[place].startswith("$ "):
            printed.append(lines[place])
            place += 1
        examples.append(Example(line, command, "\n".join(printed)))
    return examples


def run(command: str, folder: Path) -> str:
    """What a command prints, both outputs as they come."""
    program, *arguments = shlex.split(command)
    assert program == "rule-runner"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNER_", "ELASTICSEARCH_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=300,
    )
    return ran.stdout


def matches(printed: str, page: str) -> bool:
    """Whether the output is what a page shows, three dots standing for any lines."""
    shown = [line.rstrip() for line in _TOOK.sub('"took":0', printed).strip().splitlines()]
    pattern = "".join(
        "(?:.*\n)*" if line.strip() == "..." else re.escape(line.rstrip()).replace(r"\.\.\.", ".*") + "\n"
        for line in _TOOK.sub('"took":0', page).strip("\n").splitlines()
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in shown)) is not None


@pytest.mark.parametrize("page", PAGES)
def test_examples(page: str, tmp_path: Path) -> None:
    files, examples = read_page(page)
    assert examples
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for example in examples:
        printed = run(example.command, tmp_path)
        assert matches(printed, example.printed), f"docs/{page}:{example.line}: {example.command}\n{printed}"


def test_the_comparison_tells_differences() -> None:
    assert matches('a\nb\n{"took":12}\n', 'a\n...\n{"took":0}\n')
    assert matches("20 events\n", "20 ...\n")
    assert not matches("a\nb\n", "a\n")
    assert not matches("a\nb\n", "b\n...\n")
