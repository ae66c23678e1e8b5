"""Sets of stages as the bits of an int: bit n is set if stage n belongs to the set."""

from __future__ import annotations


def bits_of(number: int) -> list[int]:
    """The places of the bits of a number, ascending.

    >>> bits_of(0b1011)
    [0, 1, 3]
    """
    return [place for place, digit in enumerate(reversed(bin(number)[2:])) if digit == "1"]
