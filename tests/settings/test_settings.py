"""Settings: the layers, the checks and their messages (tests/specs/settings.toml), and what must never be shown."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import SettingsError
from runner.settings.settings import SECRETS, Settings, flag_for, load_settings, variables_for
from tests.paths import SPECS

CASES: list[dict[str, Any]] = tomllib.loads((SPECS / "settings.toml").read_text())["case"]


def shown(settings: Settings) -> dict[str, str]:
    """What `describe` prints, by name."""
    lines = (line.partition(" = ") for line in settings.describe().splitlines())
    return {name.strip(): rest for name, _, rest in lines}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_spec(case: dict[str, Any], tmp_path: Path) -> None:
    def fill(value: Any) -> Any:
        match value:
            case str():
                return value.replace("{folder}", str(tmp_path))
            case Mapping():
                return {key: fill(item) for key, item in value.items()}
            case list():
                return [fill(item) for item in value]
        return value

    case = fill(case)
    for name, text in case.get("files", {}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    env_file = tmp_path / ".env"
    if "dotenv" in case:
        env_file.write_text(case["dotenv"])

    def load() -> Settings:
        return load_settings(case.get("flags", {}), environ=case.get("environ", {}), env_file=env_file)

    if "problems" in case:
        with pytest.raises(SettingsError) as raised:
            load()
        head, *problems = str(raised.value).splitlines()
        count = len(case["problems"])
        assert [problem.strip() for problem in problems] == case["problems"]
        assert head == f"{count} problem{'' if count == 1 else 's'} in the settings:"
        assert "hunter" not in str(raised.value)
        return
    settings = load()
    found = shown(settings)
    expected = case.get("settings", {})
    assert {name: found[name] for name in expected} == expected
    if "secrets" in case:
        assert list(settings.secrets()) == case["secrets"]
    if "warnings" in case or not expected:
        assert list(settings.warnings()) == case.get("warnings", [])


def test_settings_cannot_be_changed() -> None:
    settings = load_settings({}, environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.on_cap = "drop"


def test_building_settings_reads_nothing_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("RUNNER_SPACE=from-file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNNER_SPACE", "from-environment")
    monkeypatch.setenv("SPACE", "from-environment")
    assert Settings().space == "default"
    assert load_settings({}, environ={}).space == "default"


def test_the_rules_that_come_along_are_the_default() -> None:
    (folder,) = load_settings({}, environ={}).rules
    assert list(folder.rglob("*.toml"))


def test_what_nobody_set_is_default() -> None:
    settings = load_settings({"state": "rule-runner.db", "tick": None}, environ={"RUNNER_SPACE": ""})
    assert not settings.is_default("state")
    assert settings.is_default("tick")
    assert settings.is_default("space")


def test_an_env_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    binary = tmp_path / "binary.env"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings({}, environ={}, env_file=binary)
    with pytest.raises(SettingsError, match="Is a directory"):
        load_settings({}, environ={}, env_file=tmp_path)
    assert load_settings({}, environ={}, env_file=tmp_path / "none.env").warnings() == ()


def test_a_secret_file_is_not_read_without_end() -> None:
    with pytest.raises(SettingsError, match="expected a secret as text in /dev/zero"):
        load_settings({}, environ={"ELASTICSEARCH_API_KEY_FILE": "/dev/zero"})


def test_names() -> None:
    assert flag_for("elasticsearch_ca_certs") == "--elasticsearch-ca-certs"
    names = [name for field in Settings.model_fields for name in variables_for(field)]
    assert len(names) == len(set(names))
    assert set(Settings.model_fields) >= SECRETS


LAYER_VALUES = st.one_of(st.none(), st.integers(min_value=1, max_value=64))


@given(flag=LAYER_VALUES, variable=LAYER_VALUES, line=LAYER_VALUES)
def test_the_uppermost_layer_wins(
    flag: int | None, variable: int | None, line: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    env_file = tmp_path_factory.mktemp("env") / ".env"
    env_file.write_text("" if line is None else f"RUNNER_CONCURRENCY={line}\n")
    environ = {} if variable is None else {"RUNNER_CONCURRENCY": str(variable)}
    settings = load_settings({"concurrency": flag}, environ=environ, env_file=env_file)
    assert settings.concurrency == next(value for value in (flag, variable, line, 4) if value is not None)


@given(
    secret=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30),
    field=st.sampled_from(sorted(SECRETS)),
)
def test_a_secret_is_never_shown(secret: str, field: str) -> None:
    # Marked, so that a short secret is not found in the words of a message by chance.
    secret = f"s3cr3t-{secret}-s3cr3t"
    environ = {variables_for(field)[0]: secret, "ELASTICSEARCH_USERNAME": "u", "RUNNER_TICK": "wrong"}
    with pytest.raises(SettingsError) as raised:
        load_settings({}, environ=environ)
    assert "s3cr3t" not in str(raised.value)
    if field == "elasticsearch_password":
        settings = load_settings({}, environ=environ | {"RUNNER_TICK": "1s"})
        assert "s3cr3t" not in settings.describe() + repr(settings) + str(settings)
        assert settings.secrets() == (secret,)


@given(text=st.text(max_size=40), field=st.sampled_from(sorted(Settings.model_fields)))
def test_any_text_ends_in_settings_or_in_a_settings_error(text: str, field: str) -> None:
    try:
        load_settings({}, environ={variables_for(field)[0]: text})
    except SettingsError as error:
        assert variables_for(field)[0] in str(error)
