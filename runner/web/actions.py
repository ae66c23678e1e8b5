"""What is changed from the pages: verdicts on alerts, and exceptions made of them; the same as on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from multidict import MultiMapping

from runner.analyst.alert_exception import (
    ExceptionDraft,
    ExceptOptions,
    close_hits,
    draft_exception,
    telling_fields,
    write_draft,
)
from runner.analyst.alert_lookup import only
from runner.analyst.alert_summary import summary
from runner.analyst.decisions import DONE, author, found_alerts, named_alerts, problems_of, reason_named
from runner.errors import RunnerError, SettingsError
from runner.messages.quantities import counted
from runner.store.changes import UpdateResult
from runner.store.protocol import StoredAlert
from runner.store.verdicts import (
    Decision,
    WorkflowStatus,
    assign_decision,
    decide,
    note_decision,
    status_decision,
    tag_decision,
)
from runner.web.filters import read_query
from runner.web.parts import PARTS, own_address, page, signed_session

_STATUSES: Final[Mapping[str, WorkflowStatus]] = {"acknowledge": "acknowledged", "close": "closed", "reopen": "open"}
_MOST_IDS: Final = 1_000
_MOST_FOUND: Final = 10_000
"""Alerts that the filters may find for a decision about all of them: a change of more would outlast the request."""
_MOST_COMPARED: Final = 1_000
"""Alerts of a rule that the fields of a proposed exception are compared with, the newest."""
_MOST_SHOWN: Final = 50
_LONGEST: Final = 4_000
"""Characters of a note, tag or name."""
EXPIRIES: Final = (("30d", "in 30 days"), ("90d", "in 90 days"), ("365d", "in a year"), ("never", "never"))

Form = MultiMapping[str]


async def change_alerts(request: web.Request) -> web.Response:
    """Apply a decision to the alerts that were selected, or to all that the filters find; then back to the page."""
    parts, session = request.app[PARTS], signed_session(request)
    form = await texts_of(request)
    back = back_to(form)
    try:
        decision, done = _decision(request, form)
        alerts = await _chosen(request, form)
        result = await decide(parts.stores.alerts, alerts, decision)
    except SettingsError as error:
        session.flash("failed", str(error))
        raise web.HTTPSeeOther(back) from None
    _tell(request, result, done)
    raise web.HTTPSeeOther(back)


def _decision(request: web.Request, form: Form) -> tuple[Decision, str]:
    """What was decided, and what is said when it is done. Raises SettingsError."""
    action, note = form.get("action", ""), form.get("note", "").strip()
    signed = author(request.app[PARTS].settings, signed_session(request).analyst)
    if action in _STATUSES:
        reason = form.get("reason", "")
        status = _STATUSES[action]
        kibanas = reason_named(reason) if reason and status != "open" else None
        return status_decision(status, signed, reason=kibanas, note=note or None), DONE[status]
    if action == "note":
        return note_decision(note, signed), "noted"
    if action == "assign":
        names = _listed(form, "assignee")
        shown = ", ".join(filter(None, names)) or "no one"
        return assign_decision(names), f"assigned to {shown}"
    if action == "tag":
        added, removed = _listed(form, "add_tags"), _listed(form, "remove_tags")
        if not added and not removed:
            raise SettingsError("name a tag to add, or one to take away")
        if both := sorted({*added} & {*removed}):
            raise SettingsError(f"{both[0]!r} is to be added and to be taken away")
        return tag_decision(added, removed), "tagged anew"
    raise SettingsError("choose what is to be done")


def _listed(form: Form, name: str) -> list[str]:
    """The parts of a field between commas."""
    return [part.strip() for part in form.get(name, "").split(",") if part.strip()]


async def _chosen(request: web.Request, form: Form) -> list[StoredAlert]:
    """The alerts that the form is about. Raises SettingsError if they are not those that its reader has seen."""
    parts = request.app[PARTS]
    if form.get("scope") == "all":
        query = read_query(parse_qsl(urlsplit(back_to(form)).query), parts.now())
        found = await found_alerts(parts.stores.alerts, replace(query.wanted, limit=_MOST_FOUND + 1))
        if len(found) > _MOST_FOUND:
            raise SettingsError(
                f"more than {_MOST_FOUND:,} alerts are too many at once: narrow the filters, or use the command line"
            )
        if form.get("expected", "") != str(len(found)):
            raise SettingsError(f"{counted(len(found), 'alert')} found by now, nothing was changed: look at them again")
        return found
    ids = list(dict.fromkeys(form.getall("id", [])))
    if not ids:
        raise SettingsError("select alerts first")
    if len(ids) > _MOST_IDS:
        raise SettingsError(f"{len(ids):,} alerts are too many at once, expected {_MOST_IDS:,} at most")
    return await named_alerts(parts.stores.alerts, ids)


def _tell(request: web.Request, result: UpdateResult, done: str) -> None:
    session, cleaned = signed_session(request), request.app[PARTS].cleaned
    same = f", {len(result.unchanged):,} were so already" if result.unchanged else ""
    session.flash("done", f"{counted(len(result.changed), 'alert')} {done}{same}.")
    for id_, why in sorted(problems_of(result).items()):
        session.flash("failed", cleaned(f"alert {id_[:12]} was not changed: {why}"))


async def except_page(request: web.Request) -> web.Response:
    """The form for an exception: the fields that tell, with how many alerts share their values."""
    parts = request.app[PARTS]
    alert = await only(parts.stores.alerts, request.match_info["id"])
    return await _except_form(request, alert, {}, problem="")


async def make_exception(request: web.Request) -> web.Response:
    """The preview of an exception; if that was seen, the exception is written and the page of the alert comes again."""
    parts, session = request.app[PARTS], signed_session(request)
    form = await texts_of(request)
    alert = await only(parts.stores.alerts, request.match_info["id"])
    given = {name: form.get(name, "") for name in ("reason", "expires", "name", "scope")}
    given["all_rules"] = "on" if form.get("all_rules") else ""
    fields = tuple(name.strip() for name in form.getall("field", []) if name.strip())
    options = ExceptOptions(
        fields,
        given["reason"],
        given["expires"] or None,
        given["name"].strip() or None,
        bool(given["all_rules"]),
        "alert" if given["scope"] == "alert" else "event",
    )
    try:
        if not fields:
            raise SettingsError("choose at least one field")
        draft = await draft_exception(parts.settings, parts.stores, alert, options, now=parts.now())
        if form.get("step") != "write":
            return await _except_form(request, alert, given, problem="", draft=draft, fields=fields)
        write_draft(draft)
    except RunnerError as error:
        problem = parts.cleaned(str(error))
        return await _except_form(request, alert, given, problem=problem, fields=fields)
    session.flash("done", f"the exception was added to {draft.path}; it counts from the next run on")
    if form.get("close"):
        _tell(request, await close_hits(parts.settings, parts.stores, draft), "closed as false positives")
    raise web.HTTPSeeOther(request.path.removesuffix("/except"))


async def _except_form(
    request: web.Request,
    alert: StoredAlert,
    given: dict[str, str],
    *,
    problem: str,
    draft: ExceptionDraft | None = None,
    fields: Sequence[str] = (),
) -> web.Response:
    rows, compared = await telling_fields(request.app[PARTS].stores, alert, most=_MOST_COMPARED)
    hits = () if draft is None else draft.hits
    return page(
        request,
        "except.html",
        row=summary(alert),
        rows=rows,
        compared=compared,
        chosen=set(fields),
        given={"reason": "", "expires": "90d", "name": "", "scope": "event", "all_rules": ""} | given,
        expiries=EXPIRIES,
        problem=problem,
        draft=draft,
        text="" if draft is None else draft.new.text(),
        hits=[summary(one) for one in hits[:_MOST_SHOWN]],
        hit_count=len(hits),
        others=sum(one.id != alert.id for one in hits),
    )


async def texts_of(request: web.Request) -> Form:
    """The fields of the form. Raises HTTPBadRequest for files and for texts that are too long."""
    form = await request.post()
    for name, value in form.items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise web.HTTPBadRequest(text=f"{name[:40]}: expected a text of up to {_LONGEST:,} characters")
    return form  # type: ignore[return-value]


def back_to(form: Form) -> str:
    """The page of ours that a form came from."""
    return own_address(form.get("back", ""))
