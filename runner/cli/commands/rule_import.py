"""`rule-runner rules import`: an export of Kibana's rules as rule files."""

from __future__ import annotations

import shlex
from pathlib import Path

from runner.cli.console import counted, out, print_json, printable, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.own_command import runnable
from runner.errors import AccessError, SettingsError
from runner.rules.kibana_import import RuleExport, read_export
from runner.settings.settings import Settings

_LARGEST = 1 << 28


def import_rules(settings: Settings, file: Path, to: Path, *, overwrite: bool) -> ExitCode:
    """Write each rule of the export as a file in the folder; those that are there are left, unless `overwrite`."""
    export = _read(file)
    paths = [to / rule.file_name for rule in export.rules]
    if there := [path for path in paths if path.exists() and not overwrite]:
        more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
        raise SettingsError(f"{there[0]}{more}: there already; --overwrite writes them anew, --to another folder")
    try:
        to.mkdir(parents=True, exist_ok=True)
        for path, rule in zip(paths, export.rules, strict=True):
            path.write_text(rule.text, encoding="utf-8")
    except OSError as error:
        raise AccessError(f"{to}: cannot be written: {error.strerror or error}") from None
    left_out = sorted({key for rule in export.rules for key in rule.left_out})
    if settings.output == "json":
        print_json({"files": list(map(str, paths)), "left_out": left_out, "exceptions": export.exceptions})
        return ExitCode.FINE
    for path in paths:
        out().print(printable(str(path)), soft_wrap=True, markup=False)
    more = f"; left out: {', '.join(left_out)}" if left_out else ""
    say(f"{counted(len(paths), 'rule')} written{more}")
    _tell_of_the_rest(export, file)
    return ExitCode.FINE


def _read(file: Path) -> RuleExport:
    try:
        if file.stat().st_size > _LARGEST:
            raise SettingsError(f"{file}: is larger than {_LARGEST >> 20} MiB, which no export of rules is")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AccessError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8; expected NDJSON as Kibana exports rules") from None
    return read_export(text, str(file))


def _tell_of_the_rest(export: RuleExport, file: Path) -> None:
    if export.exceptions:
        verb = "1 line is" if export.exceptions == 1 else f"{export.exceptions:,} lines are"
        command = runnable(f"`rule-runner check --exceptions {shlex.quote(str(file))}`")
        say(f"{verb} of exceptions: {command} reads them from the export itself")
    if with_actions := sum(rule.has_actions for rule in export.rules):
        warn(f"the actions of {counted(with_actions, 'rule')} are not carried over")
