"""`Settings`: the values of flags, environment, `.env` file, config file and defaults, validated once.

A setting `on_cap` is the flag `--on-cap` and the variable `RUNNER_ON_CAP`; the settings of the cluster and of Kibana
are also read from the names that Elastic's own tools use (`ELASTICSEARCH_HOSTS`, `KIBANA_URL`). A secret may stand in
a file that `<VARIABLE>_FILE` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from dotenv.parser import parse_stream
from pydantic import BeforeValidator, Field, InstanceOf, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from runner.errors import SettingsError
from runner.messages.suggestions import did_you_mean, near_name
from runner.rules.discovery import default_rules_path
from runner.selection import NOTHING, RuleSelection
from runner.settings import value_checks as checks
from runner.settings.config_file import CONFIG_VARIABLE, config_path, read_config
from runner.settings.container_paths import host_paths
from runner.windows import iso

SECRETS = frozenset(
    {
        *("elasticsearch_password", "elasticsearch_api_key", "elasticsearch_bearer_token", "elasticsearch_proxy"),
        "web_token",
    }
)
"""The fields whose value is never shown and that may be given as a file."""

_PATHS = (
    "events", "indicators", "rules", "exceptions", "overrides", "elasticsearch_ca_certs", "elasticsearch_client_cert",
    "elasticsearch_client_key", "kibana_ca_certs", "runtime_fields", "notifications",
)  # fmt: skip
"""The fields whose values are paths that docker compose may share with the command line."""

_FOREIGN = re.compile(
    # Variables that begin with RUNNER_ and belong to others: the test suite, GitHub Actions, and services that
    # Kubernetes or Docker link.
    r"RUNNER_(TEST_.*|REQUIRE_.*|OS|ARCH|NAME|TEMP|DEBUG|TOOL_CACHE|WORKSPACE|ENVIRONMENT|TRACKING_ID|USER|PERFLOG"
    r"|ALLOW_RUNASROOT|GROUP|LABELS|SERVICE_(HOST|PORT).*|PORT(_.*)?)"
)
_SECURITY_ALERTS = ".alerts-security.alerts-"
_SECRET_BYTES = 64 * 1024  # far over any key or password; keeps a wrong path (a device, a log) from being read whole


def _named(template: str) -> Any:
    return Field(default_factory=lambda known: template.format(space=known.get("space", "default")))


Duration = Annotated[timedelta, BeforeValidator(checks.duration(timedelta(seconds=1), "30s, 5m or 1h"))]
IndexName = Annotated[str, BeforeValidator(checks.index_name)]
ReadableFile = Annotated[Path, BeforeValidator(checks.readable_file)]


class Settings(BaseSettings):
    """Every setting, checked. `load_settings` reads them, and records where each value came from."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    # Input and output
    events: Annotated[tuple[str, ...], BeforeValidator(checks.items_of(os.pathsep))] = ()
    indicators: Annotated[tuple[str, ...], BeforeValidator(checks.items_of(os.pathsep))] = ()
    unwrap: Annotated[tuple[str, ...], BeforeValidator(checks.items_of(","))] = ()
    rules: Annotated[tuple[Path, ...], BeforeValidator(checks.paths)] = Field(
        default_factory=lambda: (default_rules_path(),)
    )
    exceptions: Annotated[tuple[Path, ...], BeforeValidator(checks.paths)] = ()
    overrides: Annotated[tuple[Path, ...], BeforeValidator(checks.paths)] = ()
    select: Annotated[InstanceOf[RuleSelection], BeforeValidator(checks.selection)] = NOTHING
    notifications: Annotated[Path | None, BeforeValidator(checks.readable_or_off)] = None
    alerts_to: Annotated[str | None, BeforeValidator(checks.stream_place)] = None
    state: Annotated[Path, BeforeValidator(checks.state_file)] = Path("rule-runner.db")
    now: Annotated[datetime | Literal["latest"] | None, BeforeValidator(checks.moment)] = None
    output: Annotated[Literal["table", "json"], BeforeValidator(checks.choice_of("table", "json"))] = "table"

    # Elasticsearch
    elasticsearch_hosts: Annotated[tuple[str, ...], BeforeValidator(checks.hosts)] = ()
    elasticsearch_cloud_id: str | None = None
    elasticsearch_username: str | None = None
    elasticsearch_password: SecretStr | None = None
    elasticsearch_api_key: Annotated[SecretStr | None, BeforeValidator(checks.api_key)] = None
    elasticsearch_bearer_token: Annotated[SecretStr | None, BeforeValidator(checks.token)] = None
    elasticsearch_ca_certs: ReadableFile | None = None
    elasticsearch_fingerprint: Annotated[str | None, BeforeValidator(checks.fingerprint)] = None
    elasticsearch_client_cert: ReadableFile | None = None
    elasticsearch_client_key: ReadableFile | None = None
    elasticsearch_verify_certs: Annotated[bool, BeforeValidator(checks.switch)] = True
    elasticsearch_request_timeout: Duration = timedelta(seconds=30)
    elasticsearch_compress: Annotated[bool, BeforeValidator(checks.switch)] = False
    # A secret, as it may hold a password.
    elasticsearch_proxy: Annotated[SecretStr | None, BeforeValidator(checks.proxy)] = None

    # Kibana and the indices that the runner writes
    space: Annotated[str, BeforeValidator(checks.space_id)] = "default"
    kibana_url: Annotated[str | None, BeforeValidator(checks.url(None))] = None
    kibana_host: Annotated[str | None, BeforeValidator(checks.url(None))] = None
    kibana_ca_certs: ReadableFile | None = None
    kibana_exceptions: Annotated[bool, BeforeValidator(checks.switch)] = False
    alerts_as: Annotated[
        Literal["own", "external", "security"], BeforeValidator(checks.choice_of("own", "external", "security"))
    ] = "own"
    alerts_alias: IndexName = Field(
        default_factory=lambda known: alerts_name(known.get("alerts_as", "own"), known.get("space", "default"))
    )
    runs_index: IndexName = _named("rule-runner-runs-{space}")
    state_index: IndexName = _named("rule-runner-state-{space}")

    # How it runs
    tick: Duration = timedelta(seconds=10)
    concurrency: Annotated[int, BeforeValidator(checks.whole_number(1, 64))] = 4
    workers: Annotated[int, BeforeValidator(checks.whole_number(1, 64))] = 1
    search_timeout: Duration = timedelta(minutes=2)
    runtime_fields: ReadableFile | None = None
    keep_alerts: Annotated[timedelta | None, BeforeValidator(checks.retention)] = None
    keep_runs: Annotated[timedelta | None, BeforeValidator(checks.retention)] = timedelta(days=30)
    keep_excepted: Annotated[timedelta | None, BeforeValidator(checks.keeping)] = None
    catch_up: Annotated[timedelta, BeforeValidator(checks.duration(timedelta(0), "6h or 7d"))] = timedelta(days=7)
    learn_terms: Annotated[timedelta, BeforeValidator(checks.duration(timedelta(0), "12h or 3d"))] = timedelta(days=1)
    lease: Annotated[timedelta, BeforeValidator(checks.duration(timedelta(seconds=3), "30s"))] = timedelta(seconds=30)
    instance: Annotated[str | None, BeforeValidator(checks.instance_name)] = None
    analyst: Annotated[str | None, BeforeValidator(checks.person)] = None
    on_cap: Annotated[Literal["carry", "drop"], BeforeValidator(checks.choice_of("carry", "drop"))] = "carry"

    # Metrics and health
    quiet_after: Annotated[timedelta, BeforeValidator(checks.duration(timedelta(0), "15m or 1h"))] = timedelta(hours=1)
    listen: Annotated[str, BeforeValidator(checks.listen_address)] = "127.0.0.1:9722"

    # Pages for a browser
    web: Annotated[
        Literal["off", "read-only", "full"], BeforeValidator(checks.choice_of("off", "read-only", "full"))
    ] = "full"
    web_token: Annotated[SecretStr | None, BeforeValidator(checks.web_token)] = None
    public_url: Annotated[str | None, BeforeValidator(checks.url(None))] = None

    # Logs
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(checks.choice_of("debug", "info", "warning", "error")),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "text", "json"], BeforeValidator(checks.choice_of("auto", "text", "json"))
    ] = "auto"

    _places: dict[str, str] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def kibana_link(self) -> str | None:
        """Kibana's address as a browser sees it, for links."""
        return self.kibana_url or self.kibana_host

    @property
    def kibana_api(self) -> str | None:
        """Kibana's address as the runner reaches it."""
        return self.kibana_host or self.kibana_url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: object,
        **named: object,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller gives: `load_settings` lays the layers and reports every problem with its place."""
        return (init_settings,)

    def warnings(self) -> tuple[str, ...]:
        """What is doubtful but no error, one sentence each, to be shown once."""
        return self._warnings

    def is_default(self, field: str) -> bool:
        """Whether the setting has its default because no layer sets it."""
        return field not in self._places

    def is_flag(self, field: str) -> bool:
        """Whether a flag has set the setting."""
        return self._places.get(field) == flag_for(field)

    def place_of(self, field: str) -> str:
        """Where the value of a setting stands: a flag, a variable with its layer, a key of a file, or `default`."""
        return self._places.get(field, "default")

    def secrets(self) -> tuple[str, ...]:
        """The secret values that are set, in plain text, for the one use of keeping them out of the logs."""
        values = (getattr(self, name) for name in sorted(SECRETS))
        found = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        if self.elasticsearch_proxy is not None:
            found.append(unquote(urlsplit(self.elasticsearch_proxy.get_secret_value()).password or ""))
        return tuple(filter(None, found))

    def describe(self) -> str:
        """The settings in force, one `name = value (where from)` a line; secrets are masked."""
        width = max(map(len, type(self).model_fields))
        return "\n".join(
            f"{name:<{width}} = {shown(getattr(self, name))}  ({self.place_of(name)})"
            for name in type(self).model_fields
        )


def alerts_name(alerts_as: str, space: str) -> str:
    """What the alerts of a Kibana space are written to unless a setting says otherwise.

    >>> alerts_name("own", "soc"), alerts_name("external", "soc-1"), alerts_name("security", "soc")
    ('rule-runner-alerts-soc', 'logs-rule_runner.alerts-soc_1', '.alerts-security.alerts-soc')
    """
    if alerts_as == "security":
        return f"{_SECURITY_ALERTS}{space}"
    if alerts_as == "external":
        # The third part of a data stream's name is its namespace, and a namespace has no `-`.
        return f"logs-rule_runner.alerts-{space.replace('-', '_')}"
    return f"rule-runner-alerts-{space}"


def variables_for(field: str) -> tuple[str, ...]:
    """The environment variables of a setting, the documented one first.

    >>> variables_for("elasticsearch_hosts")
    ('ELASTICSEARCH_HOSTS', 'RUNNER_ELASTICSEARCH_HOSTS')
    >>> variables_for("on_cap")
    ('RUNNER_ON_CAP',)
    """
    own = f"RUNNER_{field.upper()}"
    is_elastics = field.startswith(("elasticsearch_", "kibana_")) and field != "kibana_exceptions"
    return (field.upper(), own) if is_elastics else (own,)


def flag_for(field: str) -> str:
    """The command-line flag of a setting.

    >>> flag_for("on_cap")
    '--on-cap'
    """
    return f"--{field.replace('_', '-')}"


def load_settings(
    overrides: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    env_file: Path | None = None,
    config_file: str | None = None,
) -> Settings:
    """The settings from `overrides`, then `environ`, then `env_file`, then `config_file`, then the defaults.

    `overrides` are the flags by field name; None and an empty list mean "not set". An `env_file` that does not exist
    is skipped. Without a `config_file` it is the one that RUNNER_CONFIG names, or `rule-runner.toml` beside `env_file`.
    A variable that is set but empty counts as not set and hides the layers below it.
    Raises SettingsError with every problem there is, each with its place, and never a secret's value.
    """
    problems: list[str] = []
    env_layer = {name: _GivenValue(value, f"{name} (environment)") for name, value in environ.items()}
    file_layer = _read_env_file(env_file, problems)
    not_here = _use_host_paths(file_layer, env_file)
    named = [str(layer[CONFIG_VARIABLE].value) for layer in (env_layer, file_layer) if CONFIG_VARIABLE in layer]
    config_layer = _read_config(config_path(config_file, named, env_file and env_file.parent), problems)
    layers = (env_layer, file_layer, config_layer)
    given = {
        name: _GivenValue(value, flag_for(name)) for name, value in overrides.items() if value not in (None, (), [])
    }
    for field in Settings.model_fields:
        for layer in layers:
            if field in given:
                break
            if found := _look_up(field, layer, problems):
                given[field] = found
    given = {field: found for field, found in given.items() if found.value != ""}
    problems += _conflicts(given)
    try:
        settings = Settings(**{field: found.value for field, found in given.items()})  # type: ignore[arg-type]
        problems += _misplaced(settings, given)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            field = str(detail["loc"][0])
            # A default that is derived from another setting fails along with it; that says nothing new.
            if field in given:
                problems.append(_problem(field, given[field], detail["msg"]))
    if problems:
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        raise SettingsError("\n  ".join((f"{count} in the settings:", *problems)))
    settings._places = {field: found.place for field, found in given.items()}
    settings._warnings = (*not_here, *_unknown_names(layers), *_doubts(settings))
    return settings


@dataclass(frozen=True, slots=True)
class _GivenValue:
    """A raw value and its place: the flag, or the variable and its layer."""

    value: object
    place: str


def _read_env_file(path: Path | None, problems: list[str]) -> dict[str, _GivenValue]:
    """The variables of a `.env` file, taken as they stand (`$` is not expanded)."""
    if path is None or not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}")
        return {}
    found: dict[str, _GivenValue] = {}
    for binding in parse_stream(StringIO(text)):
        # A binding begins with the blank lines before it.
        blank = len(binding.original.string) - len(binding.original.string.lstrip("\n"))
        line = binding.original.line + blank
        if binding.error:
            problems.append(f"{path}, line {line}: not understood, expected NAME=value")
        elif binding.key is not None:
            found[binding.key] = _GivenValue(binding.value or "", f"{binding.key} ({path}, line {line})")
    return found


def _read_config(path: Path | None, problems: list[str]) -> dict[str, _GivenValue]:
    """The variables that a config file stands for."""
    if path is None:
        return {}
    found = read_config(
        path, Settings.model_fields, variable=lambda name: variables_for(name)[0], secrets=SECRETS,
        paths=(*_PATHS, "state"),
    )  # fmt: skip
    problems += found.problems
    return {name: _GivenValue(given.value, given.place) for name, given in found.values.items()}


def _use_host_paths(layer: dict[str, _GivenValue], env_file: Path | None) -> list[str]:
    """Replace the container's paths of an `.env` file by the host's; a warning for each that is not here."""
    names = {name for field in _PATHS for name in variables_for(field)}
    names |= {f"{name}_FILE" for field in SECRETS for name in variables_for(field)}
    folder = Path() if env_file is None else env_file.parent
    found = host_paths({name: str(given.value) for name, given in layer.items()}, names, folder)
    layer.update({name: _GivenValue(value, layer[name].place) for name, value in found.values.items()})
    return [f"{layer[name].place}: {text}" for name, text in found.missing.items()]


def _look_up(field: str, layer: Mapping[str, _GivenValue], problems: list[str]) -> _GivenValue | None:
    """The value of a setting in one layer, from its file where a `*_FILE` variable names one; `RUNNER_*` goes first."""
    names = tuple(reversed(variables_for(field)))
    present = [layer[name] for name in names if name in layer]
    files = [layer[f"{name}_FILE"] for name in names if f"{name}_FILE" in layer] if field in SECRETS else []
    plain, file = (next((found for found in given if found.value), None) for given in (present, files))
    if file is None:
        return plain or next(iter(present), None)
    if plain is not None:
        problems.append(f"{file.place}: {plain.place} is set, too; expected one of the two")
        return plain
    return _read_secret(file, problems)


def _read_secret(file: _GivenValue, problems: list[str]) -> _GivenValue:
    """The content of a secret's file without its trailing line break; empty, with a problem added, if there is none."""
    path = checks.path_of(file.value)
    try:
        with path.open("rb") as stream:
            text = stream.read(_SECRET_BYTES + 1).decode("utf-8").rstrip("\r\n")
    except OSError as error:
        problems.append(f"{file.place}: cannot read {path}: {error.strerror}")
        return _GivenValue("", file.place)
    except ValueError:  # not UTF-8, or a path that no file can have
        text = ""
    if not text or len(text) > _SECRET_BYTES:
        problems.append(f"{file.place}: expected a secret as text in {path}, found none")
        return _GivenValue("", file.place)
    return _GivenValue(text, f"{file.place} -> {path}")


