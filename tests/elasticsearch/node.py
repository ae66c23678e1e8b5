"""A one-node Elasticsearch from the artifacts of Maven Central: built once, started in seconds."""

from __future__ import annotations

import fcntl
import hashlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

PROJECT = Path(__file__).parent / "node"
BUILD_SECONDS = 900
START_SECONDS = 120
STOP_SECONDS = 30
SECURE_USER = "elastic"
SECURE_PASSWORD = "runner-tests"

JVM_OPTIONS = (
    "-Xms256m",
    "-Xmx768m",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    # Short lives: the second compiler would cost more than it gains.
    "-XX:TieredStopAtLevel=1",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    # Named, because the test framework's jar brings a configuration that would go first.
    "-Dlog4j2.configurationFile=node-log4j2.properties",
    "-Dlog4j2.disable.jmx=true",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
)


class NodeUnavailableError(Exception):
    """The node cannot be built on this machine; the text says what is missing."""


class NodeFailedError(Exception):
    """The node was built, but does not run; the text ends with its log."""


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        raise NodeUnavailableError("no `java` found (set JAVA_HOME or PATH to a JDK 17 or newer)")
    return java


def _sources() -> Iterator[Path]:
    yield PROJECT / "pom.xml"
    yield from sorted(path for path in (PROJECT / "src").rglob("*") if path.is_file())


def _cache_folder() -> Path:
    """The folder of this build: another text of the project is another folder."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "rule-runner-tests" / f"node-{digest.hexdigest()[:16]}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process at a time; two test runs that start together build once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _class_path(folder: Path) -> str | None:
    """The class path of a finished build, or None if there is none or a jar of it has gone."""
    listing = folder / "classpath"
    if not listing.is_file():
        return None
    jars = listing.read_text().strip()
    if not all(Path(jar).is_file() for jar in jars.split(os.pathsep)):
        return None
    return os.pathsep.join([str(folder / "node.jar"), jars])


def _run_maven(folder: Path, *, offline: bool) -> str:
    """Compile into the folder; returns an empty text, or Maven's complaint."""
    maven = shutil.which("mvn")
    if maven is None:
        raise NodeUnavailableError("no `mvn` found (Maven 3.6 or newer)")
    command = [maven, "-B", "-q", *(["-o"] if offline else []), f"-Dbuild.folder={folder}", "compile"]
    command += ["dependency:build-classpath", f"-Dmdep.outputFile={folder / 'classpath'}"]
    try:
        done = subprocess.run(
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Maven did not end within {BUILD_SECONDS} s"
    return "" if done.returncode == 0 else done.stdout[-3000:]


def _pack(folder: Path) -> None:
    """Put the classes into a jar: the JVM archives no classes of folders."""
    classes = folder / "classes"
    with zipfile.ZipFile(folder / "node.jar", "w") as jar:
        for path in sorted(classes.rglob("*")):
            if path.is_file():
                jar.write(path, path.relative_to(classes).as_posix())


def _archive(folder: Path, class_path: str) -> None:
    """Keep the loaded classes of one short run, which halves the time of every later start.

    The run has security, so that its classes are among them. Without an archive a start only takes longer.
    """
    archive = folder / "node.jsa"
    archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="rule-runner-node-", ignore_cleanup_errors=True) as home:
        command = [_java(), *_jvm_options(), f"-XX:ArchiveClassesAtExit={archive}", "-cp", class_path]
        command += ["runner.tests.node.Main", home, "--security"]
        quiet = subprocess.DEVNULL
        subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=BUILD_SECONDS, check=False)


def _jvm_options() -> list[str]:
    return [*JVM_OPTIONS, *shlex.split(os.environ.get("RUNNER_TEST_NODE_JVM_OPTIONS", ""))]


