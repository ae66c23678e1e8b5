"""Every command with its arguments and its help: the command line on one page.

What a command does stands in the module of its group, imported when the command is called and not before: so
`--version`, `--help` and a wrong option are answered at once, and no command waits for what only another one needs.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from runner.cli import options, signals
from runner.cli.options import read_moment, read_settings


def run(
    events: options.EventsOption = None,
    indicators: options.IndicatorsOption = None,
    unwrap: options.UnwrapOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    state: options.StateOption = None,
    tick: Annotated[str | None, Option(metavar="TIME", help="How often to look for what is due, e.g. 10s.")] = None,
    on_cap: options.OnCapOption = None,
    listen: options.ListenOption = None,
    notifications: options.NotificationsOption = None,
    alerts_to: options.AlertsToOption = None,
) -> int:
    """The service: every rule on its schedule, until SIGTERM or Ctrl-C; SIGHUP reads rules and settings again."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it ends no service, also not one that is about to start
    signals.install(code=0)
    flags = {
        "events": events, "indicators": indicators, "unwrap": unwrap, "state": state, "tick": tick, "on_cap": on_cap,
        "listen": listen, "notifications": notifications, "alerts_to": alerts_to,
    } | options.rule_flags(rules, exceptions, overrides, select)  # fmt: skip
    settings = read_settings(**flags)
    from runner.cli.commands import run

    return run.run(settings, lambda: read_settings(**flags))


def web(
    events: options.EventsOption = None,
    unwrap: options.UnwrapOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    state: options.StateOption = None,
    listen: Annotated[
        str | None, Option("--listen", metavar="HOST:PORT", help="Where to serve the pages; default: 127.0.0.1:9722.")
    ] = None,
    read_only: Annotated[bool, Option("--read-only", help="Nothing can be changed from the pages.")] = False,
) -> int:
    """Pages for a browser: alerts with their events, hosts, rules, coverage and health, until Ctrl-C.

    `run` serves the same pages beside its metrics. --events only says where the events around an alert are looked up.
    """
    signals.install(code=0)
    settings = read_settings(
        events=events,
        unwrap=unwrap,
        **options.rule_flags(rules, exceptions, overrides, select),
        state=state,
        listen=listen,
        web="read-only" if read_only else None,
    )
    from runner.cli.commands import web

    return web.web(settings)


def once(
    events: options.EventsOption = None,
    indicators: options.IndicatorsOption = None,
    unwrap: options.UnwrapOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    state: options.StateOption = None,
    now: options.NowOption = None,
    rule: options.OnlyRuleOption = None,
    force: Annotated[
        bool, Option("--force", help="Search each rule's window as of now, though its interval has not passed yet.")
    ] = False,
    on_cap: options.OnCapOption = None,
    workers: options.WorkersOption = None,
    listen: options.ListenOption = None,
    notifications: options.NotificationsOption = None,
    alerts_to: options.AlertsToOption = None,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="For cron: print nothing unless there is a new alert or a problem.")
    ] = False,
    everything: options.AllOption = False,
    output: options.OutputOption = None,
) -> int:
    """One run of every due rule, then exit: for cron, for CI and for a first look."""
    rules, rule = options.rule_files(rules, rule)
    settings = read_settings(
        events=events,
        indicators=indicators,
        unwrap=unwrap,
        **options.rule_flags(rules, exceptions, overrides, select),
        state=state,
        now=now,
        on_cap=on_cap,
        workers=workers,
        listen=listen,
        notifications=notifications,
        alerts_to=alerts_to,
        output=output,
    )
    from runner.cli.commands import once

    chosen = once.OnceOptions(tuple(rule or ()), force, is_quiet=quiet, everything=everything)
    if listen is not None:  # and not for RUNNER_LISTEN, which is for the service beside it
        from runner.cli.commands import once_metrics

        return once_metrics.once(settings, chosen)
    return once.once(settings, options=chosen)


