"""Regular expressions as hash-consed nodes with derivatives, and a deterministic automaton built as texts need it.

The derivative of an expression by a character is what the rest of a text must fit after it (Brzozowski 1964; with sets
of alternatives as by Antimirov 1996), so complement and intersection cost no more than alternatives do. Every state is
made once, a text takes one step for each character, and a budget bounds states and work: past it, `TooComplexError`.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MAX_CHAR = 0x10FFFF
MAX_STATES = 10_000
"""Lucene refuses an expression that needs more states."""
MAX_WORK = 400_000
"""Derivatives of nodes that one automaton may compute: about a second."""
_MAX_KEPT = 200_000
_MAX_DEPTH = 120

Ranges = tuple[tuple[int, int], ...]
"""Characters as sorted, disjoint ranges, both ends included."""


class TooComplexError(ValueError):
    """The expression needs more states or work than allowed."""


class RegexKind(enum.Enum):
    NOTHING = enum.auto()
    EMPTY = enum.auto()
    CHARS = enum.auto()
    CAT = enum.auto()
    ANY_OF = enum.auto()
    ALL_OF = enum.auto()
    NOT = enum.auto()
    LOOP = enum.auto()
    ASSERT = enum.auto()


START, END, LAST_END, BOUNDARY, INSIDE = 1, 2, 4, 8, 16
"""Assertions, as bits: what can hold at a place between two characters. LAST_END: at the end, or before a line
terminator that ends the text. BOUNDARY: between a word character and something else; INSIDE is its opposite."""


@dataclass(frozen=True, slots=True, eq=False)
class RegexNode:
    """An expression. Equal expressions of one factory are the same object."""

    number: int
    kind: RegexKind
    parts: tuple[RegexNode, ...]
    ranges: Ranges
    low: int
    high: int | None
    """LOOP: how often; None is without limit."""
    nullable: bool
    """It fits the empty text, as far as that does not hang on assertions."""
    asserts: int
    """The assertions that occur in it."""
    depth: int


def union_of(sets: Iterable[Ranges]) -> Ranges:
    """The characters of all sets."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(piece for ranges in sets for piece in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def complement_of(ranges: Ranges) -> Ranges:
    """The characters that are not in the set."""
    result, place = [], 0
    for first, last in ranges:
        if first > place:
            result.append((place, first - 1))
        place = last + 1
    if place <= MAX_CHAR:
        result.append((place, MAX_CHAR))
    return tuple(result)


def ranges_of(chars: str) -> Ranges:
    """The set of the characters of a text."""
    return union_of([((ord(char), ord(char)),) for char in chars])


ANY_CHAR: Ranges = ((0, MAX_CHAR),)
DIGITS = ranges_of("0123456789")
WORDS = union_of([DIGITS, ((65, 90), (95, 95), (97, 122))])


