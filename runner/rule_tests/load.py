"""The tests of test files, and the problems of these files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runner.errors import Problem
from runner.messages import text_positions
from runner.messages.suggestions import did_you_mean
from runner.rule_tests.case import SUFFIX, CaseFile, ExceptedEvent, ExpectedAlert, RuleCase, RuleTest
from runner.rules import toml_positions
from runner.rules.discovery import reason
from runner.rules.model_errors import kind_of, shortened
from runner.rules.toml_file import LARGEST_FILE, read_bytes

_TABLES: Mapping[int, type[BaseModel]] = {0: CaseFile, 1: RuleTest, 2: ExpectedAlert}
"""The tables of a test file by nesting depth."""


@dataclass(frozen=True, slots=True)
class LoadedTests:
    """The tests of some paths, and the problems of their files."""

    cases: tuple[RuleCase, ...] = ()
    problems: tuple[Problem, ...] = ()
    files: int = 0


def load_tests(paths: Sequence[Path]) -> LoadedTests:
    """The tests of the given test files, rule files and folders, with subfolders."""
    files = list(dict.fromkeys(file for path in paths for file in _test_files(path)))
    cases: list[RuleCase] = []
    problems: list[Problem] = []
    for file in files:
        found, faults = read_test_file(file)
        cases.extend(found)
        problems.extend(faults)
    return LoadedTests(tuple(cases), tuple(problems), len(files))


def _test_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(
            file
            for file in path.rglob(f"*{SUFFIX}")
            if not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
    elif path.name.endswith(SUFFIX):
        yield path
    elif (beside := path.with_name(path.stem + SUFFIX)).is_file():
        yield beside


def read_test_file(path: Path) -> tuple[tuple[RuleCase, ...], tuple[Problem, ...]]:
    """The tests of one file; none, but all problems with their places, if it has any."""
    try:
        data, _ = read_bytes(path)
        if len(data) > LARGEST_FILE:
            raise ValueError(f"is larger than {LARGEST_FILE >> 20} MiB: put the events into a file of their own")
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        document = tomli.loads(text)
        source, places = text_positions.Source(text), toml_positions.find_places(text)
    except UnicodeDecodeError:
        return (), (Problem(path, 0, 0, "error", "is not UTF-8"),)
    except tomli.TOMLDecodeError as error:
        return (), (Problem(path, 0, 0, "error", f"is not TOML: {shortened(str(error), 200)}"),)
    except RecursionError:
        return (), (Problem(path, 0, 0, "error", "is nested too deep"),)
    except (OSError, ValueError) as error:
        return (), (Problem(path, 0, 0, "error", f"cannot be read: {reason(error)}"),)
    try:
        content = CaseFile.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        # A list whose items are all refused is reported as empty, too: that error is redundant.
        details = [one for one in details if one["type"] != "too_short" or not one["input"]] or details
        return (), tuple(_problem(path, detail, source, places=places) for detail in details)
    rule_path = path.parent / content.rule if content.rule else path.with_name(path.name.removesuffix(SUFFIX) + ".toml")
    cases = tuple(
        RuleCase(path, source.place(places["test", number].key)[0], rule_path, test, content.defaults)
        for number, test in enumerate(content.tests)
    )
    if not rule_path.is_file():
        return (), (Problem(path, 0, 0, "error", f'its rule {rule_path} is not there; name it with `rule = "FILE"`'),)
    return cases, ()


def _problem(
    path: Path,
    detail: ErrorDetails,
    source: text_positions.Source,
    *,
    places: Mapping[toml_positions.KeyPath, toml_positions.TomlPlace],
) -> Problem:
    """A validation error as a problem in the terms of a test file."""
    steps = detail["loc"]
    kind, found = detail["type"], detail["input"]
    name = str(steps[-1]) if steps and isinstance(steps[-1], str) else "this"
    if kind == "extra_forbidden":
        depth = sum(isinstance(step, int) for step in steps)
        model = ExceptedEvent if "excepted" in steps else _TABLES[depth]
        known = [str(field.alias or key) for key, field in model.model_fields.items()]
        message = f"unknown key `{shortened(name)}`{did_you_mean(name, known)}; expected one of {', '.join(known)}"
    elif kind == "missing":
        table = "`excepted`" if "excepted" in steps else "[[test]]" if len(steps) > 1 else "the file"
        message = f"`{name}` is missing in {table}" + ("; expected [[test]] tables" if name == "test" else "")
    elif kind == "value_error":
        message = shortened(str(detail.get("ctx", {}).get("error", detail["msg"])), 200)
        message = f"this test {message}" if len(steps) == 2 else f"`{name}`: {message}"
    else:
        message = f"`{name}` is {kind_of(found)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    while steps and steps not in places:
        steps = steps[:-1]
    if not steps:
        return Problem(path, 0, 0, "error", message)
    key = text_positions.Span(places[steps].key, places[steps].key_end)
    line, column = source.place(key.start)
    return Problem(path, line, column, "error", message, picture=source.picture(key, text_positions.IN_FILE))
