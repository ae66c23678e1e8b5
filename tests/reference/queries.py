"""Random queries over the fields of a random world, most of them valid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.reference.worlds import values_for

STRINGS = ("keyword", "text", "wildcard", "constant_keyword", "short_keyword", "defaulted")
NUMBERS = ("long", "integer", "short", "byte", "double")
"""Types that arithmetic is done on; the others are only compared."""
COMPARED = ("unsigned_long", "float", "half_float", "scaled_float")
DATES = ("date", "date_nanos", "epoch")
PATTERNS = ("a*", "*b", "*", "?", "a?", "*B*", "a", "A", "É", "*x*", "c:\\*", "", "?a", "*😀*", "b*", "??", "a*c")
REGEXES = (
    "a.*",
    "[a-b]+",
    "a|b",
    "(ab)?c?",
    "a\\.b",
    ".",
    "[^a].*",
    "A",
    "a{1,2}",
    "^a$",
    ".*",
    "[aé]b*",
    "\\d+",
    "\\w*",
)
NEEDLES = ("a", "b", "A", "", "é", "*", "\\x", ".", "b*", "?", "\\", "b\\", "x\\\\")


class QueryMaker:
    """Makes queries over named fields of known types; `spare` are optional fields that nothing maps."""

    def __init__(self, rng: Random, fields: dict[str, str]) -> None:
        self._rng = rng
        self._fields = fields

    def statement(self) -> str:
        chance = self._rng.random()
        if chance < 0.5:
            return self._event() + self._pipes()
        if chance < 0.85:
            return self._sequence() + self._pipes()
        return self._sample()

    def _pipes(self) -> str:
        pipes = ""
        while self._rng.random() < 0.15:
            pipes += f" | {self._rng.choice(('head', 'tail'))} {self._rng.choice((0, 1, 2, 3, 20))}"
        return pipes

    def _event(self, depth: int = 2) -> str:
        category = self._rng.choice(("any", "any", "x", "y", '"x"'))
        return f"{category} where {self.condition(depth)}"

    # Sequences and samples.

    def _keys(self) -> tuple[str, list[str]]:
        """Keys of the whole statement, and the kinds of those that each term has of its own."""
        usable = [name for name, kind in self._fields.items() if name != "uid" and kind != "unsigned_long"]
        shared = self._rng.sample(usable, min(len(usable), self._rng.choice((0, 0, 1, 1, 2))))
        by = f" by {', '.join(map(self._optional, shared))}" if shared else ""
        own = [self._family(self._rng.choice(usable))] if usable and self._rng.random() < 0.25 else []
        return by, own

    def _family(self, name: str) -> str:
        kind = self._fields[name]
        return next((family for family, kinds in FAMILIES.items() if kind in kinds), kind)

    def _own_keys(self, families: Sequence[str]) -> str:
        if not families:
            return ""
        names = [name for name in self._fields if self._family(name) == families[0]]
        return f" by {self._optional(self._rng.choice(names))}"

    def _optional(self, name: str) -> str:
        chance = self._rng.random()
        return "?unmapped.key" if chance < 0.02 else f"?{name}" if chance < 0.3 else name

    def _light(self) -> str:
        """A term's query, often one that matches much."""
        if self._rng.random() < 0.4:
            return self._rng.choice(("any where true", "x where true", "y where true", "any where uid >= 0"))
        return self._event(depth=1)

    def _sequence(self) -> str:
        by, own = self._keys()
        missing = self._rng.random() < 0.35
        maxspan = ""
        if missing or self._rng.random() < 0.4:
            maxspan = f" with maxspan={self._rng.choice(('1ms', '1s', '2s', '3s', '10s', '1m', '1h', '1d'))}"
        count = self._rng.choice((2, 2, 3, 3, 4))
        gaps = [missing and self._rng.random() < 0.4 for _ in range(count)]
        if all(gaps):
            gaps[self._rng.randrange(count)] = False
        terms = "".join(self._term(own, missing=gap) for gap in gaps)
        until = f" until [{self._light()}]{self._own_keys(own)}" if self._rng.random() < 0.25 else ""
        return f"sequence{by}{maxspan}{terms}{until}"

    def _term(self, own: Sequence[str], *, missing: bool) -> str:
        runs = f" with runs={self._rng.choice((1, 2, 3))}" if self._rng.random() < 0.12 else ""
        return f" {'!' * missing}[{self._light()}]{self._own_keys(own)}{runs}"

    def _sample(self) -> str:
        by, own = self._keys()
        if not by and not own:
            by = " by uid"
        terms = "".join(f" [{self._light()}]{self._own_keys(own)}" for _ in range(self._rng.choice((2, 2, 3))))
        return f"sample{by}{terms}"

    # Conditions.

    def condition(self, depth: int) -> str:
        chance = self._rng.random()
        if depth > 0 and chance < 0.35:
            parts = [self.condition(depth - 1) for _ in range(self._rng.choice((2, 2, 3)))]
            return f"({self._rng.choice((' and ', ' or ')).join(parts)})"
        if chance < 0.5:
            return f"not {self._grouped(depth)}"
        return self._leaf()

    def _grouped(self, depth: int) -> str:
        return f"({self.condition(depth - 1)})" if depth > 0 else self._leaf()

    def _leaf(self) -> str:
        chance = self._rng.random()
        if chance < 0.05:
            return self._rng.choice(UNMAPPED)
        if chance < 0.08:
            return self._rng.choice(("true", "false", "1 == 1", "null == 1", "null > 1", 'length("ab") == 2'))
        name = self._rng.choice(list(self._fields))
        if chance < 0.14:
            return f"{self._name(name)} {self._rng.choice(('==', '!='))} null"
        if chance < 0.30:
            found = self._script_leaf()
            if found:
                return found
        return self._field_leaf(name, self._fields[name])

    def _name(self, name: str) -> str:
        return f"?{name}" if self._rng.random() < 0.1 else name

    def _field_leaf(self, name: str, kind: str) -> str:
        rng, shown = self._rng, self._name(name)
        if kind == "boolean":
            return rng.choice(
                (shown, f"{shown} == true", f"{shown} != false", f"{shown} == false", f'{shown} == "true"')
            )
        if kind in STRINGS:
            return self._string_leaf(shown)
        if kind == "ip" and rng.random() < 0.5:
            blocks = rng.sample(('"10.0.0.0/30"', '"192.168.0.0/16"', '"::/64"', '"0.0.0.0/0"', '"10.0.0.2"'), 2)
            return f"cidrMatch({shown}, {', '.join(blocks)})"
        if kind not in (*DATES, "ip", "version") and rng.random() < 0.25:
            constants = [self._constant(kind) for _ in range(rng.randint(1, 3))]
            return f"{shown} {rng.choice(('', 'not '))}in ({', '.join(constants)})"
        operator = rng.choice(("==", "!=", "<", "<=", ">", ">="))
        constant = self._constant(kind)
        if rng.random() < 0.1:
            return f"{constant} {operator} {shown}"
        return f"{shown} {operator} {constant}"

    def _constant(self, kind: str) -> str:
        rng = self._rng
        if kind in DATES:
            texts = ("2024-01-01", "2024-01-01T00:00:03Z", "2024-01-01T00:00:01", "2024", "now-1d", "2024-01-01||+3s")
            return text(rng.choice(texts))
        value = rng.choice(values_for(kind))
        if kind in (*NUMBERS, *COMPARED):
            if rng.random() < 0.1:
                return text(str(value))
            return str(rng.choice((value, value, 0.1, 1.5, 2))) if kind not in ("unsigned_long",) else str(value)
        return text(str(value))

    def _string_leaf(self, shown: str) -> str:
        rng = self._rng
        form = rng.randrange(8)
        if form == 0:
            return f"{shown} {rng.choice(('==', '!=', '<', '<=', '>', '>='))} {text(rng.choice(values_for('keyword')))}"
        if form == 1:
            items = [text(rng.choice(values_for("keyword"))) for _ in range(rng.randint(1, 4))]
            return f"{shown} {rng.choice(('in', 'in', 'not in', 'in~'))} ({', '.join(items)})"
        if form in (2, 3):
            operator = rng.choice((":", ":", "like", "like~"))
            return f"{shown} {operator} {self._list(PATTERNS)}"
        if form == 4:
            return f"{shown} {rng.choice(('regex', 'regex~'))} {self._list(REGEXES)}"
        if form == 5:
            return f"{shown} == {rng.choice(('5', '1', '2.5', 'true'))}"
        name = rng.choice(("startsWith", "endsWith", "stringContains", "endswith"))
        after = rng.choice(("", " == false", " != true"))
        return f"{name}{rng.choice(('', '~'))}({shown}, {text(rng.choice(NEEDLES))}){after}"

    def _list(self, among: Sequence[str]) -> str:
        if self._rng.random() < 0.6:
            return text(self._rng.choice(among))
        return f"({', '.join(text(self._rng.choice(among)) for _ in range(self._rng.randint(1, 4)))})"

    # Scripts.

    def _script_leaf(self) -> str:
        rng = self._rng
        string, number = self._string(), self._number()
        options: list[str] = []
        operator = rng.choice(("==", "!=", "<", "<=", ">", ">="))
        if number:
            options.append(f"{number} {operator} {rng.choice(('0', '1', '2', '3', '1.5', '-1', '21'))}")
            options.append(f"{rng.choice(('1', '2'))} {operator} {number}")
            options.append(f"{number} {rng.choice(('in', 'not in'))} (1, 2, 3.0)")
            options.append(f"({number} > 1) {rng.choice(('==', '!='))} {rng.choice(('null', 'true', 'false'))}")
            options.append(f"{number} == null")
        if string:
            options.append(f"{string} {operator} {text(rng.choice(values_for('keyword')))}")
            options.append(f"{string} {rng.choice((':', 'like', 'like~'))} {self._list(PATTERNS)}")
            options.append(
                f"{string} {rng.choice(('regex', 'regex~'))} {self._list(('a.*', '[a-b]+', 'A', '.*b', 'a|b'))}"
            )
            options.append(f"{string} {rng.choice(('in', 'in~'))} ({text('ab')}, {text('A')}, {text('1')})")
            options.append(f"startsWith{rng.choice(('', '~'))}({text('abcdef')}, {string})")
            options.append(f"stringContains{rng.choice(('', '~'))}({string}, {string})")
            options.append(f"{string} != null")
        return rng.choice(options) if options else ""

    def _string(self, depth: int = 1) -> str:
        rng = self._rng
        names = [name for name, kind in self._fields.items() if kind in STRINGS]
        others = [name for name, kind in self._fields.items() if kind in (*NUMBERS, *DATES, "boolean", "ip")]
        if not names:
            return f"string({rng.choice(others)})" if others else ""
        name = rng.choice(names)
        inner = self._string(depth - 1) if depth > 0 and rng.random() < 0.3 else name
        bound = rng.choice(("0", "1", "2", "-1", "-2", "5"))
        forms = [
            f"substring({inner}, {bound})",
            f"substring({inner}, {bound}, {rng.choice(('0', '1', '2', '-1', '9', 'null'))})",
            f"concat({inner}, {rng.choice((text('x'), *names, *others, '1', 'true', '2.5'))})",
            f"between{rng.choice(('', '~'))}({inner}, {text(rng.choice('aAé'))}, {text(rng.choice(('b', 'c', '')))})",
            f"string({inner})",
        ]
        return rng.choice(forms)

    def _number(self, depth: int = 1) -> str:
        rng = self._rng
        strings = [name for name, kind in self._fields.items() if kind in STRINGS]
        numbers = [name for name, kind in self._fields.items() if kind in NUMBERS]
        forms = []
        if strings:
            name = rng.choice(strings)
            start = rng.choice(("", ", 0", ", 1", ", 5"))
            needle = rng.choice((text("b"), text("B"), text(""), *strings))
            forms += [f"length({name})", f"indexOf{rng.choice(('', '~'))}({name}, {needle}{start})"]
        if numbers:
            one = rng.choice(numbers)
            other = self._number(depth - 1) if depth > 0 and rng.random() < 0.3 else rng.choice((*numbers, "2", "1.5"))
            forms += [
                f"({one} {rng.choice('+-*')} {other or 1})",
                f"({one} {rng.choice('/%')} {rng.choice(('2', '3', '-2', '1.5'))})",
                f"{rng.choice(('add', 'subtract', 'multiply'))}({one}, {other or 1})",
                f"-{one}",
                f"length(string({one}))",
            ]
        return rng.choice(forms) if forms else ""


FAMILIES = {"string": STRINGS, "number": (*NUMBERS, *COMPARED), "date": DATES}
UNMAPPED = (
    "?no.field == null", "?no.field != null", '?no.field == "a"', '?no.field != "a"', "?no.field < 5",
    '?no.field : "a*"', '?no.field in ("a")', "length(?no.field) > 0", "?no.field == 1",
    '?no.field like "*"', "?no.field",
)  # fmt: skip


def text(value: Any) -> str:
    """A string constant as a query writes it."""
    return json.dumps(str(value), ensure_ascii=False)
