"""Files of targets: everything wrong with its place, and no secret in any of it."""

from __future__ import annotations

import tomllib
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.notify.notifications_file import Notifications, read_notifications
from runner.notify.secret_text import secret_parts
from runner.notify.target import RateLimit
from tests.paths import ROOT

CASES = tomllib.loads((ROOT / "tests" / "specs" / "notify" / "file.toml").read_text(encoding="utf-8"))["case"]
ENVIRON = {"HOOK_SECRET": "hook-hunter2", "TOKEN": "token-hunter2", "MAIL_PASSWORD": "mail-hunter2"}


def read(folder: Path, text: str) -> Notifications:
    path = folder / "notifications.toml"
    path.write_text(text, encoding="utf-8")
    return read_notifications(path, ENVIRON)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_files(case: dict[str, Any], tmp_path: Path) -> None:
    found = read(tmp_path, f"\n{case['text']}")
    said = [f"{one.line}:{one.column}: {one.text}" if one.line else one.text for one in found.problems]
    wanted = [text.replace("{folder}", str(tmp_path)) for text in case["problems"]]
    assert said == wanted
    assert "hunter2" not in "".join(said)
    assert not any(one.picture for one in found.problems)


def test_what_a_file_says_of_its_targets(tmp_path: Path) -> None:
    found = read(tmp_path, CASES[0]["text"])
    soc, mail = found.targets
    assert (soc.secret, soc.headers) == ("hook-hunter2", {"Authorization": "Bearer token-hunter2"})
    assert (soc.digest, soc.rate) == (timedelta(minutes=15), RateLimit(20, timedelta(minutes=10)))
    assert soc.quiet is not None and (soc.quiet.start, soc.quiet.days) == (time(22), frozenset({5, 6}))
    assert soc.link == "https://soc.example.org"
    assert mail.rate == RateLimit(30, timedelta(minutes=10))
    assert {"hook-hunter2", "token-hunter2", "mail-hunter2"} <= set(found.secrets)
    assert "hunter2" not in repr(found)


def test_secrets_from_files_stand_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "url.txt").write_text("https://hooks.example.org/services/T000/B000/xyzzy12xyzzy\n", encoding="utf-8")
    text = '[[target]]\nname = "soc"\ntype = "webhook"\nurl_file = "url.txt"\n'
    found = read(tmp_path, text)
    assert found.targets[0].url.endswith("/xyzzy12xyzzy")
    assert "xyzzy12xyzzy" in found.secrets


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("mailto://ada:pa%21ss@example.org?to=soc@example.org", {"pa%21ss", "pa!ss"}),
        ("slack://TokenA/TokenB/TokenC/#soc", {"TokenA", "TokenB", "TokenC"}),
        ("tgram://123456:AbCdEf/987654", {"AbCdEf", "987654"}),
        (
            "https://hooks.example.org/T00000/B0000123/x?key=secondsecret",
            {"/T00000/B0000123/x", "B0000123", "secondsecret"},
        ),
        ("ntfys://tk_token@ntfy.example.org/topic", {"tk_token"}),
    ],
)
def test_parts_of_an_address_that_may_be_secret(url: str, parts: set[str]) -> None:
    assert parts <= set(secret_parts(url))
    assert "example.org" not in secret_parts(url)


def test_options_of_an_address_are_no_secrets() -> None:
    url = "mailto://ada:hunter2@example.org?smtp=localhost&from=runner@example.org&to=soc@example.org"
    assert set(secret_parts(url)) == {url, "hunter2"}


def test_words_in_an_address_are_not_masked_everywhere() -> None:
    assert set(secret_parts("https://soc.example.org/hooks/alerts")) == {
        "https://soc.example.org/hooks/alerts",
        "/hooks/alerts",
    }
