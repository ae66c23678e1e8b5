"""`saved_objects`: the objects in Kibana for one space and one way of showing alerts, as they are imported.

The files beside this module hold them in the form that Kibana 8.9 exports, which newer versions bring up to date by
themselves. Attributes whose names end in `JSON` are texts in Kibana, and are written out in the files. `{{name}}` is
what depends on the settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import orjson

from runner.alerts.ecs_alert import PREFIX

VERSION = 1
"""Of the objects; raised with every change of a file, so that an installation of an older one is brought up to date."""

_FILES = ("alerts_data_view.json", "runs_data_view.json", "alerts_search.json", "dashboard.json")
"""In the order of installing: what is referred to comes first."""
_TEXTS = frozenset({"fields", "fieldFormatMap"})
"""Attributes that Kibana keeps as a text of JSON, beside those whose names end in `JSON`."""
_MARK = re.compile(r"Objects of rule-runner, version (\d+)\.")


@dataclass(frozen=True, slots=True)
class KibanaNames:
    """What the objects are about.

    Their ids depend on the space and the way alone, so that a new alias makes no new objects; on the space, since ids
    of these objects are unique over all spaces.
    """

    space: str
    alerts: str
    """The alias or data stream of the alerts."""
    runs: str
    """The alias of the run log."""
    alerts_as: str = "own"
    """`own`, `external` or `security`: see the setting."""

    @property
    def alerts_view(self) -> str:
        """The id of the data view of the alerts."""
        return f"rule-runner-{self.space}-{self.alerts_as}-alerts"

    @property
    def runs_view(self) -> str:
        return f"rule-runner-{self.space}-runs"

    @property
    def search(self) -> str:
        return f"rule-runner-{self.space}-{self.alerts_as}-search"

    @property
    def dashboard(self) -> str:
        return f"rule-runner-{self.space}-{self.alerts_as}-dashboard"


def saved_objects(names: KibanaNames) -> tuple[dict[str, Any], ...]:
    """The objects in the order of installing, each as a line of an import file has it; the same names give the same."""
    values = {
        "alert": f"{PREFIX if names.alerts_as == 'external' else 'kibana'}.alert",
        "alerts": names.alerts,
        "alerts_as": names.alerts_as,
        "alerts_view": names.alerts_view,
        "dashboard": names.dashboard,
        "mark": f"Objects of rule-runner, version {VERSION}.",
        "runs": names.runs,
        "runs_view": names.runs_view,
        "search": names.search,
        "space": names.space,
    }
    folder = files(__package__)
    return tuple(_filled(folder.joinpath(name).read_text(encoding="utf-8"), values) for name in _FILES)


def ndjson(objects: Sequence[Mapping[str, Any]]) -> bytes:
    """The objects as a file for "Import" on Kibana's page of saved objects: one a line."""
    return b"".join(orjson.dumps(item) + b"\n" for item in objects)


def version_of(item: Mapping[str, Any]) -> int | None:
    """The version in the description of an object in Kibana; None without one, as in a data view."""
    found = _MARK.search(str(item["attributes"].get("description", "")))
    return int(found[1]) if found else None


def _filled(text: str, values: Mapping[str, str]) -> dict[str, Any]:
    filled = re.sub(r"\{\{(\w+)\}\}", lambda found: orjson.dumps(values[found[1]]).decode()[1:-1], text)
    item: dict[str, Any] = orjson.loads(filled)
    item["attributes"] = _as_texts(item["attributes"])
    return item


def _as_texts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes with those that Kibana keeps as texts made texts."""
    made: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.endswith("JSON") or name in _TEXTS:
            made[name] = orjson.dumps(value).decode()
        else:
            made[name] = _as_texts(value) if isinstance(value, dict) else value
    return made
