"""What the parsers of both dialects of regular expressions share: the place in the text, nesting, choices, errors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from runner.expressions.patterns.regex_automaton import Factory, RegexNode

MAX_INT = 2**31 - 1
_MAX_NESTING = 60


class PatternError(ValueError):
    """A pattern that is none: the offset of the fault in it, and that of the bracket which is not closed."""

    def __init__(self, message: str, place: int, opened: int | None = None) -> None:
        super().__init__(f"{message} at position {place}")
        self.place, self.opened = place, opened


class PatternReader(ABC):
    """The text of one pattern and the place reached in it; parsers derive from it and read `_choice`."""

    def __init__(self, pattern: str, factory: Factory) -> None:
        self._text = pattern
        self._make = factory
        self._place = 0
        self._nesting = 0

    @abstractmethod
    def _choice(self) -> RegexNode:
        """One of the alternatives between two `|`."""

    def _union(self) -> RegexNode:
        nodes = [self._choice()]
        while self._match("|"):
            nodes.append(self._choice())
        return self._make.any_of(nodes)

    def _error(self, message: str, place: int | None = None, *, opened: int | None = None) -> PatternError:
        return PatternError(message, self._place if place is None else place, opened)

    def _more(self) -> bool:
        return self._place < len(self._text)

    def _peek(self, chars: str) -> bool:
        """Whether the next character is one of these."""
        return self._more() and self._text[self._place] in chars

    def _looks_at(self, text: str) -> bool:
        return self._text.startswith(text, self._place)

    def _match(self, text: str) -> bool:
        """Whether the text is next; if so, it is read."""
        found = self._looks_at(text)
        self._place += len(text) * found
        return found

    def _next(self, failure: str = "unexpected end-of-string") -> str:
        """The next character, read; `failure` is the message where there is none."""
        if not self._more():
            raise self._error(failure)
        self._place += 1
        return self._text[self._place - 1]

    def _before(self, end: str) -> str | None:
        """The text up to `end`, read along with it; None, and nothing read, if it does not come."""
        stop = self._text.find(end, self._place)
        if stop < 0:
            return None
        text = self._text[self._place : stop]
        self._place = stop + len(end)
        return text

    def _digits(self, allowed: str = "0123456789", most: int | None = None) -> str:
        start = self._place
        while self._peek(allowed) and (most is None or self._place - start < most):
            self._place += 1
        return self._text[start : self._place]

    def _enter(self, what: str, place: int | None = None) -> None:
        """Count a bracket inside of others; leaving it takes one off `_nesting`."""
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            raise self._error(f"more than {_MAX_NESTING} {what} in one another", place)
