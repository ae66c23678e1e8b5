"""An API key with just the privileges that the runner needs, kept in a file of its own."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from runner.cluster.elasticsearch import Elastic
from runner.errors import AccessError, ClusterError
from runner.setup.index_objects import PRODUCT, StoreNames, role_bodies


async def make_api_key(client: Elastic, names: StoreNames, *, events: Sequence[str]) -> str:
    """A new key, encoded, that may read `events` and write alerts and state, and nothing else; it never expires.

    Raises AccessError if the cluster makes none.
    """
    roles = role_bodies(names, events=events)
    wanted = {name: body for name, body in roles.items() if not name.endswith("-setup")}
    plain = {name: {part: body[part] for part in ("cluster", "indices")} for name, body in wanted.items()}
    try:
        return await client.create_api_key(PRODUCT, plain)
    except ClusterError as error:
        if error.no_such_api:
            raise AccessError(
                "this cluster has no security, so that there is no API key to make: leave it away"
            ) from None
        raise AccessError(f"no API key was made: {error}") from None


def read_key_file(path: Path) -> str | None:
    """The key in a file; None without a file. Raises AccessError for a file that holds no key."""
    try:
        text = path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise AccessError(f"{path}: cannot be read: {reason}") from None
    with contextlib.suppress(ValueError):
        if base64.b64decode(text, validate=True).count(b":") == 1:
            return text
    raise AccessError(f"{path} is there and holds no API key: name another file")


def write_key_file(path: Path, key: str) -> None:
    """Write a key to a file that its owner alone may read, whole or not at all. Raises AccessError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(f"{key}\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise AccessError(f"{path}: cannot be written: {error.strerror or error}") from None
