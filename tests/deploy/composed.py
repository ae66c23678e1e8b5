"""The compose files as docker reads them: through `docker compose config`, or through the library behind it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

_SOURCE = Path(__file__).parent / "compose_config"
_BUILD_SECONDS = 300


class ComposeError(Exception):
    """What is said of files that cannot be used."""


def composed(folder: Path, env: str) -> dict[str, Any]:
    """The project of our compose files in `folder`, with nothing but `env` as its .env. Skips without Docker and Go."""
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy", dirs_exist_ok=True)
    (folder / ".env").write_text(env)
    # Nothing of the caller's environment but what the tool itself needs: its variables would go before .env.
    environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "DOCKER_CONFIG")}
    done = subprocess.run(_tool(), cwd=folder, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise ComposeError(done.stderr)
    project: dict[str, Any] = json.loads(done.stdout)
    return project | {"said": done.stderr}


@cache
def _tool() -> tuple[str, ...]:
    plugin = ["docker", "compose", "version"]
    if shutil.which("docker") and subprocess.run(plugin, capture_output=True, check=False).returncode == 0:
        return ("docker", "compose", "config", "--format", "json")
    if shutil.which("go") is None:
        pytest.skip("neither docker with its compose plugin nor Go is installed")
    sources = b"".join((_SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rule-runner-tests"
    program = root / f"compose-config-{hashlib.sha256(sources).hexdigest()[:12]}"
    if not program.exists():
        root.mkdir(parents=True, exist_ok=True)
        draft = program.with_name(f"{program.name}.{os.getpid()}")
        build = ["go", "build", "-o", str(draft), "."]
        done = subprocess.run(
            build, cwd=_SOURCE, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS,
            env=os.environ | {"GOFLAGS": "-mod=readonly"},
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"the library of docker compose cannot be built here: {done.stderr[-500:]}")
        draft.replace(program)
    return (str(program),)
