"""`Commands` and `OwnCommand`: what all commands have in common, their help and `--config` among it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Annotated, Any, ClassVar, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from runner.cli.shell.pager import paged

_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Input": ("events", "indicators", "unwrap", "index", "mapping", "rules", "exceptions", "overrides", "state"),
    "Filters": (
        "select", "rule", "host", "user", "status", "severity", "tag", "text", "since", "until", "tactic", "os",
        "data_source", "type_", "enabled",
    ),
    "Common options": ("output", "junit", "everything", "quiet", "workers", "listen", "config", "no_pager", "help"),
}  # fmt: skip
"""Sections of a command's help by the parameters they have; the others stand before the last one."""
_REST: Final = "Options"

_Function = TypeVar("_Function", bound=Callable[..., Any])

_CONFIG: ContextVar[str | None] = ContextVar("config", default=None)
_CONFIG_KEY: Final = "runner.config"
_NO_PAGER_KEY: Final = "runner.no_pager"


def config_flag() -> str | None:
    """The value of `--config` in the command at hand."""
    return _CONFIG.get()


class Commands(typer.Typer):
    """A group whose commands are `OwnCommand` unless they say otherwise."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **more: Any
    ) -> Callable[[_Function], _Function]:
        return super().command(name, cls=cls or OwnCommand, **more)


class OwnCommand(TyperCommand):
    """A command with `--config`, and with help in sections that names no types."""

    shared: tuple[str, ...] = ("config",)
    """Options that it has beside those of its function."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        own = {param.name for param in self.params}
        self.params += [param for param in _shared_options() if param.name in self.shared and param.name not in own]

    def invoke(self, ctx: Any) -> Any:
        before = _CONFIG.set(ctx.meta.get(_CONFIG_KEY))
        try:
            return super().invoke(ctx)
        finally:
            _CONFIG.reset(before)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        pieces = [name if param.required else f"[{name}]" for param in arguments for name in (_argument_name(param),)]
        return ["[OPTIONS]", *pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments: list[tuple[str, str]] = []
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in (*list(_SECTIONS)[:-1], _REST)}
        sections |= {name: [] for name in _SECTIONS}
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                arguments.append((_argument_name(param), getattr(param, "help", None) or ""))
            elif (record := param.get_help_record(ctx)) is not None:
                name = next((name for name, params in _SECTIONS.items() if param.name in params), _REST)
                sections[name].append(record)
        _write({"Arguments": arguments, **sections}, formatter)


class PagedCommand(OwnCommand):
    """A command whose output goes through a pager if a terminal is too short for it."""

    shared = ("config", "no_pager")

    def invoke(self, ctx: Any) -> Any:
        with paged(not ctx.meta.get(_NO_PAGER_KEY)):
            return super().invoke(ctx)


class CommandGroup(TyperGroup):
    """A group whose help lists its commands in sections."""

    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        names = [name for name in self.list_commands(ctx) if not self.commands[name].hidden]
        known = {name for section in self.sections.values() for name in section}
        wanted = {title: [name for name in section if name in names] for title, section in self.sections.items()}
        wanted["Commands"] = [name for name in names if name not in known]
        width = max(map(len, names), default=0)
        limit = formatter.width - 6 - width
        rows = {
            title: [(name.ljust(width), self.commands[name].get_short_help_str(limit)) for name in section]
            for title, section in wanted.items()
        }
        _write(rows, formatter)


def _write(sections: Mapping[str, list[tuple[str, str]]], formatter: Any) -> None:
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _argument_name(param: Any) -> str:
    name = (param.metavar or param.human_readable_name.upper()).strip("[].")
    return f"{name}..." if param.nargs != 1 else name


def _kept(key: str) -> Callable[[typer.Context, Any], Any]:
    """A callback that puts the value of an option that is given where `OwnCommand` finds it."""

    def keep(ctx: typer.Context, value: Any) -> Any:
        if value:
            ctx.meta[key] = value
        return value

    return keep


ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings in TOML (docs/settings.md); default: rule-runner.toml, if it is there.",
        callback=_kept(_CONFIG_KEY),
    ),
]
NoPagerOption = Annotated[
    bool,
    typer.Option(
        "--no-pager", help="Print long output at once: not through PAGER, or `less`.", callback=_kept(_NO_PAGER_KEY)
    ),
]


@cache
def _shared_options() -> tuple[Any, ...]:
    """The options that commands share, whose values do not go to the functions."""
    group = typer.Typer(add_completion=False)

    @group.command(context_settings={"help_option_names": []})
    def shared(config: ConfigOption = None, no_pager: NoPagerOption = False) -> None:
        """Has the options."""

    params = [param for param in get_command(group).params if param.name in ("config", "no_pager")]
    for param in params:
        param.expose_value = False
    return tuple(params)