def build() -> str:
    """The class path of the node, built now unless an earlier run has; raises `NodeUnavailableError`."""
    folder = _cache_folder()
    with _locked(folder.with_suffix(".lock")):
        found = _class_path(folder)
        if found is not None:
            return found
        complaint = _run_maven(folder, offline=True) and _run_maven(folder, offline=False)
        if complaint:
            (folder / "classpath").unlink(missing_ok=True)
            raise NodeUnavailableError(f"Maven could not build {PROJECT}:\n{complaint}")
        _pack(folder)
        found = _class_path(folder)
        if found is None:
            raise NodeUnavailableError(f"Maven built {PROJECT}, but wrote no class path to {folder}")
        _archive(folder, found)
        return found


class Node:
    """One node of its own, with data that outlives `stop` and `kill` until `close`.

    The port is free to the system's choice at the first start and stays the same afterwards, so that a client finds the
    node again. `settings` are Elasticsearch settings, `name=value`. `esql`: whether it has ES|QL.
    """

    def __init__(self, settings: Sequence[str] = (), *, security: bool = False, esql: bool = False) -> None:
        self._settings = (*(["--esql"] if esql else []), *settings)
        self._security = security
        self._home = Path(tempfile.mkdtemp(prefix="rule-runner-node-"))
        self._log = self._home / "node.log"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address, with user and password where the node has security."""
        login = f"{SECURE_USER}:{SECURE_PASSWORD}@" if self._security else ""
        return f"http://{login}127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process that runs now; raises `NodeFailedError` if none does."""
        return self._running_process().pid

    @property
    def home(self) -> Path:
        """The folder of its data and its log."""
        return self._home

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that the node has logged."""
        if not self._log.is_file():
            return "(no log)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def start(self, *settings: str) -> str:
        """Start and wait until it answers; returns the address. `settings` are more of them, for this time only.

        Raises `NodeUnavailableError`, `NodeFailedError`.
        """
        if self.running:
            raise NodeFailedError("the node is running already")
        class_path = build()
        self._home.mkdir(exist_ok=True)
        archive = Path(class_path.split(os.pathsep)[0]).with_suffix(".jsa")
        command = [_java(), *_jvm_options(), *([f"-XX:SharedArchiveFile={archive}"] if archive.is_file() else [])]
        command += [f"-Djava.io.tmpdir={self._folder('tmp')}", "-cp", class_path]
        command += ["runner.tests.node.Main", str(self._home), "--port", str(self._port)]
        command += [*(["--security"] if self._security else []), *self._settings, *settings]
        with self._log.open("ab") as log:
            # A process group of its own keeps Ctrl-C for the test run; and a frozen node whose starter died is in an
            # orphaned group, which the system ends.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, process_group=0
            )
        try:
            self._port = self._await_port(self._process)
        except BaseException:
            self.kill()
            raise
        return self.url

    def stop(self) -> None:
        """End it in order, as a service manager does; the data stays."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            try:
                process.stdin.write(b"keep\n")
                process.stdin.close()
                process.wait(STOP_SECONDS)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                process.kill()
        self._reap(process)

    def kill(self) -> None:
        """End it at once, as a power cut does; the data stays."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._reap(process)

    def freeze(self) -> None:
        """Suspend it: connections stay open and nothing answers. Returns once it stands still."""
        process = self._running_process()
        process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise NodeFailedError(f"the node ended instead of stopping; its log ends:\n{self.log_tail()}")

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self._running_process().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _folder(self, name: str) -> Path:
        folder = self._home / name
        folder.mkdir(exist_ok=True)
        return folder

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise NodeFailedError(f"the node is not running; its log ends:\n{self.log_tail()}")
        return self._process

    def _await_port(self, process: subprocess.Popen[bytes]) -> int:
        """The port of the READY line; waits on the pipe, so neither early nor late."""
        assert process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        text = b""
        while b"\n" not in text:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(process.stdout.fileno(), 4096) if ready else b""
            if not chunk:
                what = "ended" if ready else f"was not ready within {START_SECONDS} s"
                raise NodeFailedError(f"the node {what}; its log ends:\n{self.log_tail()}")
            text += chunk
        return int(text.split(b"\n")[0].rsplit(b":", 1)[1])

    @staticmethod
    def _reap(process: subprocess.Popen[bytes]) -> None:
        process.wait(STOP_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    # The word to a process that has gone; the pipe is closed all the same.
                    continue