def _conflicts(given: Mapping[str, _GivenValue]) -> Iterator[str]:
    """What cannot be set together, or not alone."""
    username, password = given.get("elasticsearch_username"), given.get("elasticsearch_password")
    signs = [given.get("elasticsearch_api_key"), given.get("elasticsearch_bearer_token"), username or password]
    ways = [sign.place for sign in signs if sign]
    if len(ways) > 1:
        yield f"{' and '.join(ways)}: expected one way to sign in (API key, bearer token, or user and password)"
    for one, other in (
        ("elasticsearch_username", "elasticsearch_password"),
        ("elasticsearch_password", "elasticsearch_username"),
        ("elasticsearch_client_key", "elasticsearch_client_cert"),
    ):
        if one in given and other not in given:
            yield f"{given[one].place}: expected {variables_for(other)[0]} beside it"
    pairs = {"elasticsearch_hosts": "elasticsearch_cloud_id", "elasticsearch_fingerprint": "elasticsearch_ca_certs"}
    for one, other in pairs.items():
        if one in given and other in given:
            yield f"{given[one].place} and {given[other].place}: expected one of the two"


def _misplaced(settings: Settings, given: Mapping[str, _GivenValue]) -> Iterator[str]:
    """Why alerts that are shown in the chosen way can not be where `alerts_alias` says; and what lacks an address."""
    if settings.kibana_exceptions and settings.kibana_api is None:
        yield f"{given['kibana_exceptions'].place}: needs Kibana's address: set KIBANA_HOST (or KIBANA_URL)"
    if (alias := given.get("alerts_alias")) is None:
        return
    name, mode = settings.alerts_alias, settings.alerts_as
    if mode == "security" and name != (expected := alerts_name(mode, settings.space)):
        yield f'{alias.place}: found "{name}", expected {expected} or nothing with RUNNER_ALERTS_AS=security'
    if mode == "external" and not re.fullmatch(r"logs-[^-]+-[^-]+", name):
        yield (
            f'{alias.place}: found "{name}", expected logs-<dataset>-<namespace> with RUNNER_ALERTS_AS=external: '
            "the Security app looks for external alerts there"
        )
    if mode == "own" and name.startswith((_SECURITY_ALERTS, ".internal.alerts-", "logs-")):
        owner = "security" if name.startswith(".") else "external"
        yield (
            f'{alias.place}: found "{name}", expected another name, or RUNNER_ALERTS_AS={owner}: '
            "indices of this name are Elastic's to set up"
        )


