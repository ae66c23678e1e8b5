"""The places that the settings name: the cluster, the rules, Kibana's objects, the service's heartbeat."""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from pathlib import Path

from runner.errors import SettingsError
from runner.messages.suggestions import near_name
from runner.rules.load import LoadedRules
from runner.settings.settings import Settings, flag_for
from runner.setup.saved_objects import KibanaNames

NO_SOURCE = (
    "no events to search: name files or folders with --events (or RUNNER_EVENTS), or a cluster with "
    "ELASTICSEARCH_HOSTS; `rule-runner sample --out events.ndjson` makes some events to try"
)


def has_cluster(settings: Settings) -> bool:
    """Whether a cluster is configured; alerts and state are then stored there."""
    return bool(settings.elasticsearch_hosts or settings.elasticsearch_cloud_id)


def kibana_names(settings: Settings) -> KibanaNames:
    """The space and index names of the objects in Kibana."""
    return KibanaNames(
        space=settings.space, alerts=settings.alerts_alias, runs=settings.runs_index, alerts_as=settings.alerts_as
    )


def require_rule_paths(settings: Settings) -> None:
    """Raise SettingsError for all rule paths that do not exist, each with a near name."""
    missing = [path for path in settings.rules if not path.exists() and not path.is_symlink()]
    if not missing:
        return
    if settings.is_default("rules"):
        raise SettingsError(f"no rules: there is no folder {missing[0]}; name rule files or folders with --rules")
    raise SettingsError("; ".join(f"{path}: no such file or folder{_near(path)}" for path in missing))


def require_rules(loaded: LoadedRules, settings: Settings) -> None:
    """Raise SettingsError if there is no rule at all, not even one with an error."""
    if loaded.rules or loaded.unsupported or loaded.errors:
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
    """The flags that name events, rules and state as far as they were given, for another command over the same."""
    values = {"events": settings.events, "rules": settings.rules, "state": (settings.state,)}
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
    if not has_cluster(settings):
        return settings.state.with_name(settings.state.name + ".heartbeat")
    place = "\n".join((*settings.elasticsearch_hosts, settings.elasticsearch_cloud_id or "", settings.state_index))
    name = f"rule-runner-{os.getuid()}-{hashlib.sha256(place.encode()).hexdigest()[:12]}.heartbeat"
    try:
        return Path(tempfile.gettempdir()) / name
    except FileNotFoundError:  # no folder is writable: `run` reports that
        return Path("/tmp") / name
