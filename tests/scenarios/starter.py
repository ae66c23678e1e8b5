"""`Starter`: starts `rule-runner` processes quickly, to be killed; Linux only.

Loading the modules takes most of a short run. One process loads them once and then makes a fork of itself for every
start: from there on it is the program as it is, with a process id, memory and files of its own. `cold=True` starts
`python -m runner` instead, whose loading can be interrupted, too.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.paths import ROOT

STOPPED_WITHIN = 60.0
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1", "NO_COLOR": "1"}


class Started:
    """One process. Its output goes to a file, both streams of it."""

    def __init__(self, pid: int, output: Path, reap: Any) -> None:
        self.pid = pid
        self.output = output
        self._reap = reap
        self._watch = os.pidfd_open(pid)
        self._code: int | None = None

    def ended(self, within: float = 0.0) -> bool:
        """Whether it has ended, waiting for it that many seconds at most."""
        if self._code is not None:
            return True
        ready, _, _ = select.select([self._watch], [], [], max(0.0, within))
        return bool(ready)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended is not there any more and gets none."""
        if self._code is None:
            signal.pidfd_send_signal(self._watch, number)

    def kill(self) -> bool:
        """End it at once; returns whether it was this that ended it."""
        self.signal(signal.SIGKILL)
        return self.code() == -signal.SIGKILL

    def code(self, within: float = STOPPED_WITHIN) -> int:
        """Its exit code once it has ended, negative for a signal; raises TimeoutError."""
        if self._code is None:
            if not self.ended(within):
                raise TimeoutError(f"process {self.pid} has not ended within {within:g} s:\n{self.text()}")
            self._code = int(self._reap(self.pid))
            os.close(self._watch)
        return self._code

    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def open_files(self) -> frozenset[str]:
        """What it has open now, as `/proc` names it; nothing once it has ended."""
        names: set[str] = set()
        try:
            for entry in Path(f"/proc/{self.pid}/fd").iterdir():
                names.add(str(entry.readlink()))
        except OSError:  # it has ended, or closed the one just listed
            return frozenset(names)
        return frozenset(names)


class Starter:
    """Starts processes in a folder; a context manager. The processes that still run at its end are killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._running: dict[int, Started] = {}
        self._cold: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self, *arguments: object, env: Mapping[str, str] | None = None, cold: bool = False, room: int | None = None
    ) -> Started:
        """Start `rule-runner` with these arguments; with `room` no file of it can grow beyond so many bytes."""
        self._count += 1
        output = self._folder / f"output-{self._count}.txt"
        environment = {**ENVIRONMENT, "TMPDIR": str(self._folder), **(env or {})}
        words = [str(word) for word in arguments]
        if cold:
            pid = self._start_cold(words, environment, output)
        else:
            places = {"folder": str(self._folder), "output": str(output)}
            pid = int(self._ask({"arguments": words, "env": environment, "room": room, **places})["pid"])
        started = self._running[pid] = Started(pid, output, self._reap)
        return started

    def __enter__(self) -> Self:
        self._loader = subprocess.Popen(
            [sys.executable, "-m", "tests.scenarios.starter"],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for started in list(self._running.values()):
            started.kill()
        assert self._loader.stdin is not None and self._loader.stdout is not None
        self._loader.stdin.close()
        self._loader.wait()
        self._loader.stdout.close()

    def _start_cold(self, words: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
        with output.open("wb") as file:
            command = [sys.executable, "-m", "runner", *words]
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._cold[process.pid] = process
        return process.pid

    def _reap(self, pid: int) -> int:
        self._running.pop(pid, None)
        if pid in self._cold:
            return self._cold.pop(pid).wait()
        return int(self._ask({"reap": pid})["code"])

    def _ask(self, what: Mapping[str, Any]) -> Any:
        assert self._loader.stdin is not None and self._loader.stdout is not None
        self._loader.stdin.write(json.dumps(what).encode() + b"\n")
        self._loader.stdin.flush()
        line = self._loader.stdout.readline()
        if not line:
            raise RuntimeError("the process that starts the others has ended")
        return json.loads(line)


def load() -> None:
    """Load what the commands load by the time they work."""
    import elasticsearch  # noqa: F401

    from runner.cli.commands import once, replay, run, status  # noqa: F401
    from runner.sample_data import generate  # noqa: F401


def serve() -> None:
    """Answer each line of the standard input with one line: a start with a process id, a `reap` with an exit code."""
    load()
    for line in sys.stdin.buffer:
        what = json.loads(line)
        if "reap" in what:
            _, status = os.waitpid(what["reap"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                become(what)
            answer = {"pid": pid}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def become(what: Mapping[str, Any]) -> None:
    """Be `rule-runner` in a fork that was made for it; does not return."""
    from runner.cli import main

    code = 70
    try:
        number = os.open(what["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for stream in (1, 2):
            os.dup2(number, stream)
        os.chdir(what["folder"])
        os.environ.clear()
        os.environ.update(what["env"])
        random.seed()  # else every fork would wait for the same random times
        if what["room"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (what["room"], what["room"]))
        sys.argv = ["rule-runner", *what["arguments"]]
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except Exception:  # noqa: BLE001 - shown, as Python itself would at its end
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
