"""A cluster examined as the command does it, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import Retry, open_client
from runner.doctor.checks import Check
from runner.doctor.doctor import examine_cluster
from runner.rules.rule import Rule
from runner.setup.index_objects import StoreNames

ONCE = Retry(attempts=1, first_wait=0.0, longest_wait=0.0)


def names_in(namespace: str) -> StoreNames:
    """Names of a test's own for what the runner writes to."""
    return StoreNames(f"{namespace}-alerts", f"{namespace}-runs", f"{namespace}-state")


async def examined(
    connection: Connection,
    rules: Sequence[Rule] = (),
    *,
    names: StoreNames | None = None,
    now: datetime | None = None,
    runtime_mappings: Mapping[str, Any] | None = None,
) -> list[Check]:
    """All checks of a cluster; `now` stands still if it is given."""
    client = open_client(connection, retry=ONCE)
    try:
        found = await examine_cluster(
            client,
            rules,
            names or StoreNames(),
            now=lambda: now if now is not None else datetime.now(UTC),
            runtime_mappings=runtime_mappings,
        )
    finally:
        await client.close()
    return list(found.checks)


def the(checks: Iterable[Check], name: str, subject: str) -> Check:
    """The one check of that name and subject."""
    found = [check for check in checks if (check.name, check.subject) == (name, subject)]
    assert len(found) == 1, (name, subject, list(checks))
    return found[0]


def told(checks: Iterable[Check], name: str) -> list[str]:
    """What the checks of that name say, each as `outcome subject: found`."""
    return [f"{check.outcome} {check.subject}: {check.found}" for check in checks if check.name == name]