def _problem(field: str, given: _GivenValue, message: str) -> str:
    """One line for a finding of the validation: place, what was found, what was expected."""
    if field not in Settings.model_fields:
        return f"{given.place}: no such setting{did_you_mean(field, Settings.model_fields)}"
    found = "a secret" if field in SECRETS else shown(given.value)
    if "hosts" in field or field.startswith("kibana_"):
        # A URL may carry a password before its host.
        found = re.sub(r"(?s)^.*@", "...@", found)
    return f"{given.place}: found {found}, {message.removeprefix('Value error, ')}"


def _unknown_names(layers: Iterable[Mapping[str, _GivenValue]]) -> Iterator[str]:
    """A warning for every variable with the prefix of the runner or nearly the name of a setting."""
    known = {name for field in Settings.model_fields for name in variables_for(field)}
    known |= {CONFIG_VARIABLE, *(f"{name}_FILE" for field in SECRETS for name in variables_for(field))}
    for layer in layers:
        for name in sorted(layer.keys() - known):
            prefix, _, rest = name.partition("_")
            if prefix not in ("RUNNER", "ELASTICSEARCH", "KIBANA") or _FOREIGN.fullmatch(name):
                continue
            start = f"{prefix}_"
            near = near_name(rest, [other.removeprefix(start) for other in known if other.startswith(start)])
            # Others use the prefixes of Elastic as well, so there only what is nearly one of ours is worth a word.
            if near or prefix == "RUNNER":
                yield f"{layer[name].place}: no such setting{f'; did you mean {prefix}_{near}?' if near else ''}"


