"""Whether Kibana answers, where one is set."""

from __future__ import annotations

from runner.doctor.checks import Check, ok
from runner.errors import RunnerError
from runner.kibana import Kibana


async def look_at_kibana(kibana: Kibana, address: str) -> list[Check]:
    """Its version, or why that could not be read. Searching and writing alerts do without Kibana."""
    try:
        version = await kibana.check_version()
    except RunnerError as error:
        remedy = "correct KIBANA_HOST (or KIBANA_URL); only `setup` and the links in alerts need it"
        return [Check("kibana", address, "warning", str(error), remedy)]
    return [ok("kibana", address, f"Kibana {version} answers" if version else "answers, without saying its version")]
