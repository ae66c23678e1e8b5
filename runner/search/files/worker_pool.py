"""`WorkerPool`: processes that search splits of files; results come back in the order of the splits."""

from __future__ import annotations

import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from runner.errors import EventsError
from runner.events.files.splits import Split
from runner.search.files.worker import SplitResult, SplitSearch

# Not `-m`: the classes would be those of another module then, and their pickles of no use here.
_START = "import sys; from runner.search.files.worker import serve; serve(sys.stdin.buffer, sys.stdout.buffer)"
_AHEAD = 2
"""Splits per worker whose results may wait for those of earlier splits."""


_PATIENCE_S = 0.1


class WorkerPool:
    """Worker processes; the context manager ends them."""

    def __init__(self, count: int, job: SplitSearch) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._job = job
        self._count = count
        self._is_over = threading.Event()

    def __enter__(self) -> WorkerPool:
        for number in range(self._count):
            command = [sys.executable, "-c", _START]
            process = _started(command)
            self._processes.append(process)
            assert process.stdin is not None
            spool = self._job.spool.with_name(f"{self._job.spool.name}-{number}")
            try:
                pickle.dump(replace(self._job, spool=spool), process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
            except BrokenPipeError:
                continue  # it has ended: its first result reports that
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # the worker has ended, so that nothing reads what is left in the pipe

    def processes(self) -> tuple[int, ...]:
        """The ids of the processes."""
        return tuple(process.pid for process in self._processes)

    def findings(
        self, parts: Sequence[Split], *, meanwhile: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[Split, SplitResult]]:
        """What is found in the splits, in their order; a split may have several results.

        `meanwhile` is called again and again while there is none; what it raises ends the search.

        Raises EventsError if a worker ends before its work is done.
        """
        found: list[queue.Queue[SplitResult | EventsError]] = [queue.Queue(maxsize=4) for _ in parts]
        room = threading.Semaphore(_AHEAD * self._count)
        waiting = iter(range(len(parts)))
        lock = threading.Lock()

        def work(process: subprocess.Popen[bytes]) -> None:
            while not self._is_over.is_set():
                with lock:
                    if not room.acquire(timeout=_PATIENCE_S):
                        continue
                    number = next(waiting, None)
                if number is None:
                    return
                for finding in _results(process, parts[number]):
                    while not self._is_over.is_set():
                        try:
                            found[number].put(finding, timeout=_PATIENCE_S)
                            break
                        except queue.Full:
                            continue
                    if isinstance(finding, EventsError):
                        return

        for process in self._processes:
            thread = threading.Thread(target=work, args=(process,), daemon=True)
            thread.start()
            self._threads.append(thread)
        for number, part in enumerate(parts):
            while True:
                try:
                    finding = found[number].get(timeout=_PATIENCE_S)
                except queue.Empty:
                    meanwhile()
                    continue
                if isinstance(finding, EventsError):
                    raise finding
                yield part, finding
                if finding.is_last:
                    break
            room.release()


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """The process, started with SIGINT and SIGTERM blocked, so that only the parent ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _results(process: subprocess.Popen[bytes], part: Split) -> Iterator[SplitResult | EventsError]:
    """What a worker finds in a split; an error if it ends before its last result."""
    assert process.stdin is not None and process.stdout is not None
    try:
        pickle.dump(part, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        while True:
            finding: Any = pickle.load(process.stdout)
            yield finding
            if isinstance(finding, EventsError) or finding.is_last:
                return
    except Exception:  # noqa: BLE001  the waiting thread must get a result, whatever the error
        yield EventsError(
            f"{part.path}: a worker process {_end_of(process)} while it searched the file", path=part.path
        )


def _end_of(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
