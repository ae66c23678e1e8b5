"""A headless Chromium of the distribution, driven by Playwright, and the pages as a process of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.paths import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "RUNNER_REQUIRE_BROWSER"


def executable() -> str:
    """The browser's program. Skips the test if there is none, unless RUNNER_REQUIRE_BROWSER is set."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        said = f"no Chromium: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)"
        if os.environ.get(REQUIRED):
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A context of the browser in which everything that must not happen is noted."""

    context: BrowserContext
    base: str
    wrong: list[str] = field(default_factory=list)

    def page(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self.wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        return page

    def note_request(self, request: Request) -> None:
        if not request.url.startswith((self.base, "data:", "about:")):
            self.wrong.append(f"request: {request.url}")


@contextmanager
def watched(browser: Browser, base: str, **options: object) -> Iterator[Watched]:
    """A fresh context; at its end nothing may have gone wrong."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    made = Watched(context, base)
    context.on("request", made.note_request)
    yield made
    context.close()
    assert made.wrong == [], made.wrong


@dataclass(frozen=True)
class Served:
    """The pages of a process: their address, and the one that signs in."""

    base: str
    login: str


@contextmanager
def served(folder: Path, *arguments: object) -> Iterator[Served]:
    """`rule-runner web` in that folder."""
    command = [sys.executable, "-m", "runner", "web", "--listen", "127.0.0.1:0", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNNER_")}
    environment |= {"PYTHONPATH": str(ROOT), "RUNNER_ANALYST": "kim"}
    started = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    try:
        login = next(
            (found[0] for line in started.stderr if (found := re.search(r"http://\S+/login\?token=\S+", line))), ""
        )
        assert login
        yield Served(login.partition("/login")[0], login)
    finally:
        started.terminate()
        _, rest = started.communicate()
        assert started.returncode == 0
        assert "could not be made" not in rest
