"""The port at which a running service shows its metrics and its health."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Protocol

import orjson
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from runner.errors import SettingsError
from runner.settings.settings import Settings
from runner.telemetry.health import HealthReport, HealthState, liveness, readiness
from runner.telemetry.http_server import HttpAnswer, HttpServer, Pages, Route, split_address
from runner.telemetry.logs import Redactor
from runner.telemetry.metrics import Metrics, registry_of, rendered


class ServedPages(Protocol):
    """Pages for a browser, served at the same port."""

    @property
    def opening(self) -> AbstractAsyncContextManager[Pages]:
        """The pages, to be opened on the server's loop."""
        ...

    def say_where(self, port: int) -> None:
        """Say at which address they are and how to sign in."""
        ...


_LOG = structlog.get_logger("runner.monitoring")


@contextmanager
def listening(
    settings: Settings,
    metrics: Metrics,
    health: HealthState,
    *,
    patience: timedelta,
    now: Callable[[], datetime],
    more: Sequence[Collector] = (),
    pages: ServedPages | None = None,
) -> Iterator[None]:
    """Serve `/metrics`, `/healthz` and `/readyz` at RUNNER_LISTEN meanwhile, and the pages if there are some.

    `more` metrics are served with the others. Raises SettingsError if nothing can listen there; at the default address
    the service goes on without, with a warning.
    """
    address = split_address(settings.listen)
    if address is None:
        yield
        return
    registry = registry_of(metrics)
    for collector in more:
        registry.register(collector)
    opening = None if pages is None else pages.opening
    server = HttpServer(_routes(settings, registry, health, patience=patience, now=now), opening)
    host, port = address
    try:
        try:
            port = server.start(host, port)
        except SettingsError as error:
            if not settings.is_default("listen"):
                raise SettingsError(f"{error}; set RUNNER_LISTEN to another address, or to off") from None
            _LOG.warning(f"metrics and health are not served: {error}; RUNNER_LISTEN sets another address")
        else:
            _LOG.info(f"metrics and health at http://{f'[{host}]' if ':' in host else host}:{port}/metrics")
            if pages is not None:
                pages.say_where(port)
        yield
    finally:
        server.stop()


def _routes(
    settings: Settings,
    registry: CollectorRegistry,
    health: HealthState,
    *,
    patience: timedelta,
    now: Callable[[], datetime],
) -> dict[str, Route]:
    cleaned = Redactor(settings.secrets()).text

    def answer(report: HealthReport) -> HttpAnswer:
        status = HTTPStatus.OK if report.ok else HTTPStatus.SERVICE_UNAVAILABLE
        return HttpAnswer(orjson.dumps(report.as_json(cleaned)) + b"\n", "application/json", status)

    return {
        "/metrics": lambda accept: HttpAnswer(*rendered(registry, accept)),
        "/healthz": lambda accept: answer(liveness(health.snapshot, now(), patience)),
        "/readyz": lambda accept: answer(readiness(health.snapshot, now(), patience, quiet_after=settings.quiet_after)),
    }
