"""`rule-runner web`: the pages for a browser alone, beside whatever writes the alerts."""

from __future__ import annotations

import asyncio
import sys

from runner.cli.console import may_color, say
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths
from runner.cli.stop import on_signals
from runner.cli.web_wiring import pages_of
from runner.cli.wiring import opened_stores
from runner.errors import SettingsError
from runner.settings.settings import Settings
from runner.telemetry.http_server import HttpServer, split_address
from runner.telemetry.logs import configure_logging


def web(settings: Settings) -> ExitCode:
    """Serve the pages until a signal comes."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    require_rule_paths(settings)
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> ExitCode:
    pages = pages_of(settings)
    address = split_address(settings.listen)
    if pages is None or address is None:
        raise SettingsError("the pages are switched off: RUNNER_WEB is off, or RUNNER_LISTEN (--listen) is off")
    async with opened_stores(settings):  # a file that is not there, or that is no state, ends the command
        pages.show_token = True
    stopped = asyncio.Event()
    on_signals(stopped.set, code=ExitCode.FINE)
    server = HttpServer({}, pages.opening)
    try:
        try:
            port = server.start(*address)
        except SettingsError as error:
            raise SettingsError(f"{error}; --listen HOST:PORT names another address") from None
        pages.say_where(port)
        say("Ctrl-C ends it")
        await stopped.wait()
    finally:
        server.stop()
    return ExitCode.FINE
