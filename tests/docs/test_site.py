"""The documents as a site: every page has its place, and no link leads nowhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

PAGES = {path.name for path in (ROOT / "docs").glob("*.md")}


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    assert set(re.findall(r"- ([\w-]+\.md)$", menu, re.MULTILINE)) == PAGES


def test_pages_that_are_linked_are_there() -> None:
    for name in PAGES:
        text = (ROOT / "docs" / name).read_text()
        linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
        assert [target for target in linked if not (ROOT / "docs" / target).exists()] == [], name


@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environ = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "tutorial" / "index.html").read_text()
    assert "My first rule" in page
