"""All types of rules that are on in one pass over files against the rules in EQL alone: processor time, peak memory.

    python benchmarks/rule_types.py --rules FOLDER [FOLDER ...]

Each case is a process of its own, which loads the rules, and searches one window over all events, `--rounds` times; the
cases take turns, and the best round of each counts. Compare ratios within one run. Rules of type threat_match get a
file of indicators. Exits with 1 if all types cost more than `--most` times the rules in EQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runner.rules.load import load_rules
from runner.sample_data.write import write_sample
from runner.search.compiled_rule import compile_rules
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.windows import Window

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT.parent / "shared" / "corpus"
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
TYPES = ("eql", "query", "threshold", "new_terms", "threat_match")


def main() -> int:
    """Measure, print, and compare with what is allowed."""
    options = _arguments()
    if options.one:
        print(json.dumps(asyncio.run(_measured(options.events, options.rules, options.one.split("+")))))
        return 0
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        events = options.events or _sample(Path(folder), options.count)
        cases = (
            {"eql": "eql"} | {f"eql and {kind}": f"eql+{kind}" for kind in TYPES[1:]} | {"all types": "+".join(TYPES)}
        )
        if not options.each:
            cases = {name: types for name, types in cases.items() if name in ("eql", "all types")}
        best: dict[str, dict[str, float]] = {}
        for _ in range(options.rounds):
            for name, types in cases.items():
                found = _one(events, options.rules, types)
                if name not in best or found["seconds"] < best[name]["seconds"]:
                    best[name] = found
    print(f"{'case':24} {'rules':>6} {'seconds':>8} {'of eql':>7} {'matches':>8} {'MB':>6}")
    for name, found in best.items():
        ratio = found["seconds"] / best["eql"]["seconds"]
        print(
            f"{name:24} {found['rules']:6.0f} {found['seconds']:8.2f} {ratio:7.2f} {found['matches']:8.0f} "
            f"{found['megabytes']:6.0f}"
        )
    return int(best["all types"]["seconds"] > options.most * best["eql"]["seconds"])


def _one(events: Path, rules: Sequence[Path], types: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", types, "--events", events, "--rules", *rules]
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


async def _measured(events: Path, folders: Sequence[Path], types: Sequence[str]) -> dict[str, float]:
    loaded = load_rules(folders).rules
    compiled, problems = compile_rules(rule for rule in loaded if rule.type in types and rule.enabled)
    assert not [problem for problem in problems if problem.severity == "error"]
    window = Window(END - timedelta(minutes=9), END)
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        search = FileSearch([events], names_unknown=False, indicators=[_indicators(Path(folder))])
        await search.prepare(compiled)
        requests = [SearchRequest(one, window, 1_000) for one in compiled]
        begun, matches = time.process_time(), Counter[str]()
        async for result in search.run(requests):
            assert result.error is None, result.error
            matches[result.request.rule.type] += len(result.matches)
        seconds = time.process_time() - begun
        await search.close()
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rules": len(compiled), "seconds": seconds, "matches": matches.total(), "megabytes": megabytes}


def _sample(folder: Path, count: int) -> Path:
    path = folder / "events.ndjson"
    write_sample(path, events=count, attacks=20, seed=1, end=END)
    return path


def _indicators(folder: Path) -> Path:
    """A thousand addresses and as many hashes, of the day before."""
    path = folder / "indicators.ndjson"
    made = []
    for number in range(1_000):
        own = {
            "type": "ipv4-addr",
            "ip": f"198.18.{number // 250}.{number % 250}",
            "file": {"hash": {"md5": f"{number:032x}"}},
        }
        stamp = (END - timedelta(days=1)).isoformat()
        document = {
            "@timestamp": stamp,
            "event": {"category": "threat", "ingested": stamp},
            "threat": {"indicator": own},
        }
        made.append(json.dumps({"_index": "logs-ti_lab.indicator-default", "_id": str(number), "_source": document}))
    path.write_text("\n".join(made) + "\n")
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folders = [CORPUS / "detection-rules", CORPUS / "detection-rules-types"]
    parser.add_argument("--rules", type=Path, nargs="+", metavar="FOLDER", default=folders)
    parser.add_argument("--events", type=Path, metavar="FILE", help="NDJSON (default: --count events made up)")
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--each", action="store_true", help="also the rules in EQL with each other type alone")
    parser.add_argument("--most", type=float, default=1.5, help="how many times the cost of EQL is allowed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
