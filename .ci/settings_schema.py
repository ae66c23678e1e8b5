"""Writes the JSON schema of config files, from the settings and what .env.example says of them.

    python .ci/settings_schema.py

A test compares the file with what would be written now.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from runner.settings.schema import SCHEMA_FILE, settings_schema

ENV_EXAMPLE = Path(__file__).resolve().parents[1] / ".env.example"
_VARIABLE = re.compile(r"#?([A-Z][A-Z0-9_]+)=")


def descriptions(text: str) -> dict[str, str]:
    """What the comment above each variable says, without what is for docker compose alone."""
    found: dict[str, str] = {}
    comment: list[str] = []
    after_variable = False
    for line in text.splitlines():
        if variable := _VARIABLE.match(line):
            found[variable[1]] = " ".join(comment)
            after_variable = True
        elif line.startswith("# ") and not line.startswith("# ---"):
            comment = [] if after_variable else comment
            comment.append(line.removeprefix("# ").strip())
            after_variable = False
        else:
            comment, after_variable = [], False
    return found


def schema_text() -> str:
    return json.dumps(settings_schema(descriptions(ENV_EXAMPLE.read_text())), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text())
    print(f"wrote {SCHEMA_FILE}")
