"""The pictures of docs/web.md: `python benchmarks/pictures.py [FOLDER]`, with a Chromium on the PATH.

Makes events of a small fleet, runs a few rules over them, serves the pages and takes a picture of each, as WebP.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from runner.store.sqlite.sqlite_store import SqliteStore
from runner.windows import Window

ROOT = Path(__file__).resolve().parents[1]
RULES = (
    ("Curl or Wget to a Raw Address", "high", 73, "TA0011", "Command and Control", "T1105", "Ingress Tool Transfer",
     'process where event.type == "start" and process.name : ("curl", "wget") and process.args : "http*"'),
    ("Shell Started by a Scheduler", "low", 21, "TA0003", "Persistence", "T1053", "Scheduled Task/Job",
     'process where event.type == "start" and process.parent.name : "cron*" and process.name : ("sh", "bash")'),
    ("Account Discovery", "low", 21, "TA0007", "Discovery", "T1087", "Account Discovery",
     'process where event.type == "start" and process.name : ("whoami", "id", "w")'),
    ("Base64 in Arguments", "medium", 47, "TA0005", "Defense Evasion", "T1027", "Obfuscated Files or Information",
     'process where event.type == "start" and process.args : "*base64*"'),
)  # fmt: skip
RULE = """[metadata]
maturity = "production"

[rule]
description = "A rule of the pictures: {name}."
from = "now-9m"
index = ["logs-endpoint.events.*"]
language = "eql"
name = "{name}"
note = "## Triage\\n\\n- Look at the **process tree**, and at who started it."
risk_score = {risk}
rule_id = "picture-{technique}"
severity = "{severity}"
tags = ["OS: Linux", "Tactic: {tactic_name}"]
type = "eql"
query = '''{query}'''

[[rule.threat]]
framework = "MITRE ATT&CK"
[rule.threat.tactic]
id = "{tactic}"
name = "{tactic_name}"
reference = "https://attack.mitre.org/tactics/{tactic}/"
[[rule.threat.technique]]
id = "{technique}"
name = "{technique_name}"
reference = "https://attack.mitre.org/techniques/{technique}/"
"""


def runner(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "runner", *arguments]
    subprocess.run(command, cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNER_", "ELASTICSEARCH_"))}
    return kept | {"PYTHONPATH": str(ROOT), "RUNNER_ANALYST": "ann"}


def prepare(folder: Path) -> None:
    """Events, rules, and what a service would have found in them: some of it, so that there are gaps."""
    (folder / "rules").mkdir()
    for path in (ROOT / "rules" / "linux").glob("*.toml"):
        if not path.name.endswith(".test.toml"):
            shutil.copy(path, folder / "rules")
    keys = ("name", "severity", "risk", "tactic", "tactic_name", "technique", "technique_name", "query")
    for values in RULES:
        fields = dict(zip(keys, values, strict=True))
        (folder / "rules" / f"{fields['technique']}.toml").write_text(RULE.format(**fields))
    (folder / "events").mkdir()
    runner(folder, "sample", "--out", "events/live.ndjson", "--events", "20000", "--span", "4h", "--attacks", "14")
    runner(folder, "once", "--events", "events", "--rules", "rules", "--state", "state.db")
    runner(
        folder,
        "replay",
        "--events",
        "events",
        "--rules",
        "rules",
        "--state",
        "state.db",
        "--from",
        "now-4h",
        "--to",
        "now",
    )
    asyncio.run(leave_gaps(folder))
    noise = ["--rule", "Account Discovery", "--state", "state.db", "--yes"]
    runner(folder, "alerts", "close", "--host", "db-01", "--reason", "benign", "--note", "the nightly check", *noise)
    runner(folder, "alerts", "ack", "--host", "web-02", *noise)


async def leave_gaps(folder: Path) -> None:
    """Note runs of the last days of which some failed, so that the calendar has something to show."""
    store = SqliteStore(folder / "state.db")
    (source,) = [source for source in await store.sources() if source.kind]
    ledger = store.ledger(source)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for rule_id, state in (await ledger.read()).items():
        assert state.last is not None
        for hour in range(70, 0, -1):
            fails = hour in (50, 51, 52) or (hour in (20, 21) and rule_id.startswith("picture-T1"))
            window = Window(now - timedelta(hours=hour), now - timedelta(hours=hour - 1))
            status: Any = "failed" if fails else "succeeded"
            said = ("the events cannot be read: Input/output error",) if fails else ()
            run = replace(state.last, window=window, shown=None, started=window.end, status=status, messages=said)
            await ledger.record(replace(run, complete=not fails, execution_id=f"{rule_id}-{hour}"), state.fingerprint)
        await ledger.record(state.last, state.fingerprint)
    await store.close()


def take(page: Page, file: Path, width: int, height: int) -> None:
    """A picture of the page, small: the browser itself makes WebP."""
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    wanted = {"format": "webp", "quality": 72, "clip": clip, "captureBeyondViewport": True}
    taken = page.context.new_cdp_session(page).send("Page.captureScreenshot", wanted)
    file.write_bytes(base64.b64decode(taken["data"]))
    print(f"{file}: {file.stat().st_size:,} bytes")


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "web"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        picture(folder, target)


def picture(folder: Path, target: Path) -> None:
    """Serve the pages of what is in the folder, and take the pictures."""
    with sync_playwright() as playwright:
        serve = [sys.executable, "-m", "runner", "web", "--state", "state.db", "--rules", "rules", "--events", "events"]
        serve += ["--listen", "127.0.0.1:0"]
        with subprocess.Popen(serve, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            login = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+token=\S+", line)))
            base = login.partition("/login")[0]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for scheme, width in (("light", 1360), ("dark", 1360), ("light", 390)):
                page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(login)
                page.goto(f"{base}/alerts?rule=Potential Reverse Shell via Suspicious Child Process")
                one = page.locator("tr[data-row] td.rule a").first.get_attribute("href")
                host = page.locator("tr[data-row] a[href^='/host']").first.get_attribute("href")
                pages = {
                    "alerts": ("/alerts", 760),
                    "alert": (one, 1300),
                    "host": (host, 620),
                    "rules": ("/rules", 420),
                    "coverage": ("/coverage", 420),
                    "health": ("/health", 620),
                }
                names = {1360: {"light": list(pages), "dark": ["alerts", "alert"]}, 390: {"light": ["alert"]}}
                for shown in names[width][scheme]:
                    address, height = pages[shown]
                    page.goto(f"{base}{address}")
                    suffix = "-narrow" if width < 1000 else "-dark" if scheme == "dark" else ""
                    take(page, target / f"{shown}{suffix}.webp", width, 860 if width < 1000 else height)
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
