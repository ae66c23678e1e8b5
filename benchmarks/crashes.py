"""Crash test: no alert missed or written twice, whenever a runner is killed.

    python benchmarks/crashes.py --kills 300

Kills real `rule-runner` processes, at random and at chosen moments, on SQLite and on a real Elasticsearch node with
other faults injected, and compares the alerts with those of an undisturbed run. Exits with 1 if anything differs. Equal
seeds give equal events and plans, but not equal timing. `tests/scenarios/test_crashes.py` is a short form of it,
docs/guarantees.md lists what it shows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.elasticsearch.node import Node
from tests.elasticsearch.proxy import Proxy
from tests.scenarios.campaign import Report, live_round, past_round
from tests.scenarios.places import ClusterPlace, FolderPlace, Place
from tests.scenarios.starter import Starter

A_ROUND = 25
"""Most kills in one round."""
CLUSTER_PAST = timedelta(minutes=20)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its reports."""
    options = _options(arguments)
    stores = ("sqlite", "elasticsearch") if options.store == "both" else (options.store,)
    reports: list[Report] = []
    with ExitStack() as stack:
        for store in stores:
            node = stack.enter_context(Node()) if store == "elasticsearch" else None
            for report in campaign(options.kills, options.seed, incidents=options.incidents, node=node):
                print(report.line(), flush=True)
                for fault in report.faults[:20]:
                    print(f"    {fault}", flush=True)
                reports.append(report)
    for store in stores:
        _print_sum([report for report in reports if report.place == store], store)
    if options.json:
        rows = [{item.name: getattr(report, item.name) for item in fields(report)} for report in reports]
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return int(any(report.faults for report in reports))


def campaign(kills: int, seed: int, *, incidents: int | None = None, node: Node | None) -> Iterator[Report]:
    """The reports of the rounds, on the node, or on SQLite files without one; with `incidents` until kills and other
    faults are that many together."""
    rng = Random(seed)
    left, number = kills if incidents is None else incidents, 0
    while left > 0:
        number += 1
        now = min(left, A_ROUND)
        with (
            tempfile.TemporaryDirectory(prefix="rule-runner-crashes-") as name,
            _place(Path(name), number, node=node) as place,
            Starter(Path(name)) as starter,
        ):
            seed_of_round = rng.randrange(2**31)
            if number % 3 == 0:
                length = timedelta(minutes=60) if node is None else CLUSTER_PAST
                report = past_round(place, starter, Path(name), seed=seed_of_round, kills=now, length=length)
            else:
                report = live_round(place, starter, Path(name), seed=seed_of_round, kills=now)
        yield report
        others = 0 if incidents is None else sum(report.troubles.values())
        left -= max(report.kills + others, 1)


@contextmanager
def _place(folder: Path, number: int, *, node: Node | None) -> Iterator[Place]:
    """The place of one round; one in six in a cluster has the EQL API, simulated by the proxy, which takes longer."""
    with ExitStack() as stack:
        if node is None:
            place: Place = FolderPlace(folder)
        else:
            proxy = stack.enter_context(Proxy(node.url, eql=number % 6 == 0))
            place = ClusterPlace(node.url, proxy, name=f"{os.getpid()}-{number}", rules=folder / "rules", node=node)
        stack.callback(place.close)
        yield place


def _print_sum(reports: Sequence[Report], store: str) -> None:
    if not reports:
        return
    kills = sum(report.kills for report in reports)
    others = sum(sum(report.troubles.values()) for report in reports)
    print(
        f"\n{store}: {kills} kills and {others} other faults in {len(reports)} rounds, "
        f"{sum(report.incidents for report in reports)} things to find, "
        f"{sum(report.alerts for report in reports)} alerts, {sum(report.seconds for report in reports):.0f} s, "
        f"{sum(len(report.faults) for report in reports)} differences"
    )
    counts: Counter[str] = Counter()
    for title, name in (("killed", "phases"), ("moment chosen", "moments"), ("also went wrong", "troubles")):
        counts = sum((getattr(report, name) for report in reports), Counter())
        for what, count in counts.most_common():
            print(f"  {title}: {what}: {count}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="of each store (default: 300)")
    parser.add_argument("--incidents", type=int, help="instead of --kills: kills and other faults together")
    parser.add_argument("--store", choices=("sqlite", "elasticsearch", "both"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for the reports of all rounds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
