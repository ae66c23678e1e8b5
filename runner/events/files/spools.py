"""Copies on disk, in the folder for temporary files that `TMPDIR` names."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from runner.errors import EventsError


def temporary_file(path: Path | None = None) -> IO[bytes]:
    """An empty file for reading and writing: a named one, or one that is gone when it is closed.

    Raises EventsError, as every write to it does, if the folder is full.
    """
    try:
        if path is not None:
            return cast(IO[bytes], io.BufferedRandom(_Spool(path, "w+")))
        with tempfile.TemporaryFile(prefix="rule-runner-", buffering=0) as file:
            return cast(IO[bytes], io.BufferedRandom(_Spool(os.dup(file.fileno()), "r+")))
    except OSError as error:
        _fail(error)


class _Spool(io.FileIO):
    _is_full = False
    _written = io.FileIO.write

    def write(self, data: Any) -> int:
        if self._is_full:
            return len(data)  # told already: closing must not fail again
        try:
            return self._written(data)
        except OSError as error:
            self._is_full = True
            _fail(error)


def _fail(error: OSError) -> NoReturn:
    folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"
    raise EventsError(
        f"the temporary folder {folder} cannot hold a copy of the events: {(error.strerror or str(error)).lower()}; "
        "TMPDIR names another"
    ) from None
