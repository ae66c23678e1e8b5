"""The places that the settings name: the cluster, the rules, Kibana's objects, the service's heartbeat."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from runner.errors import SettingsError
from runner.messages.suggestions import near_name
from runner.rules.load import EventPlace, LoadedRules
from runner.selection import OFF
from runner.service.rules_in_use import RuleSources
from runner.settings.settings import Settings, flag_for
from runner.setup.saved_objects import KibanaNames
from runner.store.source import UNNAMED, EventSource

NO_SOURCE = (
    "no events to search: name files or folders with --events (or RUNNER_EVENTS), or a cluster with "
    "ELASTICSEARCH_HOSTS; `rule-runner sample --out events.ndjson` makes some events to try"
)


def has_cluster(settings: Settings) -> bool:
    """Whether a cluster is configured."""
    return bool(settings.elasticsearch_hosts or settings.elasticsearch_cloud_id)


def stores_in_cluster(settings: Settings) -> bool:
    """Whether alerts and state are stored in the cluster: if there is one, and no `--state` on the command line."""
    return has_cluster(settings) and not settings.is_flag("state")


def alerts_place(settings: Settings) -> str:
    """Where alerts are written to, as text."""
    if not stores_in_cluster(settings):
        return str(settings.state)
    unused = "" if settings.is_default("state") else f"; RUNNER_STATE={settings.state} is for runs without a cluster"
    return f"{settings.alerts_alias} in Elasticsearch at {cluster_address(settings)}{unused}"


def cluster_address(settings: Settings) -> str:
    """The addresses of the cluster, without a password that may stand in them."""
    return ", ".join(map(_without_login, settings.elasticsearch_hosts)) or "Elastic Cloud"


def _without_login(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def wanted_source(settings: Settings) -> EventSource | None:
    """The source that the settings name, as far as it is known without asking a cluster; None if they name none."""
    if settings.events:
        return file_source(settings, is_live=False)
    if stores_in_cluster(settings):
        return UNNAMED
    if not has_cluster(settings):
        return None
    return EventSource("cluster", settings.elasticsearch_hosts)


def file_source(settings: Settings, *, is_live: bool) -> EventSource:
    """The files and folders that the settings name; with `is_live` they are expected to grow.

    They go by their names, so that a folder that is emptied, made anew or mounted again stays the same source. Where
    runners on several machines share the state, the files are those of this machine.
    """
    paths = ("-" if name == "-" else os.path.abspath(name) for name in settings.events)  # noqa: PTH100 - `..`, too
    names = tuple(os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths)
    place = (settings.instance or socket.gethostname()) if stores_in_cluster(settings) else ""
    is_lasting = is_live or all(Path(name).is_dir() for name in settings.events)
    return EventSource("files", names, place, is_lasting)


def kibana_names(settings: Settings) -> KibanaNames:
    """The space and index names of the objects in Kibana."""
    return KibanaNames(
        space=settings.space, alerts=settings.alerts_alias, runs=settings.runs_index, alerts_as=settings.alerts_as
    )


def _no_overrides(path: Path) -> str:
    if path.exists():
        return f"{path}: is {'a folder' if path.is_dir() else 'no regular file'}, expected a file of overrides"
    return f"{path}: no such file of overrides{_near(path)}"


def require_rule_paths(settings: Settings) -> None:
    """Raise SettingsError for all paths of rules and what goes with them that do not exist, each with a near name."""
    missing = [path for path in settings.rules if not path.exists() and not path.is_symlink()]
    absent = [path for path in settings.exceptions if not path.exists() and not path.is_symlink()]
    if absent:
        raise SettingsError("; ".join(f"{path}: no such file or folder of exceptions{_near(path)}" for path in absent))
    unfound = [path for path in settings.overrides if path != OFF and not path.is_file()]
    if unfound:
        raise SettingsError("; ".join(map(_no_overrides, unfound)))
    if not missing:
        return
    if settings.is_default("rules"):
        raise SettingsError(f"no rules: there is no folder {missing[0]}; name rule files or folders with --rules")
    raise SettingsError("; ".join(f"{path}: no such file or folder{_near(path)}" for path in missing))


def rule_sources(settings: Settings) -> RuleSources:
    """The files and folders that rules, exceptions and overrides are read from."""
    place: EventPlace | None = "files" if settings.events else "cluster" if has_cluster(settings) else None
    return RuleSources(settings.rules, settings.exceptions, settings.overrides, settings.select, place=place)


def require_indicators(settings: Settings) -> None:
    """Raise SettingsError for files of indicators that do not exist."""
    absent = [path for path in map(Path, settings.indicators) if not path.exists()]
    if absent:
        raise SettingsError("; ".join(f"{path}: no such file or folder of indicators{_near(path)}" for path in absent))


def require_exceptions(settings: Settings, paths: Sequence[Path]) -> tuple[Path, ...]:
    """The paths of exceptions, those in force if none are named. Raises SettingsError for those that do not exist."""
    absent = [path for path in paths if not path.exists() and not path.is_symlink()]
    if absent:
        raise SettingsError("; ".join(f"{path}: no such file or folder of exceptions{_near(path)}" for path in absent))
    return tuple(paths) or rule_sources(settings).exception_paths()


def require_rules(loaded: LoadedRules, settings: Settings) -> None:
    """Raise SettingsError if there is no rule at all, not even one with an error."""
    if loaded.known or loaded.errors:
        return
    places = ", ".join(map(str, settings.rules))
    found = "".join(f"{problem.file}: {problem.text}; " for problem in loaded.problems)
    raise SettingsError(f"no rules in {places}: {found}name files or folders with rules with --rules (or RUNNER_RULES)")


def _near(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    near = near_name(path.name, names)
    return f"; did you mean {path.parent / near}?" if near else ""


def given_flags(settings: Settings) -> str:
    """The flags that name events, rules, exceptions and state, as far as they were given, for another command."""
    values = {
        "events": settings.events,
        "indicators": settings.indicators,
        "rules": settings.rules,
        "exceptions": settings.exceptions,
        "state": (settings.state,),
    }
    return "".join(
        f" {flag_for(name)} {shlex.quote(str(value))}"
        for name, given in values.items()
        if settings.is_flag(name)
        for value in given
    )


def heartbeat_path(settings: Settings) -> Path:
    """The file that the service touches while it works.

    Beside the state file if the state is in a file. Else in the folder for temporary files, since a container's root
    may be read-only, under a name of its own for each user, cluster and state index.
    """
    if not stores_in_cluster(settings):
        return settings.state.with_name(settings.state.name + ".heartbeat")
    place = "\n".join((*settings.elasticsearch_hosts, settings.elasticsearch_cloud_id or "", settings.state_index))
    if settings.events:  # a service that reads the cluster may be at work beside this one
        place += "\n".join(file_source(settings, is_live=True).names)
    name = f"rule-runner-{os.getuid()}-{hashlib.sha256(place.encode()).hexdigest()[:12]}.heartbeat"
    try:
        return Path(tempfile.gettempdir()) / name
    except FileNotFoundError:  # no folder is writable: `run` reports that
        return Path("/tmp") / name
