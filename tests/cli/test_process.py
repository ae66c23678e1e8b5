"""The command as the shell starts it: broken pipes, terminals, users without rights, lines that are far too long."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_once import NOW, ONE, write_events, write_rule
from tests.paths import ROOT
from tests.scenarios.timeline import ndjson

pytestmark = pytest.mark.slow

ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TERM": "xterm-256color"}
NOBODY = 65_534


def start(*arguments: object, folder: Path, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "runner", *map(str, arguments)]
    environment = ENVIRONMENT | more.pop("env", {})
    started: subprocess.Popen[bytes] = subprocess.Popen(command, cwd=folder, env=environment, **more)
    return started


def finish(started: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = started.communicate(timeout=120)
    return started.returncode, (out or b"").decode(), (err or b"").decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "--events", 20_000, "--attacks", 1, "--out", "-"),
        ("alerts", "export"),
        ("alerts", "list"),
        ("once", "--events", "e.ndjson", "--now", "2026-03-02T10:05:00Z"),
        ("check",),
    ],
)
def test_a_reader_who_has_seen_enough(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    write_rule(tmp_path, max_signals=1_000)
    lines = [f"e{number} exec 10:01:00.{number % 1000:03} name=nc user={'u' * 90}" for number in range(900)]
    write_events(tmp_path / "e.ndjson", *lines)
    assert finish(start("once", "--events", "e.ndjson", *NOW, folder=tmp_path, stdout=subprocess.DEVNULL))[0] == 0
    reading, writing = os.pipe()
    started = start(*arguments, folder=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    os.close(reading)  # gone before the first line is written
    code, _, err = finish(started)
    assert code == 0
    assert "Traceback" not in err and "Broken" not in err and "Exception" not in err


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [("check",), ("--help",), ("rules", "list", "-o", "json")])
def test_a_full_disk_behind_stdout(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_rule(tmp_path)
    with FULL.open("wb") as full:
        code, _, err = finish(start(*arguments, folder=tmp_path, stdout=full, stderr=subprocess.PIPE))
    assert code == 3
    assert err == "error: No space left on device: what is printed, or a file beside it, could not be written\n"


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_remarks_that_cannot_be_written_end_no_run(tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "rules" / "broken.toml").write_text("[[")
    write_events(tmp_path / "e.ndjson", ONE)
    with FULL.open("wb") as full:
        started = start("once", "--events", "e.ndjson", *NOW, folder=tmp_path, stdout=subprocess.PIPE, stderr=full)
        _, out, _ = finish(started)
    assert "1 new alert" in out


def test_streams_that_are_closed(tmp_path: Path) -> None:
    write_rule(tmp_path)
    write_events(tmp_path / "e.ndjson", ONE)
    shell = f"{sys.executable} -m runner once --events e.ndjson {' '.join(NOW)}"
    for closing in ("<&- >&- 2>&-", ">&-", "2>&-"):
        subprocess.run(f"{shell} {closing}", shell=True, check=True, cwd=tmp_path, env=ENVIRONMENT, timeout=120)
    code, out, err = finish(start("alerts", "export", folder=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    assert (code, err, out.count("\n")) == (0, "1 document\n", 1)


def on_terminal(*arguments: object, folder: Path, width: int) -> list[str]:
    """The lines of a command whose output is a terminal of `width` columns."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    started = start(*arguments, folder=folder, stdout=theirs, stderr=subprocess.DEVNULL, env={"NO_COLOR": "1"})
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    assert started.wait() == 0
    return text.decode().replace("\r", "").splitlines()


