"""`EventSource`: the place that events come from. The ledger is kept per rule and source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson


@dataclass(frozen=True, slots=True, order=True)
class EventSource:
    """A set of files and folders, or a cluster; without `kind` that of a ledger that names none.

    Such a ledger in a cluster is that of the events of this cluster. In an SQLite file it was written before sources
    were told apart, and counts for all files.
    """

    kind: Literal["", "files", "cluster"] = ""
    names: tuple[str, ...] = ()
    """Ascending: absolute paths, or the addresses of the nodes and the id of the cluster."""
    place: str = ""
    """The machine that has the files, where several share the state."""
    is_lasting: bool = field(default=True, compare=False)
    """Whether more events are expected there: a cluster, folders, whatever a service reads."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(sorted(set(self.names))))

    def __str__(self) -> str:
        names = [name for name in self.names if self.kind == "files" or "://" in name] or self.names
        match self.kind:
            case "files":
                return ", ".join(names) + (f" on {self.place}" if self.place else "")
            case "cluster":
                return f"the cluster at {', '.join(names)}"
        return "own events"

    @property
    def text(self) -> str:
        """The source as one line of JSON, equal for equal sources; "" for one without kind."""
        return orjson.dumps(self.as_json()).decode("utf-8") if self.kind else ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16] if self.kind else ""

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": list(self.names), "place": self.place}

    def is_akin(self, other: EventSource) -> bool:
        """Whether both have a name in common."""
        same = (self.kind, self.place) == (other.kind, other.place)
        return same and not set(self.names).isdisjoint(other.names)

    def leaves_files_to(self, other: EventSource) -> bool:
        """Whether what was read of files there counts for the other source, as long as that has read nothing."""
        return other.kind == "files" and (not self.kind or self.is_akin(other))


UNNAMED: Final = EventSource()


def read_source(value: object, *, is_lasting: bool = True) -> EventSource:
    """The source of a `text`, or of what `as_json` gives; raises ValueError for anything else."""
    if value == "":
        return UNNAMED
    found: Any = orjson.loads(value) if isinstance(value, str) else value
    try:
        kind, names, place = found["kind"], found["names"], found["place"]
    except (KeyError, TypeError):
        raise ValueError(f"{value!r} is no source of events") from None
    if kind not in ("files", "cluster") or not isinstance(names, list) or not isinstance(place, str):
        raise ValueError(f"{value!r} is no source of events")
    return EventSource(kind, tuple(map(str, names)), place, is_lasting)
