"""What is shipped: package data, versions, licences, the documented settings, the image."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

import runner
from runner.cli.app import app
from runner.settings.config_file import CONFIG_VARIABLE
from runner.settings.settings import SECRETS, Settings, flag_for, load_settings, variables_for

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def documented() -> dict[str, str]:
    """Every variable of .env.example with its example, those commented out included."""
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", ENV_EXAMPLE, re.MULTILINE))


def instructions(name: str) -> list[str]:
    """The arguments of all instructions of that name in the Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return re.findall(rf"^\s*{name}\s+(.+)$", joined, re.MULTILINE)


# The package


def test_the_console_script_and_the_module_are_the_same_program() -> None:
    assert PYPROJECT["project"]["scripts"] == {"rule-runner": "runner.cli:main"}
    assert callable(import_module("runner.cli").main)
    assert (ROOT / "runner" / "__main__.py").is_file()


def test_the_wheel_carries_rules_types_and_licences() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"rules": "runner/shipped_rules"}
    assert list((ROOT / "rules" / "linux").glob("*.toml"))
    assert (ROOT / "runner" / "py.typed").is_file()
    for name in (
        "setup/alert_fields.json",
        "setup/ecs_fields.json",
        "sample_data/catalogues/tools.txt",
        "settings/rule-runner.schema.json",
    ):
        assert (ROOT / "runner" / name).is_file(), name
    for name in PYPROJECT["project"]["license-files"]:
        assert (ROOT / name).is_file(), name


def test_versions_agree() -> None:
    version = runner.__version__
    releases = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[:2] == ["Unreleased", version]
    assert instructions("ARG") == [f"VERSION={version}"]
    assert re.findall(r"image: rule-runner:(\S+)", COMPOSE) == [version]


def test_every_change_is_tagged() -> None:
    changes = re.findall(r"^- (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changes
    assert [change for change in changes if not re.match(r"(CHANGE|FEATURE|PERF|BUGFIX): ", change)] == []


def test_licences() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert "Copyright 2026 The rule-runner authors" in licence
    notice = (ROOT / "NOTICE").read_text()
    assert "Elastic License 2.0" in notice
    for name in re.findall(r"rules/NOTICE\S*\b", notice):
        assert (ROOT / name).is_file(), name


# Settings


def test_every_setting_is_documented_and_nothing_else() -> None:
    settings = {variables_for(field)[0] for field in Settings.model_fields}
    settings |= {f"{variables_for(field)[0]}_FILE" for field in SECRETS}
    for_compose = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)) - settings | {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    assert sorted(documented()) == sorted(settings | for_compose | {CONFIG_VARIABLE})


def flags_of(group: Any) -> set[str]:
    """The flags of all commands."""
    own = {flag for option in group.params for flag in option.opts}
    return own.union(*map(flags_of, getattr(group, "commands", {}).values()))


def test_every_flag_that_the_example_names_is_a_flag_of_a_setting_and_of_a_command() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", ENV_EXAMPLE))
    assert named
    assert named <= flags_of(get_command(app))
    assert named <= {flag_for(field) for field in Settings.model_fields}


def test_every_setting_is_explained() -> None:
    lines = ENV_EXAMPLE.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#?[A-Z][A-Z0-9_]+=", line):
            # A comment stands above it, or above the other variables that it is explained with.
            above = [text for text in lines[:number][::-1] if not re.match(r"#?[A-Z][A-Z0-9_]+=", text)]
            assert above[0].startswith("# "), line


def test_documented_defaults_are_the_defaults() -> None:
    examples = documented()
    # These have no default that could be shown: what is shown is an example.
    examples_only = {
        "events",
        "indicators",
        "unwrap",
        "rules",
        "analyst",
        "exceptions",
        "overrides",
        "select",
        "now",
        "kibana_url",
        "kibana_host",
        "kibana_ca_certs",
        "runtime_fields",
        "instance",
        "notifications",
        "alerts_to",
        "public_url",
    }
    fields = {
        field
        for field in Settings.model_fields
        if field not in examples_only and (field == "elasticsearch_verify_certs" or "elasticsearch_" not in field)
    }
    environ = {variables_for(field)[0]: examples[variables_for(field)[0]] for field in fields}
    given, default = load_settings({}, environ=environ), load_settings({}, environ={})
    assert {field: getattr(given, field) for field in fields} == {field: getattr(default, field) for field in fields}


def test_a_copy_of_the_example_changes_nothing_for_the_runner() -> None:
    settings = load_settings({}, environ={}, env_file=ROOT / ".env.example")
    assert settings == load_settings({}, environ={})
    assert settings.warnings() == ()


# What is installed


def locked(name: str) -> dict[str, list[str]]:
    """The versions of a lock file by package; each has its hashes."""
    found: dict[str, list[str]] = {}
    for entry in re.sub(r" \\\n\s+", " ", (ROOT / "deploy" / name).read_text()).splitlines():
        assert " --hash=sha256:" in entry, entry
        package, version = entry.split()[0].split("==")
        found.setdefault(package, []).append(version)
    return found


def test_lock_files_have_every_dependency_in_a_version_that_is_asked_for() -> None:
    for requirements, name in (
        (PYPROJECT["project"]["dependencies"], "requirements.lock"),
        (PYPROJECT["build-system"]["requires"], "build.lock"),
    ):
        packages = locked(name)
        for text in requirements:
            wanted = Requirement(text)
            versions = packages[canonicalize_name(wanted.name)]
            assert all(version in wanted.specifier for version in versions), text


def test_actions_are_named_by_commit() -> None:
    for workflow in (ROOT / ".github" / "workflows").iterdir():
        for used in re.findall(r"uses: (.+)", workflow.read_text()):
            assert used.startswith("./") or re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


# The image


def test_the_image_is_pinned_and_runs_as_nobody_special() -> None:
    bases = instructions("FROM")
    assert len(bases) == 2
    for base in bases:
        assert re.match(r"python:3\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}( AS \w+)?$", base), base
    assert len({base.split()[0] for base in bases}) == 1
    assert re.match(r"# syntax=docker/dockerfile:\d\.\d+@sha256:[0-9a-f]{64}\n", DOCKERFILE)
    assert instructions("USER") == ["10001:10001"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert instructions("ENTRYPOINT") == ['["rule-runner"]']
    assert json.loads(instructions("CMD")[-1]) == ["run"]
    assert 'CMD ["rule-runner", "status", "--check"]' in instructions("HEALTHCHECK")[0]
    assert "latest" not in DOCKERFILE


def test_what_the_image_copies_is_let_through_and_there() -> None:
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {
        source.removeprefix("./")
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }
    assert copied == allowed
    for name in copied:
        assert (ROOT / name).exists(), name