def replay(
    events: options.EventsOption = None,
    indicators: options.IndicatorsOption = None,
    unwrap: options.UnwrapOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    state: options.StateOption = None,
    start: Annotated[
        str | None, Option("--from", metavar="TIME", help="Where the span begins: 7d, yesterday, 2026-03-02 10:00.")
    ] = None,
    end: Annotated[str | None, Option("--to", metavar="TIME", help="Where it ends.")] = None,
    rule: options.OnlyRuleOption = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Write nothing; show what would be found.")] = False,
    restart: Annotated[bool, Option("--restart", help="Begin anew where an interrupted replay would go on.")] = False,
    report: Annotated[
        str | None, Option("--report", metavar="FILE", help="Write a report on the alerts: .html, .md, .csv, .json.")
    ] = None,
    on_cap: options.OnCapOption = None,
    workers: options.WorkersOption = None,
    output: options.OutputOption = None,
) -> int:
    """Search a past span, window by window, as a service would have; of files all of their time, if none is named.

    One that was interrupted goes on where it was when it is called with the same events, rules and span again. What is
    searched counts as searched: it closes gaps that are older than RUNNER_CATCH_UP.
    """
    rules, rule = options.rule_files(rules, rule)
    settings = read_settings(
        events=events,
        indicators=indicators,
        unwrap=unwrap,
        **options.rule_flags(rules, exceptions, overrides, select),
        state=state,
        on_cap=on_cap,
        workers=workers,
        output=output,
    )
    from runner.cli.commands import replay

    wanted = replay.ReplayOptions(
        read_moment(start, "--from"), read_moment(end, "--to"), tuple(rule or ()), dry_run, restart, report
    )
    return replay.replay_span(settings, wanted)


def check(
    paths: Annotated[
        list[str] | None, Argument(metavar="[PATH]...", help="Rule files or folders; default: `--rules`.")
    ] = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    strict: Annotated[bool, Option("--strict", help="Warnings fail, too: exit code 1.")] = False,
    form: Annotated[
        str | None,
        Option("--format", metavar="text|json|junit|sarif|github|gitlab", help="How to print the findings."),
    ] = None,
    mapping: Annotated[
        Path | None,
        Option(metavar="FILE", help="Own fields beside the shipped ones: a mapping or answer of _field_caps (JSON)."),
    ] = None,
    from_cluster: Annotated[
        bool, Option("--from-cluster", help="Check the fields against those of each rule's indices in the cluster.")
    ] = False,
    show_allowed: Annotated[
        bool, Option("--show-allowed", help="Also print the findings that are allowed (docs/checks.md).")
    ] = False,
    output: options.OutputOption = None,
) -> int:
    """Load and compile rules; print every finding with its place. Exit code 1 if there is an error."""
    paths = [*(paths or ()), *(rules or ())] or None
    settings = read_settings(**options.rule_flags(paths, exceptions, overrides, select), output=output)
    from runner.cli.commands import check

    wanted = check.CheckOptions(strict, form, mapping, from_cluster, show_allowed)
    return check.check(settings, wanted)


def new(
    name: Annotated[str, Argument(metavar="NAME", help='The name of the rule, such as "Shell from a web server".')],
    kind: Annotated[
        str, Option("--type", metavar="TYPE", help="eql, query, threshold, new_terms, threat_match or esql.")
    ] = "eql",
    from_event: Annotated[
        Path | None, Option("--from-event", metavar="FILE", help="An event (JSON) that the rule is to find.")
    ] = None,
    folder: Annotated[
        Path | None, Option("--folder", metavar="DIR", help="Where to write it; default: the folder of the rules.")
    ] = None,
    rules: options.RulesOption = None,
) -> int:
    """Write a new rule with its test, both to be edited; files that are there are not written over."""
    settings = read_settings(rules=rules)
    from runner.cli.commands import new_rule

    return new_rule.new(settings, name, kind, event=from_event, folder=folder)


def test(
    paths: Annotated[
        list[str] | None, Argument(metavar="[PATH]...", help="Test files, rule files or folders; default: --rules.")
    ] = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    junit: Annotated[Path | None, Option(metavar="FILE", help="Write the outcomes as JUnit XML, too.")] = None,
    require_tests: Annotated[
        bool, Option("--require-tests", help="A rule without a test counts as a failure.")
    ] = False,
    explain: Annotated[
        bool, Option("--explain", help="Of missing alerts: each event at its stage, condition by condition.")
    ] = False,
    output: options.OutputOption = None,
) -> int:
    """Run the tests of rules: events and the alerts expected of them, in NAME.test.toml beside NAME.toml."""
    paths = [*(paths or ()), *(rules or ())] or None
    settings = read_settings(**options.rule_flags(paths, exceptions, overrides, select), output=output)
    from runner.cli.commands import test

    return test.test(settings, junit=junit, require_tests=require_tests, explain=explain)