class Factory:
    """Makes the nodes of one expression, each only once and in its simplest form."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], RegexNode] = {}
        self.cuts: set[int] = {0}
        """The characters at which a set begins or has just ended."""
        self.nothing = self._intern(RegexKind.NOTHING)
        self.empty = self._intern(RegexKind.EMPTY)
        self.any_char = self.chars(ANY_CHAR)
        self.anything = self._intern(RegexKind.NOT, (self.nothing,))

    def _intern(
        self,
        kind: RegexKind,
        parts: tuple[RegexNode, ...] = (),
        *,
        ranges: Ranges = (),
        low: int = 0,
        high: int | None = None,
        asserts: int = 0,
    ) -> RegexNode:
        key = (kind, tuple([part.number for part in parts]), ranges, low, high, asserts)
        known = self._known.get(key)
        if known is not None:
            return known
        depth = 1 + max((part.depth for part in parts), default=0)
        if kind is RegexKind.CAT:
            depth = max(1 + parts[0].depth, parts[1].depth)
        if depth > _MAX_DEPTH:
            raise TooComplexError("the regular expression is too complex: it is nested too deeply")
        for part in parts:
            asserts |= part.asserts
        nullable = _is_nullable(kind, parts, low)
        node = RegexNode(len(self._known), kind, parts, ranges, low, high, nullable, asserts, depth)
        self._known[key] = node
        return node

    def chars(self, ranges: Ranges) -> RegexNode:
        """One character of the set."""
        if not ranges:
            return self.nothing
        for first, last in ranges:
            self.cuts.add(first)
            if last < MAX_CHAR:
                self.cuts.add(last + 1)
        return self._intern(RegexKind.CHARS, ranges=ranges)

    def assertion(self, kind: int) -> RegexNode:
        """The empty text at a place where the assertion holds."""
        return self._intern(RegexKind.ASSERT, asserts=kind)

    def cat(self, first: RegexNode, second: RegexNode) -> RegexNode:
        """One after the other."""
        if first is self.nothing or second is self.nothing:
            return self.nothing
        if first is self.empty:
            return second
        if second is self.empty:
            return first
        if first is self.anything and (second is first or (second.kind is RegexKind.CAT and second.parts[0] is first)):
            return second
        spine = []
        while first.kind is RegexKind.CAT:  # chains lean to the right, so that their rests are shared
            spine.append(first.parts[0])
            first = first.parts[1]
        node = self._intern(RegexKind.CAT, (first, second))
        for part in reversed(spine):
            node = self._intern(RegexKind.CAT, (part, node))
        return node

    def chain(self, nodes: Iterable[RegexNode]) -> RegexNode:
        """All of them, one after the other."""
        result = self.empty
        for node in reversed(list(nodes)):
            result = self.cat(node, result)
        return result

    def any_of(self, nodes: Iterable[RegexNode]) -> RegexNode:
        """One of them."""
        return self._set(RegexKind.ANY_OF, nodes, neutral=self.nothing, absorbing=self.anything)

    def all_of(self, nodes: Iterable[RegexNode]) -> RegexNode:
        """What fits all of them."""
        return self._set(RegexKind.ALL_OF, nodes, neutral=self.anything, absorbing=self.nothing)

    def _set(
        self, kind: RegexKind, nodes: Iterable[RegexNode], *, neutral: RegexNode, absorbing: RegexNode
    ) -> RegexNode:
        parts: dict[int, RegexNode] = {}
        sets: list[RegexNode] = []
        for node in nodes:
            for part in node.parts if node.kind is kind else (node,):
                if part is absorbing:
                    return absorbing
                if part.kind is RegexKind.CHARS and kind is RegexKind.ANY_OF:
                    sets.append(part)
                elif part is not neutral:
                    parts[part.number] = part
        if sets:
            merged = sets[0] if len(sets) == 1 else self.chars(union_of(part.ranges for part in sets))
            parts[merged.number] = merged
        if self.empty.number in parts and kind is RegexKind.ANY_OF:
            others = [part for part in parts.values() if part is not self.empty]
            if any(part.nullable for part in others):
                del parts[self.empty.number]
        if not parts:
            return neutral
        if len(parts) == 1:
            return next(iter(parts.values()))
        return self._intern(kind, tuple(parts[number] for number in sorted(parts)))

    def complement(self, node: RegexNode) -> RegexNode:
        """Every text that does not fit it."""
        return node.parts[0] if node.kind is RegexKind.NOT else self._intern(RegexKind.NOT, (node,))

    def loop(self, node: RegexNode, low: int, high: int | None) -> RegexNode:
        """It, `low` to `high` times."""
        if high == 0 or node is self.empty:
            return self.empty
        if node is self.nothing:
            return self.empty if low == 0 else self.nothing
        if (low, high) == (1, 1):
            return node
        if node.nullable:
            low = 0
        if high is None and low == 0:
            if node is self.any_char or node is self.anything:
                return self.anything
            if node.kind is RegexKind.LOOP and node.low <= 1 and node.high is None:
                return self._intern(RegexKind.LOOP, node.parts)
        return self._intern(RegexKind.LOOP, (node,), low=low, high=high)


def _is_nullable(kind: RegexKind, parts: tuple[RegexNode, ...], low: int) -> bool:
    match kind:
        case RegexKind.EMPTY:
            return True
        case RegexKind.CAT | RegexKind.ALL_OF:
            return all(part.nullable for part in parts)
        case RegexKind.ANY_OF:
            return any(part.nullable for part in parts)
        case RegexKind.NOT:
            return not parts[0].nullable
        case RegexKind.LOOP:
            return low == 0 or parts[0].nullable
        case _:
            return False


def is_nullable(node: RegexNode, holds: int) -> bool:
    """Whether an expression fits the empty text at a place where those assertions hold."""
    if node.nullable and node.kind is not RegexKind.NOT:
        return True
    if not node.asserts & holds:
        return node.nullable
    match node.kind:
        case RegexKind.ASSERT:
            return True
        case RegexKind.CAT:
            while node.kind is RegexKind.CAT:
                if not is_nullable(node.parts[0], holds):
                    return False
                node = node.parts[1]
            return is_nullable(node, holds)
        case RegexKind.ANY_OF:
            return any(is_nullable(part, holds) for part in node.parts)
        case RegexKind.ALL_OF:
            return all(is_nullable(part, holds) for part in node.parts)
        case RegexKind.NOT:
            return not is_nullable(node.parts[0], holds)
        case _:
            return is_nullable(node.parts[0], holds)


class Derivatives:
    """Derivatives of the nodes of one factory, each computed once, as long as the budget of work lasts."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._known: dict[tuple[int, int, int], RegexNode] = {}
        self._work = 0

    def of(self, node: RegexNode, char: int, holds: int) -> RegexNode:
        """What must follow `char` if the whole is to fit the node. `holds`: the assertions that hold before `char`."""
        holds &= node.asserts
        key = (node.number, char, holds)
        known = self._known.get(key)
        if known is None:
            self._work += 1 + len(node.parts)
            if self._work > MAX_WORK:
                raise TooComplexError(f"the regular expression is too complex: more than {MAX_WORK} steps to follow it")
            known = self._known[key] = self._derive(node, char, holds)
        return known

    def _derive(self, node: RegexNode, char: int, holds: int) -> RegexNode:
        make = self._factory
        match node.kind:
            case RegexKind.CHARS:
                place = bisect_right(node.ranges, (char, MAX_CHAR + 1)) - 1
                return make.empty if place >= 0 and char <= node.ranges[place][1] else make.nothing
            case RegexKind.CAT:
                return self._derive_chain(node, char, holds)
            case RegexKind.ANY_OF:
                return make.any_of([self.of(part, char, holds) for part in node.parts])
            case RegexKind.ALL_OF:
                return make.all_of([self.of(part, char, holds) for part in node.parts])
            case RegexKind.NOT:
                return make.complement(self.of(node.parts[0], char, holds))
            case RegexKind.LOOP:
                inner = node.parts[0]
                low = 0 if is_nullable(inner, holds) else max(0, node.low - 1)
                rest = make.loop(inner, low, None if node.high is None else node.high - 1)
                return make.cat(self.of(inner, char, holds), rest)
            case _:
                return make.nothing

    def _derive_chain(self, node: RegexNode, char: int, holds: int) -> RegexNode:
        make = self._factory
        choices = []
        while node.kind is RegexKind.CAT:
            first, rest = node.parts
            choices.append(make.cat(self.of(first, char, holds), rest))
            self._work += 1
            if not is_nullable(first, holds):
                return make.any_of(choices)
            node = rest
        choices.append(self.of(node, char, holds))
        return make.any_of(choices)


