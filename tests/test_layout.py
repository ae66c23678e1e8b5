"""The package's own shape: import order, sizes, names, what may be done where, and that the tests lie as it does."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import runner
import runner.eql

PACKAGE = Path(runner.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = PACKAGE.parent / "tests"

ORDER = (
    "errors",
    "clock",
    "windows",
    "rule_run",
    "garbage_collection",
    "json_text",
    "file_formats",
    "messages",
    "dates",
    "events",
    "expressions",
    "engine",
    "eql",
    "lucene",
    "kql",
    "esql",
    "rules",
    "exceptions",
    "selection",
    "settings",
    "cluster",
    "search",
    "checks",
    "alerts",
    "triage",
    "setup",
    "store",
    "notify",
    "doctor",
    "schedule",
    "service",
    "analyst",
    "rule_tests",
    "telemetry",
    "web",
    "sample_data",
    "cli",
    "__main__",
)
"""Modules and packages of `runner`; each imports only what stands before it."""

LATE_IMPORTS = {
    *("cli/__init__.py", "cli/app.py", "cli/arguments.py", "cli/options.py", "cli/commands/search.py", "cli/wiring.py"),
    *("cli/alerts_arguments.py", "cli/config_arguments.py", "cli/exceptions_arguments.py", "cli/rules_arguments.py"),
    "cli/state_arguments.py",
    "cli/commands/text_search.py",
    "cli/lookup_wiring.py",
    *("cli/notify_arguments.py", "cli/notifying.py", "notify/sinks/sink_for.py"),
    "cli/commands/check.py",
    "cli/shell/completion.py",
}
"""Where modules of the package are imported inside functions, so that a command waits only for what it needs."""

LONGEST_FILE, LONGEST_PARSER, LONGEST_FUNCTION, LONGEST_CLASS = 500, 600, 60, 300
MOST_MODULES_OF_ITS_OWN, MOST_FILES_OF_A_FOLDER, LARGEST_SHARE = 8, 16, 1 / 8
LARGEST_FOLDERS = {"cli": 26, "cli/commands": 40, "cli/pages": 24}
"""Folders of one file per command, and what these print: they may have more files."""
LARGEST_PACKAGES = {"cli": 1 / 5}
"""Packages that may be a larger part of all lines: the command line has a page for whatever the others do."""

ARRAYS = ("engine/", "events/columns/", "events/files/", "events/fields/timestamp_column.py")
"""Where numpy is imported: columns and what is decided over them, blocks of lines, and whole columns of timestamps."""

CLIENT = ("cluster/",)
"""Where Elasticsearch's client is imported: what it raises and returns does not get out of there."""

NAMED_TWICE: dict[str, str] = {}
"""Public names of more than one class or type in `runner`, each with the reason."""

TESTS_OF_NO_PACKAGE = {
    "deploy": "the compose files, units and cron lines of deploy/, each of their steps",
    "docs": "examples and names in the documents",
    "elasticsearch": "the real node that tests start, and the proxy before it, with their own tests",
    "reference": "the plain evaluator that every faster one is compared with",
    "scenarios": "rules, events over time and the alerts expected, through the whole runner",
    "specs": "what is right, as data",
}
"""Folders of `tests` that do not bear the name of a package of `runner`."""

EQL_NAMES = {
    "Ask",
    "DataError",
    "EqlError",
    "Found",
    "Matcher",
    "ParsedQuery",
    "ParsingError",
    "Program",
    "RequestError",
    "Scope",
    "SearchOptions",
    "UnsupportedError",
    "VerificationError",
    "answer",
    "compile",
    "parse",
    "resolve",
    "search",
}


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    """The dotted name of a module, a package by its own name."""
    parts = [runner.__name__, *file.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}


def imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """Every module of the package that a file imports, with how deep in the file the import stands."""

    def walk(node: ast.AST, depth: int) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, depth) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{file}:{child.lineno}: a relative import"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield whole if whole in MODULES else str(child.module), depth
            is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from walk(child, depth + is_function)

    for name, depth in walk(tree_of(file), 0):
        if name.split(".")[0] == runner.__name__ and name != runner.__name__:
            yield name, depth