def search(
    query: Annotated[
        str | None,
        Argument(metavar="[QUERY]", help="The query, or @FILE to read it from a file; @-: standard input."),
    ] = None,
    events: options.EventsOption = None,
    unwrap: options.UnwrapOption = None,
    language: Annotated[str, Option(metavar="eql|kuery|lucene", help="The query's language; kql is kuery.")] = "eql",
    rule: Annotated[
        str | None,
        Option("--rule", metavar="ID|NAME|FILE", help="Instead of QUERY: that of a rule, with its exceptions."),
    ] = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    index: Annotated[
        str, Option(metavar="INDEX", help="Index pattern to search in a cluster.")
    ] = "logs-endpoint.events.*",
    size: Annotated[int, Option(metavar="N", help="How many matches to return at most.")] = 10,
    result_position: Annotated[str, Option(metavar="head|tail", help="The first or the last matches.")] = "tail",
    event_category_field: Annotated[
        str, Option(metavar="FIELD", help="The field that `process where` asks.")
    ] = "event.category",
    timestamp_field: Annotated[str, Option(metavar="FIELD", help="The field that orders events.")] = "@timestamp",
    tiebreaker_field: Annotated[
        str | None, Option(metavar="FIELD", help="The field that orders events of the same time.")
    ] = None,
    mapping: Annotated[
        Path | None, Option(metavar="FILE", help="An Elasticsearch mapping (JSON) for the events.")
    ] = None,
    max_samples_per_key: Annotated[
        int, Option(metavar="N", help="How many samples of the same keys to return at most.")
    ] = 1,
    fetch_size: Annotated[int, Option(metavar="N", help="Page size in a cluster; changes no answer.")] = 1000,
    allow_partial_search_results: Annotated[
        bool, Option("--allow-partial-search-results", help="In a cluster: answer although shards failed.")
    ] = False,
    allow_partial_sequence_results: Annotated[
        bool, Option("--allow-partial-sequence-results", help="The same for sequences.")
    ] = False,
    explain: Annotated[
        bool, Option("--explain", help="On files: print how the query was read and how far the events got, instead.")
    ] = False,
    event: Annotated[
        list[str] | None,
        Option(
            metavar="ID_OR_LINE",
            help="With --explain: why this event (event.id, _id, line or FILE:LINE) matches or not. "
            "May be repeated: the events of a sequence in stage order.",
        ),
    ] = None,
    explain_format: Annotated[str, Option(metavar="text|json", help="How to print the explanation.")] = "text",
    columns: Annotated[
        str | None,
        Option(metavar="FIELD,...", help="A table with these fields in place of JSON; `usual`: those of the category."),
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", metavar="table|json", help="table: as with --columns usual.")
    ] = None,
) -> int:
    """Run one query over files, or in a cluster; prints the JSON that `_eql/search`, or `_search`, answers."""
    rules, _ = options.rule_files(rules, None if rule is None else [rule])
    settings = read_settings(events=events, unwrap=unwrap, rules=rules, exceptions=exceptions)
    from runner.cli.commands import search, text_search
    from runner.cli.commands.asked_query import asked_query, table_columns
    from runner.eql import SearchOptions

    chosen = SearchOptions(
        size=size,
        fetch_size=fetch_size,
        result_position=result_position,
        event_category_field=event_category_field,
        timestamp_field=timestamp_field,
        tiebreaker_field=tiebreaker_field,
        max_samples_per_key=max_samples_per_key,
        allow_partial_search_results=allow_partial_search_results,
        allow_partial_sequence_results=allow_partial_sequence_results,
    )
    written = text_search.language_named(language)
    wanted = table_columns(columns, output)
    asked = asked_query(settings, query, rule, chosen, index=index, language=written).with_columns(wanted)
    if explain or event:
        from runner.cli.commands.explain import explain_search

        return explain_search(settings, asked, mapping=mapping, references=event or (), form=explain_format)
    if asked.language != "eql":
        return text_search.search(settings, asked, mapping=mapping)
    return search.search(settings, asked, mapping=mapping)


def status(
    events: options.EventsOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    state: options.StateOption = None,
    output: options.OutputOption = None,
    check: Annotated[
        bool,
        Option(
            "--check",
            help="For health checks: print nothing and exit 0 if `run` works with these settings on this machine, "
            "else say why and exit 1.",
        ),
    ] = False,
    gaps: Annotated[
        bool, Option("--gaps", help="Instead: every span that was not searched to the end, and why.")
    ] = False,
    everything: options.AllOption = False,
) -> int:
    """Per rule: the last window, its outcome and counts, how far it was searched, and what is owed."""
    settings = read_settings(
        events=events, **options.rule_flags(rules, exceptions, overrides, select), state=state, output=output
    )
    if check:
        from runner.cli.commands import health_check

        return health_check.check(settings)
    from runner.cli.commands import status

    return status.gaps(settings) if gaps else status.status(settings, everything=everything)


