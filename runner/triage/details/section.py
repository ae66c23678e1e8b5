"""`Section`: a title and labelled values, which every page shows in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_IN_PARTS: Final = {"CallTrace": "|"}
"""Last names of fields whose values are lists in one text, with what separates them."""


@dataclass(frozen=True, slots=True)
class Detail:
    """A labelled value; of an event's value the label is the field's name."""

    label: str
    value: str
    meaning: str = ""
    """What a coded value stands for, such as `Network` for the logon type 3; "" for any other."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The value in lines: of a script or a message its own, of a call trace one a module."""
        text = self.value.replace("\r\n", "\n").replace("\r", "\n")
        separator = _IN_PARTS.get(self.label.rpartition(".")[2])
        if separator is not None:
            text = text.replace(separator, "\n")
        return tuple(text.strip("\n").split("\n"))


@dataclass(frozen=True, slots=True)
class Section:
    """A title with labelled values, of which there is at least one."""

    title: str
    details: tuple[Detail, ...]


def sections(*candidates: tuple[str, Iterable[Detail]]) -> tuple[Section, ...]:
    """The sections of those titles that have details; details without a value are left out."""
    found = ((title, tuple(detail for detail in details if detail.value.strip())) for title, details in candidates)
    return tuple(Section(title, details) for title, details in found if details)