class _State(dict[str, "_State"]):
    """A state of the automaton: the next state by character. `decided` is the answer if no character can change it."""

    __slots__ = ("accepts", "build", "classes", "decided", "last", "node", "word")

    def __init__(self, node: RegexNode, word: bool | None, build: Callable[[_State, str, bool], _State]) -> None:
        super().__init__()
        self.node = node
        self.word = word
        """Whether a word character stood before; None at the start, or if it does not matter."""
        self.build = build
        self.accepts = False
        self.decided: bool | None = None
        self.classes: dict[int, _State] = {}
        self.last: dict[str, _State] = {}
        """Next states by the character that begins the text's last line terminator."""

    def __missing__(self, char: str) -> _State:
        return self.build(self, char, False)


class Automaton:
    """The deterministic automaton of one node; its states are made when a text first reaches them."""

    def __init__(self, factory: Factory, node: RegexNode) -> None:
        self._derivatives = Derivatives(factory)
        self._decided = {factory.nothing: False, factory.anything: True}
        self._needs_last = bool(node.asserts & LAST_END)
        if node.asserts & (BOUNDARY | INSIDE):
            for first, last in WORDS:
                factory.cuts |= {first, last + 1}
        self._cuts = sorted(factory.cuts)
        self._states: dict[tuple[RegexNode, bool | None], _State] = {}
        self._kept = 0
        self._start = self._state(node, None)

    def matches(self, text: str) -> bool:
        """True if the whole text fits. Raises TooComplexError if a budget is used up on the way."""
        if self._needs_last and text and text[-1] in "\n\r\u0085\u2028\u2029":
            return self._matches_line(text)
        state = self._start
        for char in text:
            state = state[char]
            if state.decided is not None:
                return state.decided
        return state.accepts

    def _matches_line(self, text: str) -> bool:
        """The same for a text that ends with a line terminator, before which `$` holds as well."""
        end = len(text) - (2 if text.endswith("\r\n") else 1)
        state = self._start
        for char in text[:end]:
            state = state[char]
        char = text[end]
        following = state.last.get(char)
        state = self._step(state, char, True) if following is None else following
        for char in text[end + 1 :]:
            state = state[char]
        return state.accepts

    def _state(self, node: RegexNode, word: bool | None) -> _State:
        if not node.asserts:
            word = False
        key = (node, word)
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= MAX_STATES:
                raise TooComplexError(f"the regular expression is too complex: more than {MAX_STATES} states")
            state = _State(node, word, self._step)
            at_start = START if word is None else 0
            edge = BOUNDARY if word else INSIDE
            state.accepts = is_nullable(node, at_start | edge | END | LAST_END)
            state.decided = self._decided.get(node)
            self._states[key] = state
        return state

    def _step(self, state: _State, char: str, last: bool) -> _State:
        """The state after a character; computed once and kept, as long as there is room."""
        code = ord(char)
        place = bisect_right(self._cuts, code) - 1
        following = None if last else state.classes.get(place)
        if following is None:
            following = self._follow(state, self._cuts[place], last)
            if not last:
                state.classes[place] = following
        if self._kept < _MAX_KEPT:
            self._kept += 1
            (state.last if last else state)[char] = following
        return following

    def _follow(self, state: _State, code: int, last: bool) -> _State:
        node = state.node
        if not node.asserts:
            return self._state(self._derivatives.of(node, code, 0), False)
        word = any(first <= code <= end for first, end in WORDS)
        holds = START if state.word is None else 0
        holds |= BOUNDARY if word != bool(state.word) else INSIDE
        if last:
            holds |= LAST_END
        return self._state(self._derivatives.of(node, code, holds), word)


def spine_of(node: RegexNode) -> list[RegexNode]:
    """The parts of a chain in order; the node itself if it is none."""
    spine = []
    while node.kind is RegexKind.CAT:
        spine.append(node.parts[0])
        node = node.parts[1]
    return [*spine, node]


def letter_of(node: RegexNode) -> tuple[str, bool] | None:
    """The one character that a node stands for, and whether in both cases (the lower one is given); else None."""
    if node.kind is not RegexKind.CHARS or len(node.ranges) > 2 or any(first != last for first, last in node.ranges):
        return None
    first, last = node.ranges[0][0], node.ranges[-1][0]
    if first == last:
        return chr(first), False
    return (chr(last), True) if 65 <= first <= 90 and last == first + 32 else None


def ends_of(node: RegexNode) -> tuple[str, str]:
    """Texts with which every fitting text begins and ends once A to Z are in lower case; empty where none is known."""
    spine = spine_of(node)
    return _literal(spine), _literal(spine[::-1])[::-1]


def _literal(spine: list[RegexNode]) -> str:
    letters = []
    for node in spine:
        letter = letter_of(node)
        if letter is None:
            break
        letters.append(letter[0].lower() if letter[0].isascii() else letter[0])
    return "".join(letters)
