"""Campaign on untidy files: no alert missed, written twice or wrong, whatever happens to logs, disks and processes.

    python benchmarks/untidy.py --incidents 1000

A process writes logs, `rule-runner run` and `once` read them. At random moments logs are rotated in every way (renamed,
dated, compressed, copied and truncated), lines and files come late, lines are incomplete for a while, processes are
stopped and killed, disks are full, the mount of the logs is lost. In the end the alerts are compared with those of an
undisturbed run over all events ever written. Exits with 1 if anything differs. Equal seeds give equal events and
incidents, but not equal timing; the seed of a round, with `--incidents 50`, makes that round again. A short form is
`tests/scenarios/test_untidy.py`; docs/guarantees.md lists what it shows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.scenarios.starter import Starter
from tests.scenarios.untidy import KINDS, UntidyReport, untidy_round

A_ROUND = 50
"""Most incidents in one round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its reports."""
    options = _options(arguments)
    kinds = [kind for kind in KINDS if kind not in options.without]
    reports: list[UntidyReport] = []
    for report in campaign(options.incidents, options.seed, kinds, keep=options.keep):
        print(report.line(), flush=True)
        for fault in report.faults[:20]:
            print(f"    {fault}", flush=True)
        reports.append(report)
    _print_sum(reports)
    if options.json:
        rows = [{item.name: getattr(report, item.name) for item in fields(report)} for report in reports]
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return int(any(report.faults for report in reports))


def campaign(incidents: int, seed: int, kinds: Sequence[str], *, keep: Path | None = None) -> Iterator[UntidyReport]:
    """The reports of the rounds, each of them in a folder of its own; `keep` gets copies of those with faults."""
    rng = Random(seed)
    left, seed_of_round = incidents, seed
    while left > 0:
        with (
            tempfile.TemporaryDirectory(prefix="rule-runner-untidy-", ignore_cleanup_errors=True) as name,
            Starter(Path(name)) as starter,
        ):
            now = min(left, A_ROUND)
            report = untidy_round(Path(name), starter, seed=seed_of_round, incidents=now, kinds=kinds)
            if keep is not None and report.faults:
                shutil.copytree(name, keep / str(seed_of_round))
        yield report
        left, seed_of_round = left - report.incidents, rng.randrange(2**31)


def _print_sum(reports: Sequence[UntidyReport]) -> None:
    total = {
        name: sum(len(getattr(report, name)) for report in reports) for name in ("missed", "double", "wrong", "others")
    }
    print(
        f"\n{sum(report.incidents for report in reports)} incidents in {len(reports)} rounds, "
        f"{sum(report.reading for report in reports)} of them while events were read, "
        f"{sum(report.processes for report in reports)} processes, "
        f"{sum(report.events for report in reports):,} events, "
        f"{sum(report.expected for report in reports):,} alerts to find, "
        f"{sum(report.early for report in reports):,} found before the last service began, "
        f"{sum(report.undecidable for report in reports)} undecidable, "
        f"{sum(report.seconds for report in reports):.0f} s:\n"
        f"{total['missed']} missed, {total['double']} double, {total['wrong']} wrong, {total['others']} other faults"
    )
    for kind, count in sum((report.kinds for report in reports), Counter[str]()).most_common():
        print(f"  {count:4} {kind}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incidents", type=int, default=1_000)
    parser.add_argument("--without", action="append", default=[], choices=KINDS, help="a kind of incident to leave out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where the folders of rounds with faults are copied to"
    )
    parser.add_argument("--json", type=Path, help="a file for the reports of all rounds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
