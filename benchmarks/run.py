"""The benchmarks: `python benchmarks/run.py`. Compare ratios within one run; absolute figures depend on the machine."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from memory import peak_megabytes, peak_megabytes_of_stream
from peers import eql_package_rates
from scans import yardsticks
from searches import RuleSet, rule_set, search_case
from sequences import sequence_costs
from startup import startup_seconds
from timing import Case, Report, measure, rows_of

from runner.sample_data.write import write_sample

ROOT = Path(__file__).resolve().parent.parent
SEED_RULES = ROOT / "rules" / "linux"
CORPUS = ROOT.parent / "shared" / "corpus" / "detection-rules"
END = datetime(2026, 3, 1, 12, tzinfo=UTC)


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        events = options.events or _sample(Path(folder), 3_000 if options.smoke else 200_000)
        report = _run(options, events)
    _print(report)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few events, one round: shows that everything still works")
    parser.add_argument("--events", type=Path, metavar="FILE", help="NDJSON, not compressed (default: 200,000 made up)")
    parser.add_argument(
        "--rules", type=Path, metavar="FOLDER", help="a folder of rules to measure beside the usual ones"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each case the best round counts (default: 3)")
    parser.add_argument(
        "--long", action="store_true", help="also the peak memory for a stream of ten times as many made-up events"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result, for compare.py")
    return parser.parse_args()


def _sample(folder: Path, count: int) -> Path:
    path = folder / "events.ndjson"
    write_sample(path, events=count, attacks=20, seed=1, end=END)
    return path


def _run(options: argparse.Namespace, events: Path) -> Report:
    with events.open("rb") as file:
        count = sum(1 for line in file if not line.isspace())
    sets = _rule_sets(options.rules)
    cases = [*yardsticks(events), *(search_case(events, rules) for rules in sets)]
    measure(cases, 1 if options.smoke else options.rounds, _say)
    largest = max(sets, key=lambda rules: len(rules.rules))
    folder = next((path for path in (options.rules, CORPUS) if path is not None and path.is_dir()), SEED_RULES)
    _say("start-up, sequences, memory")
    other = startup_seconds([rules for rules in sets if rules.load_seconds])
    other |= sequence_costs(2_000 if options.smoke else 250_000)
    other |= _beside_the_eql_package(events, sets, cases, 500 if options.smoke else 5_000)
    other |= _marginal(cases, count)
    other["peak memory, seed rules (MB)"] = peak_megabytes(events, SEED_RULES)
    other[f"peak memory, {len(largest.rules)} rules (MB)"] = peak_megabytes(events, folder)
    if options.long:
        other["peak memory, seed rules, a stream of 10 x as many (MB)"] = peak_megabytes_of_stream(
            10 * count, SEED_RULES
        )
    return Report(count, events.stat().st_size, rows_of(cases, count, events.stat().st_size), other)


def _rule_sets(given: Path | None) -> list[RuleSet]:
    sets = [rule_set("seed rules", SEED_RULES)]
    if CORPUS.is_dir():
        corpus = rule_set("all of the corpus", CORPUS)
        sets += [corpus.part("50 of the corpus", 50), corpus]
    if given is not None:
        sets.append(rule_set(str(given), given))
    return sets


def _marginal(cases: list[Case], events: int) -> dict[str, float]:
    """The cost of one more rule per event, between each set of rules and the next larger one."""
    searches = sorted((case for case in cases if case.rules), key=lambda case: case.rules)
    found = {}
    for fewer, more in pairwise(searches):
        if more.rules > fewer.rules:
            name = f"one more rule, from {fewer.rules} to {more.rules} (ns/event)"
            found[name] = (more.best - fewer.best) / (more.rules - fewer.rules) / events * 1e9
    if len(searches) > 1:
        found[f"{searches[-1].rules} rules cost as much as the seed rules times"] = searches[-1].best / searches[0].best
    return found


def _beside_the_eql_package(events: Path, sets: list[RuleSet], cases: list[Case], most: int) -> dict[str, float]:
    """The package's rates without JSON decoding, and the ratios of our rates, with decoding, to them."""
    rates = eql_package_rates(events, sets, most)
    with events.open("rb") as file:
        count = sum(1 for line in file if not line.isspace())
    seconds = {case.name: case.best for case in cases}
    times = {
        f"{rules.name}: times the rate of the eql package": count / seconds[rules.name] / rate
        for rules, rate in zip(sets, rates.values(), strict=False)
    }
    return rates | times


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(report: Report) -> None:
    print(f"{report.events:,} events of {report.size / report.events:,.0f} bytes; one core; best round of each case\n")
    print(f"{'case':34} {'rules':>5} {'events/s':>10} {'MB/s':>7} {'of bare scan':>13} {'of orjson.loads':>16}")
    for row in report.rows:
        print(
            f"{row['case'][:34]:34} {row['rules'] or '':>5} {row['events_per_second']:>10,}"
            f" {row['megabytes_per_second']:>7,.0f}"
            f" {row['of_bare_scan']:>13.3f} {row['of_orjson_loads']:>16.3f}"
        )
    print()
    for name, value in report.other.items():
        print(f"{name:62} {value:>10,.1f}")


if __name__ == "__main__":
    main()