def doctor(
    events: options.EventsOption = None,
    unwrap: options.UnwrapOption = None,
    rules: options.RulesOption = None,
    exceptions: options.ExceptionsOption = None,
    overrides: options.OverridesOption = None,
    select: options.SelectOption = None,
    output: options.OutputOption = None,
) -> int:
    """Look at everything and change nothing: hosts, privileges, indices, fields; what is missing for which rule."""
    settings = read_settings(
        events=events, unwrap=unwrap, **options.rule_flags(rules, exceptions, overrides, select), output=output
    )
    from runner.cli.commands import doctor

    return doctor.doctor(settings)


def setup(
    print_only: Annotated[
        bool, Option("--print", help="Print what would be created, as JSON, and change nothing.")
    ] = False,
    roles: Annotated[bool, Option("--roles/--no-roles", help="Create the runner's roles, too.")] = False,
    api_key: Annotated[
        str | None,
        Option(metavar="FILE", help="Make an API key with just what the runner needs, and write it to FILE or to - ."),
    ] = None,
    kibana: Annotated[
        bool, Option("--kibana/--no-kibana", help="Where Kibana is set, install data views, search and dashboard.")
    ] = True,
    replace_kibana_objects: Annotated[
        bool, Option("--replace-kibana-objects", help="Put ours in the place of those that were edited there.")
    ] = False,
    kibana_objects: Annotated[
        str | None,
        Option(
            metavar="FILE", help="Instead: write the objects for Kibana as NDJSON, or to - , to import them by hand."
        ),
    ] = None,
    alerts_as: options.AlertsAsOption = None,
    rules: options.RulesOption = None,
) -> int:
    """Create index templates, the alerts index with its alias, state indices, Kibana objects; safe to repeat."""
    settings = read_settings(rules=rules, alerts_as=alerts_as)
    from runner.cli.commands import setup

    if print_only:
        return setup.print_objects(settings)
    if kibana_objects is not None:
        return setup.write_kibana_objects(settings, kibana_objects)
    return setup.install(settings, roles=roles, api_key=api_key, kibana=kibana, replace=replace_kibana_objects)


def sample(
    out: Annotated[
        str | None, Option(metavar="FILE", help="Where to write the events (.gz and .zst are compressed), or -.")
    ] = None,
    to_cluster: Annotated[
        bool, Option("--to-cluster", help="Write them to data streams of the cluster that is set, instead.")
    ] = False,
    namespace: Annotated[str, Option(metavar="NAME", help="The namespace of these data streams.")] = "default",
    append: Annotated[bool, Option("--append", help="Also to data streams that have documents.")] = False,
    events: Annotated[int, Option(metavar="N", help="How many events.")] = 20_000,
    attacks: Annotated[
        int,
        Option(metavar="K", help="How many reverse shells to plant; beside them one incident for each example rule."),
    ] = 6,
    seed: Annotated[int, Option(metavar="N", help="The same seed, numbers and --end give the same bytes.")] = 1,
    truth: Annotated[Path | None, Option(metavar="FILE", help="Where to list what was planted.")] = None,
    end: Annotated[
        str, Option(metavar="TIME", help="The time of the newest event: now, 2h ago, 2026-03-02 10:00.")
    ] = "now",
    span: Annotated[
        str | None, Option(metavar="TIME", help="The time from the first event to the last, e.g. 8m.")
    ] = None,
    near_misses: Annotated[
        int | None, Option(metavar="N", help="How many near misses; default: as many as attacks.")
    ] = None,
    rule: Annotated[str | None, Option(metavar="RULE_ID", help="Plant attacks for this shipped rule only.")] = None,
    hits: Annotated[
        bool, Option("--hits", help="Write search hits (_index, _id, _source) instead of documents.")
    ] = False,
) -> int:
    """Write realistic Elastic Defend events with planted attacks and near misses."""
    from runner.cli.commands import sample

    planted: dict[str, Any] = {
        "attacks": attacks,
        "seed": seed,
        "truth": truth,
        "near_misses": near_misses,
        "rule": rule,
        "hits": hits,
    }
    planted["examples"] = True
    if to_cluster:
        from runner.cli.commands import cluster_sample

        return cluster_sample.sample_to_cluster(
            read_settings(), events, end=end, span=span, out=out, namespace=namespace, append=append, **planted
        )
    return sample.sample(out, events, end=end, span=span, **planted)
