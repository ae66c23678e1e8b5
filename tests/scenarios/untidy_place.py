"""The folder of the campaign on untidy files: logs that a process writes, disks that can be full, a mount to lose."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.scenarios.places import FolderPlace
from tests.scenarios.snapshot import copy_sqlite
from tests.scenarios.starter import Started

STATE_SIZE, TEMPORARY_SIZE = 96 << 20, 8 << 20
_PIECE = bytes(1 << 20)


class SmallDisk:
    """A folder that can be full: a file system of its own where one can be mounted, else by a limit of the process."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._filler = folder / "filler"
        self._limited: tuple[Started, tuple[int, int]] | None = None
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "rule-runner-test", str(folder)]
        tried = os.geteuid() == 0 and shutil.which("mount") is not None
        self.is_mounted = tried and subprocess.run(mount, check=False, capture_output=True).returncode == 0

    def fill(self, started: Started | None) -> None:
        """Leave no room; without a mount no file of the process can grow any more."""
        if self.is_mounted:
            with self._filler.open("wb", buffering=0) as file:
                self._fill(file.fileno())
        elif started is not None and not started.ended():
            largest = max((path.stat().st_size for path in self._folder.iterdir()), default=0)
            limits = resource.prlimit(started.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (max(largest, 1 << 16), limits[1]))
            self._limited = started, limits

    def free(self) -> None:
        """Leave room again."""
        self._filler.unlink(missing_ok=True)
        if self._limited is not None and not self._limited[0].ended():
            resource.prlimit(self._limited[0].pid, resource.RLIMIT_FSIZE, self._limited[1])
        self._limited = None

    def close(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    def _fill(self, number: int) -> None:
        size = len(_PIECE)
        while size:
            try:
                os.write(number, _PIECE[:size])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2


class UntidyPlace(FolderPlace):
    """Logs in `events/logs`, state and temporary files on small disks; a context manager."""

    name = "files"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.logs = folder / "events" / "logs"
        self.logs.mkdir()
        self.disk, self.temporary = SmallDisk(folder / "state", STATE_SIZE), SmallDisk(folder / "tmp", TEMPORARY_SIZE)
        self.state = folder / "state" / "state.db"
        self.journal = folder / "journal"
        self.env = {**self.env, "TMPDIR": str(folder / "tmp")}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def arguments(self, *, calm: bool = False) -> Sequence[object]:
        """With `calm` the events are those of the journal, in one file that nothing has happened to."""
        if not calm:
            return super().arguments()
        return (
            *("--events", self.journal / "events.ndjson", "--rules", self._folder / "rules"),
            *("--state", self._folder / "calm.db"),
        )

    def lose_mount(self) -> None:
        """Leave the folder of the events empty, in one step; whoever writes to the logs goes on."""
        self.logs.rename(self._folder / "elsewhere")

    def mount(self) -> None:
        (self._folder / "elsewhere").rename(self.logs)

    def reads_events(self, started: Started) -> bool:
        """Whether the process has an event file open now."""
        folder = str(self._folder / "events")
        return any(name.startswith(folder) for name in started.open_files())

    def close(self) -> None:
        if self.disk.is_mounted and self.state.exists():
            copy_sqlite(self.state, self._folder / "state.db")  # outlives the mount
        for disk in (self.disk, self.temporary):
            disk.close()