def unit(name: str) -> str:
    """The module or package right under `runner` that a module belongs to."""
    return name.split(".")[1]


def test_every_module_has_a_place_in_the_order() -> None:
    assert {unit(name) for name in MODULES if name != runner.__name__} == set(ORDER)


@pytest.mark.parametrize("name", [name for name in MODULES if name != runner.__name__])
def test_a_module_imports_only_what_stands_before_it(name: str) -> None:
    own = ORDER.index(unit(name))
    upward = {other for other, _ in imports_of(MODULES[name]) if ORDER.index(unit(other)) > own}
    assert not upward


def test_no_imports_in_a_circle() -> None:
    graph = {name: {other for other, _ in imports_of(file)} - {name} for name, file in MODULES.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


LANGUAGES: dict[str, set[str]] = {"eql": set(), "lucene": set(), "kql": {"lucene"}}
"""Front ends of the engine: each turns text into the nodes of `expressions` and a plan of `engine`. With each language
those that it is made of: a pattern of KQL is a text in Lucene's syntax to Elasticsearch."""


@pytest.mark.parametrize("package", sorted(LANGUAGES))
def test_a_language_uses_nothing_but_messages_events_and_the_engine(package: str) -> None:
    for name, file in MODULES.items():
        if unit(f"{name}.") == package:
            others = {unit(other) for other, _ in imports_of(file)} - {
                package,
                *LANGUAGES[package],
                "messages",
                "events",
                "expressions",
                "engine",
                "garbage_collection",
                "json_text",
            }
            assert not others, f"{name} imports {others}"


def test_imports_stand_at_the_top_but_where_a_command_begins() -> None:
    late = {str(file.relative_to(PACKAGE)) for file in FILES if any(depth for _, depth in imports_of(file))}
    assert late == LATE_IMPORTS


def test_no_error_is_passed_over_without_a_word() -> None:
    handlers = (
        (file, node) for file in FILES for node in ast.walk(tree_of(file)) if isinstance(node, ast.ExceptHandler)
    )
    empty = [f"{file.relative_to(PACKAGE)}:{node.lineno}" for file, node in handlers if is_empty(node)]
    assert empty == []


def is_empty(handler: ast.ExceptHandler) -> bool:
    return all(isinstance(one, ast.Pass) for one in handler.body)


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(PACKAGE)) for file in FILES])
def test_caps(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    is_parser = file.name == "parser.py"
    assert len(text.splitlines()) <= (LONGEST_PARSER if is_parser else LONGEST_FILE)
    for node in ast.walk(tree_of(file)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # The body: a long list of arguments, each on its line, makes a function no harder to read.
            assert node.end_lineno is not None
            assert node.end_lineno - node.body[0].lineno < LONGEST_FUNCTION, node.name
        elif isinstance(node, ast.ClassDef) and not is_parser:
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_CLASS, node.name


def test_the_map_names_real_modules_and_every_one() -> None:
    assert runner.__doc__ is not None
    named = set(re.findall(r"`(\w+)`", runner.__doc__))
    assert named == {unit(name) for name in MODULES if name != runner.__name__} - {"__main__"}


def test_few_modules_lie_beside_the_packages() -> None:
    own = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(own) <= MOST_MODULES_OF_ITS_OWN, own


def test_no_folder_is_a_heap() -> None:
    sizes = Counter(file.parent for file in FILES if file.name != "__init__.py")
    counts = {folder.relative_to(PACKAGE).as_posix(): size for folder, size in sizes.items()}
    most = {folder: LARGEST_FOLDERS.get(folder, MOST_FILES_OF_A_FOLDER) for folder in counts}
    assert {folder: count for folder, count in counts.items() if count > most[folder]} == {}


def test_no_package_outgrows_the_others() -> None:
    lines: Counter[str] = Counter()
    for name, file in MODULES.items():
        lines[unit(f"{name}.")] += len(file.read_text(encoding="utf-8").splitlines())
    most = {package: lines.total() * LARGEST_PACKAGES.get(package, LARGEST_SHARE) for package in lines}
    assert {package: count for package, count in lines.items() if count > most[package]} == {}


def types_of(file: Path) -> Iterator[str]:
    """Every public class of a file, and every public alias of a type at its top."""
    tree = tree_of(file)
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    annotated = [node for node in tree.body if isinstance(node, ast.AnnAssign)]
    aliases = [ast.unparse(node.target) for node in annotated if ast.unparse(node.annotation) == "TypeAlias"]
    yield from (name for name in [*classes, *aliases] if not name.startswith("_"))


def test_a_class_or_type_has_a_name_of_its_own() -> None:
    owners = defaultdict(set)
    for file in FILES:
        for name in types_of(file):
            owners[name].add(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in owners.items() if len(files) > 1 and name not in NAMED_TWICE} == {}
    assert {name for name in NAMED_TWICE if len(owners[name]) < 2} == set(), "no longer named twice"


@pytest.mark.parametrize(
    ("libraries", "allowed"), [({"numpy"}, ARRAYS), ({"elasticsearch", "elastic_transport"}, CLIENT)]
)
def test_a_library_is_imported_only_where_it_belongs(libraries: set[str], allowed: tuple[str, ...]) -> None:
    importers = {
        str(file.relative_to(PACKAGE))
        for file in FILES
        for node in ast.walk(tree_of(file))
        for name in imported_by(node)
        if name.split(".")[0] in libraries
    }
    assert {name for name in importers if not name.startswith(allowed)} == set()
    assert all(any(name.startswith(place) for name in importers) for place in allowed), "no longer needed there"


def imported_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [str(node.module)] if isinstance(node, ast.ImportFrom) else []


def test_tests_lie_as_what_they_test_does() -> None:
    folders = {str(file.parent.relative_to(TESTS)) for file in TESTS.rglob("test_*.py")} - {"."}
    strangers = {name for name in folders if not (PACKAGE / name / "__init__.py").is_file()}
    assert {name for name in strangers if name.split("/")[0] not in TESTS_OF_NO_PACKAGE} == set()
    assert all((TESTS / name).is_dir() and not (PACKAGE / name).is_dir() for name in TESTS_OF_NO_PACKAGE)


def test_specs_lie_as_what_they_specify_does() -> None:
    for entry in (TESTS / "specs").iterdir():
        assert (PACKAGE / entry.stem).is_dir() or (PACKAGE / f"{entry.stem}.py").is_file() or entry.stem == "scenarios"


DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/guarantees.md",
    "docs/performance.md",
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_the_documents_name_are_there(name: str) -> None:
    """`engine/plan.py` and `engine/filter/` are within `runner`, `tests/paths.py` within the project."""
    text = (PACKAGE.parent / name).read_text(encoding="utf-8")
    files = re.findall(r"(?<![\w./*:-])((?:[\w.-]+/)+[\w.-]+\.(?:py|toml|txt|md|yml)|\w+\.py)\b", text)
    named = {*files, *re.findall(r"`((?:[\w.-]+/)+)`", text)}
    missing = {path for path in named if not ((PACKAGE / path).exists() or (PACKAGE.parent / path).exists())}
    assert named
    assert missing == set()


def test_public_names_of_eql() -> None:
    assert set(runner.eql.__all__) == EQL_NAMES
    assert all(hasattr(runner.eql, name) for name in EQL_NAMES)


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(PACKAGE)) for file in FILES])
def test_only_the_command_line_prints_exits_and_reads_arguments(file: Path) -> None:
    if unit(name_of(file) + ".") == "cli":
        return
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input", "exit", "quit"), node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in (("sys", "exit"), ("sys", "argv"), ("os", "_exit")), node.lineno


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(PACKAGE)) for file in FILES])
def test_nothing_is_left_for_later(file: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", file.read_text(encoding="utf-8"))
