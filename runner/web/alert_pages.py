"""The pages of alerts: the table with its filters, counts and histogram; one alert; its raw document."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from runner.analyst.alert_lookup import with_blocks
from runner.analyst.alert_summary import summary
from runner.errors import RunnerError
from runner.json_text import deep_stack, write_json
from runner.messages.printable import escaped_json
from runner.store.alert_filter import STATUSES, AlertFilter
from runner.store.overview import OverviewRequest
from runner.store.protocol import StoredAlert
from runner.store.verdicts import REASONS
from runner.triage.same_event import also_seen_by
from runner.triage.triage import TriageView
from runner.web.charts import histogram
from runner.web.filters import GROUPS, PAGE_SIZES, SEVERITIES, read_query
from runner.web.host_events import about_text, around_alert
from runner.web.parts import PARTS, WebParts, page
from runner.web.process_tree import process_tree, with_children
from runner.windows import from_nanoseconds, iso

_MOST_FACETS: Final = 8
_MOST_GROUPS: Final = 500
_RELATED: Final = timedelta(days=1)
_MOST_RELATED: Final = 10
_LARGEST_DOCUMENT: Final = 200_000
"""Characters of the raw document that the page itself has."""


async def alerts_page(request: web.Request) -> web.Response:
    """The table of alerts that the address asks for."""
    parts = request.app[PARTS]
    query = read_query(list(request.query.items()), parts.now())
    most = _MOST_GROUPS if query.group else _MOST_FACETS
    start = (query.page - 1) * query.size
    found = await parts.stores.alerts.overview(
        OverviewRequest(query.wanted, start, 0 if query.group else query.size, most)
    )
    seen_by = also_seen_by(found.alerts)
    rows = [summary(alert, seen_by) | {"about": about_text(alert.document)} for alert in found.alerts]
    return page(
        request,
        "alerts.html",
        query=query,
        rows=rows,
        total=found.total,
        is_whole=found.is_whole,
        counts={name: values[:_MOST_FACETS] for name, values in found.counts.items()},
        groups=found.counts[query.group] if query.group else (),
        group_names=GROUPS,
        rule_names={one.value: one.label for one in found.counts["rule"]},
        chart=histogram(
            found.bins,
            lambda first, last: query.address(
                **{"from": iso(from_nanoseconds(first)), "to": iso(from_nanoseconds(last))}
            ),
        ),
        first=start + 1,
        last=start + len(rows),
        pages=max(1, -(-found.total // query.size)),
        severities=SEVERITIES,
        statuses=STATUSES,
        reasons=tuple(REASONS),
        sizes=PAGE_SIZES,
    )


async def alert_page(request: web.Request) -> web.Response:
    """One alert, prepared for an analyst."""
    parts = request.app[PARTS]
    head, blocks = await _found(request)
    view = await _view(parts, head, blocks)
    related = await related_alerts(request, head, view)
    document = await asyncio.to_thread(document_text, head, blocks)
    return page(
        request,
        "alert.html",
        view=view,
        row=summary(head),
        tree=process_tree(view.processes),
        related=related,
        document=document[:_LARGEST_DOCUMENT],
        document_size=len(document),
        reasons=tuple(REASONS),
    )


async def around_page(request: web.Request) -> web.Response:
    """What the host did around the time of an alert."""
    parts = request.app[PARTS]
    head, blocks = await _found(request)
    view = await _view(parts, head, blocks, lookup=True)
    async with parts.lookup(head.document) as found:
        around = await around_alert(found, view)
    tree = process_tree(view.processes)
    is_whole = with_children(tree, around.events)
    return page(request, "around.html", view=view, row=summary(head), around=around, tree=tree, is_whole_tree=is_whole)


async def document_page(request: web.Request) -> web.Response:
    """The stored document, with its building blocks, as a file."""
    head, blocks = await _found(request)
    text = await asyncio.to_thread(document_text, head, blocks)
    headers = {"Content-Disposition": f'attachment; filename="alert-{head.id[:12]}.json"'}
    if not head.id.isalnum():
        headers["Content-Disposition"] = 'attachment; filename="alert.json"'
    return web.Response(text=text, content_type="application/json", headers=headers)


async def _found(request: web.Request) -> tuple[StoredAlert, Sequence[StoredAlert]]:
    """The alert that the address names, with its building blocks. Raises HTTPNotFound."""
    try:
        return await with_blocks(request.app[PARTS].stores.alerts, request.match_info["id"])
    except RunnerError as error:
        if type(error) is not RunnerError:  # the store cannot be read
            raise
        raise web.HTTPNotFound(text=str(error)) from None


async def _view(
    parts: WebParts, head: StoredAlert, blocks: Sequence[StoredAlert], *, lookup: bool = False
) -> TriageView:
    with deep_stack():
        return await parts.view(head, blocks, lookup=lookup)


def document_text(head: StoredAlert, blocks: Sequence[StoredAlert]) -> str:
    """The documents of an alert as indented JSON in which every character is seen."""
    whole: Any = head.document
    if blocks:
        whole = {"alert": head.document, "building_blocks": [block.document for block in blocks]}
    return escaped_json(write_json(whole, indented=True, default=str).decode())


async def related_alerts(request: web.Request, head: StoredAlert, view: TriageView) -> list[tuple[str, Any]]:
    """Other alerts by what they have in common with this one: the host around that time, the user, the rule."""
    alerts = request.app[PARTS].stores.alerts
    times = [event.time for event in view.events if event.time is not None]
    span: dict[str, Any] = {}
    if times:
        span = {"event_since": min(times) - _RELATED, "event_until": max(times) + _RELATED}
    hosts, users = ([one.name or one.id for one in named[:2]] for named in (view.hosts, view.users))
    wanted = [(f"on {host}", AlertFilter(host=host, **span)) for host in hosts]
    wanted += [(f"of {user}", AlertFilter(user=user, **span)) for user in users]
    wanted.append((f"of the rule {view.rule_name}", AlertFilter(rule_id=view.rule_id, **span)))
    found: list[tuple[str, Any]] = []
    seen = {head.id}
    for title, one in wanted:
        overview = await alerts.overview(OverviewRequest(one, 0, _MOST_RELATED + 1, 0))
        rows = [summary(alert) for alert in overview.alerts if alert.id not in seen][:_MOST_RELATED]
        seen |= {row["id"] for row in rows}
        if rows:
            found.append((f"{title}, a day before and after" if span else title, rows))
    return found
