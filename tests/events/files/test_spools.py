"""Copies on disk: when there is no room for them, one sentence names the folder."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from runner.errors import EventsError
from runner.events.files import spools


def test_a_full_folder_is_named_once_and_closing_says_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with spools.temporary_file() as file:
        file.write(b"a line\n")
        file.seek(0)
        assert file.read() == b"a line\n"
    named = spools.temporary_file(tmp_path / "lines")
    monkeypatch.setattr(spools._Spool, "_written", full)
    named.write(b"x")
    with pytest.raises(EventsError, match=r"the temporary folder .*no space left on device; TMPDIR names another"):
        named.write(b"x" * (1 << 20))
    named.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="TMPDIR names another"):
        spools.temporary_file(tmp_path / "none" / "lines")
