"""The catalogues of names, programs and places that samples are made of: text files beside this one, a line each."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def catalogue(name: str) -> tuple[str, ...]:
    """The lines of `<name>.txt`, read once."""
    return tuple(files(__package__).joinpath(f"{name}.txt").read_text("utf-8").splitlines())


@cache
def table(name: str, columns: int) -> tuple[tuple[str, ...], ...]:
    """The rows of a catalogue whose first `columns - 1` blanks divide columns; a last column may be empty."""
    return tuple(tuple((*line.split(" ", columns - 1), "")[:columns]) for line in catalogue(name))


@cache
def entries(name: str) -> dict[str, str]:
    """The entries of a catalogue: what follows the first blank of a line, by what stands before it."""
    return {row[0]: row[1] for row in table(name, 2)}
