"""`rule-runner sample --to-cluster`: sample events in the data streams of a cluster."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.cli.cluster_wiring import opened_client
from runner.cli.commands.sample import read_times, steps_of, tell
from runner.cli.console import counted, progress_bar, say
from runner.cli.exit_codes import ExitCode
from runner.errors import SettingsError
from runner.sample_data.generate import Sample, generate
from runner.sample_data.to_cluster import ClusterSample, write_to_cluster
from runner.sample_data.write import write_truth
from runner.settings.settings import Settings


def sample_to_cluster(
    settings: Settings,
    events: int,
    *,
    end: str,
    span: str | None,
    out: str | None,
    namespace: str,
    append: bool,
    truth: Path | None,
    hits: bool,
    **planted: Any,
) -> ExitCode:
    """Write the events to data streams of the cluster; `planted` is as `generate` takes it."""
    if out is not None or hits:
        raise SettingsError(f"{'--hits' if hits else '--out'} and --to-cluster: expected one of the two")
    if not re.fullmatch(r"[a-z0-9_.]{1,100}", namespace):
        raise SettingsError(f'--namespace: found "{namespace}", expected lower-case letters, digits, `_` and `.`')
    last, length = read_times(end, span)

    def make() -> Sample:
        return generate(events=events, end=last, span=length, **planted)

    with progress_bar("writing events", lambda: events) as advance:
        written = asyncio.run(_write(settings, make, namespace, append=append, progress=steps_of(advance)))
    if truth is not None:
        write_truth(truth, make())
    tell(written.summary, ", ".join(written.streams))
    if written.known:
        say(f"{counted(written.known, 'event')} of these were there already")
    return ExitCode.FINE


async def _write(
    settings: Settings, make: Callable[[], Sample], namespace: str, *, append: bool, progress: Callable[[int], None]
) -> ClusterSample:
    async with opened_client(settings) as client:
        return await write_to_cluster(client, make, namespace=namespace, append=append, progress=progress)