def test_tables_fit_a_terminal_of_80_columns(tmp_path: Path) -> None:
    write_rule(tmp_path, "Potential Reverse Shell via Suspicious Child Process")
    write_events(tmp_path / "e.ndjson", ONE)
    for arguments in (
        ("once", "--events", "e.ndjson", *NOW),
        ("alerts", "list"),
        ("status",),
        ("check",),
    ):
        lines = on_terminal(*arguments, folder=tmp_path, width=80)
        plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines]
        commands = ("rule-runner ", "-m runner ")  # one line each, however long the path of the interpreter
        assert max(len(line) for line in plain if not any(name in line for name in commands)) <= 80
        assert not any(word in " ".join(plain) for word in ("succeede ", "2026-03-0 "))  # no cell is cut within a word


WITHOUT_RIGHTS = f"""
import os, sys
from runner.cli import main
def call(*arguments):
    sys.argv = ["rule-runner", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code
call(*sys.argv[1:], "--state", "warm.db")  # as root: all modules are loaded, which nobody may be unable to read
print("----", flush=True)
print("----", file=sys.stderr, flush=True)
os.setegid({NOBODY})
os.seteuid({NOBODY})
call_again = sys.argv[1:-2]
raise SystemExit(call(*call_again))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; those of pytest are closed again by every other run that begins."""
    with tempfile.TemporaryDirectory(prefix="rule-runner-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_without_permission(open_folder: Path) -> None:
    write_rule(open_folder)
    secret = write_events(open_folder / "secret.ndjson", ONE)

    def as_nobody(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-c", WITHOUT_RIGHTS, *map(str, arguments)]
        ran = subprocess.run(command, cwd=open_folder, env=ENVIRONMENT, check=False, capture_output=True, text=True)
        assert "Traceback" not in ran.stderr
        return ran.returncode, ran.stderr.split("----\n")[1]

    own = open_folder / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    secret.chmod(0o600)
    code, err = as_nobody("once", "--events", secret, *NOW, "--state", own / "state.db")
    assert code == 3
    assert f"{secret}: cannot be read: permission denied" in err
    secret.chmod(0o644)
    code, err = as_nobody("once", "--events", secret, *NOW)
    assert code == 3
    assert "rule-runner.db" in err
    (open_folder / "rules" / "nc.toml").chmod(0o600)
    code, err = as_nobody("once", "--events", secret, *NOW, "--state", own / "state.db")
    assert code == 2
    assert "rules/nc.toml: error: cannot be read: Permission denied" in err


def test_a_line_of_200_mb_is_skipped_and_costs_no_memory(tmp_path: Path) -> None:
    write_rule(tmp_path)
    events = tmp_path / "e.ndjson"
    before, after = ndjson([ONE]).encode(), ndjson(["e2 exec 10:02:00.000 name=nc"]).encode()
    with events.open("wb") as file:
        file.write(before)
        file.write(b"{")
        file.seek(200 << 20, os.SEEK_CUR)  # a hole reads as zeros
        file.write(b"\n" + after)
    script = (
        "import sys\nfrom runner.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    arguments = ["once", "--events", str(events), *NOW, "-o", "json"]
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True
    )
    answer, kilobytes = ran.stdout.decode().splitlines()
    assert '"created":2' in answer and "1 line over 32 MiB skipped" in answer
    assert int(kilobytes) < 300_000


def test_few_open_files_are_enough(tmp_path: Path) -> None:
    write_rule(tmp_path)
    (tmp_path / "many").mkdir()
    for number in range(60):
        write_events(tmp_path / "many" / f"{number}.ndjson", f"e{number} exec 10:02:00.000 name=nc")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    started = start(
        "once", "--events", "many", *NOW, "-o", "json", folder=tmp_path, stdout=subprocess.PIPE, preexec_fn=limited
    )
    code, out, _ = finish(started)
    assert code == 0 and '"created":60' in out


def test_version_and_help_wait_for_no_heavy_module(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom runner.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(*sorted({'numpy', 'elasticsearch', 'pydantic', 'orjson'} & set(sys.modules)), 'heavy')"
    )
    for argument in ("--version", "--help"):
        ran = subprocess.run(
            [sys.executable, "-c", script, argument], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True
        )
        assert ran.stdout.decode().splitlines()[-1] == "heavy"
