"""Settings in a TOML file: the layer under all others, strict, with places; and its schema."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SettingsError
from runner.settings.schema import SCHEMA_FILE
from runner.settings.settings import SECRETS, Settings, load_settings, variables_for
from tests.paths import ROOT
from tests.test_ci import script

SCHEMA: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())


def load(folder: Path, text: str, name: str = "rule-runner.toml", **more: Any) -> Settings:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return load_settings(
        more.get("flags", {}),
        environ=more.get("environ", {}),
        env_file=folder / ".env",
        config_file=more.get("config_file"),
    )


def test_every_kind_of_value(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("aWQ6a2V5\n")
    settings = load(
        tmp_path,
        """
events = ["a.ndjson", "/var/log/b", "-"]
rules = "~/rules"
select = ["os:linux", "severity:high"]
now = 2026-03-02T10:00:00+01:00
concurrency = 2
kibana_exceptions = false
tick = "5s"
on_cap = "drop"
elasticsearch_hosts = ["https://a:9200", "b"]
elasticsearch_api_key_file = "key"
""",
    )
    assert settings.events == (str(tmp_path / "a.ndjson"), "/var/log/b", "-")
    assert settings.rules == (Path.home() / "rules",)
    assert str(settings.now) == "2026-03-02 09:00:00+00:00"
    assert (settings.concurrency, settings.kibana_exceptions, settings.on_cap) == (2, False, "drop")
    assert settings.elasticsearch_hosts == ("https://a:9200", "https://b:9200")
    assert settings.secrets() == ("aWQ6a2V5",)
    assert settings.place_of("on_cap") == f"on_cap ({tmp_path}/rule-runner.toml, line 9)"
    assert settings.warnings() == ()


def test_flags_environment_and_env_file_go_before_it(tmp_path: Path) -> None:
    text = "tick = '1s'\nconcurrency = 1\nworkers = 1\nspace = 'toml'\n"
    (tmp_path / ".env").write_text("RUNNER_TICK=2s\nRUNNER_CONCURRENCY=2\nRUNNER_WORKERS=2\n")
    settings = load(tmp_path, text, flags={"tick": "4s"}, environ={"RUNNER_TICK": "3s", "RUNNER_CONCURRENCY": "3"})
    found = [settings.tick.total_seconds(), settings.concurrency, settings.workers, settings.space]
    assert found == [4, 3, 2, "toml"]


@pytest.mark.parametrize("way", ["flag", "environment", ".env"])
def test_another_file_is_named_and_its_paths_count_from_its_folder(way: str, tmp_path: Path) -> None:
    (tmp_path / "rule-runner.toml").write_text("space = 'beside'\n")
    named = str(tmp_path / "etc" / "soc.toml")
    if way == ".env":
        (tmp_path / ".env").write_text(f"RUNNER_CONFIG={named}\n")
    ways: dict[str, dict[str, Any]] = {
        "flag": {"config_file": named},
        "environment": {"environ": {"RUNNER_CONFIG": named}},
        ".env": {},
    }
    settings = load(tmp_path, "space = 'soc'\nstate = 'soc.db'\noverrides = 'off'\n", "etc/soc.toml", **ways[way])
    assert (settings.space, settings.state) == ("soc", tmp_path / "etc" / "soc.db")
    assert settings.overrides == (Path("off"),)
    assert settings.warnings() == ()


def test_an_empty_variable_means_none(tmp_path: Path) -> None:
    assert load(tmp_path, "space = 'toml'\n", environ={"RUNNER_CONFIG": ""}).space == "default"
    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read: No such file"):
        load(tmp_path, "", config_file="nowhere.toml")


PROBLEMS = """on-cap = "drop"
RUNNER_TICK = "5s"
concurency = 3
concurrency = "3"
kibana_exceptions = "yes"
events = ["x", 3]
on_cap = "cary"
output = true
elasticsearch_password = 12
elasticsearch_proxy_file = "none"

[elasticsearch]
hosts = "x"

[zebra]
"""


def test_every_problem_has_its_place_and_the_near_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, PROBLEMS)
    file = f"{tmp_path}/rule-runner.toml, line"
    assert str(raised.value).splitlines() == [
        "12 problems in the settings:",
        f"  on-cap ({file} 1): no such setting; did you mean `on_cap`?",
        f"  RUNNER_TICK ({file} 2): no such setting; did you mean `tick`?",
        f"  concurency ({file} 3): no such setting; did you mean `concurrency`?",
        f"  concurrency ({file} 4): found a string, expected a whole number, without quotes",
        f"  kibana_exceptions ({file} 5): found a string, expected true or false, without quotes",
        f"  events ({file} 6): found an array, expected a string or an array of strings",
        f"  output ({file} 8): found true, expected a string, in quotes",
        f"  elasticsearch_password ({file} 9): found 12, expected a string, in quotes",
        f"  elasticsearch ({file} 12): settings stand in no table: write `elasticsearch_hosts = ...` above all tables",
        f"  zebra ({file} 15): no such setting",
        f"  elasticsearch_proxy_file ({file} 10): cannot read {tmp_path}/none: No such file or directory",
        f'  on_cap ({file} 7): found "cary", expected carry or drop; did you mean `carry`?',
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"on_cap = drop\n", "line 1: is not TOML"),
        (b"on_cap = 'a'\non_cap = 'b'\n", "line 2: is not TOML: this key is there already"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_what_is_no_toml_is_said(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(data)
    with pytest.raises(SettingsError) as raised:
        load_settings({}, environ={}, config_file=str(tmp_path / "c.toml"))
    assert said in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing yet\n") == load(tmp_path, "") == load_settings({}, environ={})


# The schema


def test_the_schema_is_fresh() -> None:
    assert SCHEMA_FILE.read_text() == script("settings_schema").schema_text(), "run python .ci/settings_schema.py"


def test_the_schema_knows_every_setting_and_says_what_it_is_for() -> None:
    assert set(SCHEMA["properties"]) == {*Settings.model_fields, *(f"{name}_file" for name in SECRETS)}
    undescribed = {name for name, field in SCHEMA["properties"].items() if not field.get("description")}
    assert undescribed == set()


def test_what_the_schema_gives_as_default_is_the_default() -> None:
    default = load_settings({}, environ={})
    for name, field in SCHEMA["properties"].items():
        if "default" in field:
            given = load_settings({}, environ={variables_for(name)[0]: str(field["default"])})
            assert getattr(given, name) == getattr(default, name), name


def test_the_example_of_the_docs_is_right(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    text = page.partition("```toml rule-runner.toml\n")[2].partition("```")[0]
    assert set(tomllib.loads(text)) <= set(SCHEMA["properties"])
    (tmp_path / "es.key").write_text("aWQ6a2V5\n")
    assert load(tmp_path, text).warnings() == ()