def _doubts(settings: Settings) -> Iterator[str]:
    """Settings that are allowed and not wise, one sentence each."""
    plain = [host for host in settings.elasticsearch_hosts if host.startswith("http://")]
    open_hosts = [host for host in plain if not _is_loopback(urlsplit(host).hostname or "")]
    if open_hosts and settings.secrets():
        yield f"ELASTICSEARCH_HOSTS: credentials travel unencrypted to {', '.join(open_hosts)}; https is safer"
    if settings.elasticsearch_hosts and not settings.elasticsearch_verify_certs:
        yield "ELASTICSEARCH_VERIFY_CERTS: certificates are not checked; a CA file or a fingerprint is safer"
    if settings.alerts_as != "own" and not (settings.elasticsearch_hosts or settings.elasticsearch_cloud_id):
        yield f"RUNNER_ALERTS_AS: {settings.alerts_as} is without effect, as no cluster is set: alerts go to a file"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def shown(value: object) -> str:
    """A setting's value as a user would write it."""
    match value:
        case SecretStr():
            return "********"
        case None | () | RuleSelection(needed=(), steps=()):
            return "(not set)"
        case list() | tuple():
            return ", ".join(map(str, value))
        case timedelta():
            return f"{value.total_seconds():.15g}s"
        case datetime():
            return iso(value)
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
    return str(value)
