"""A mapping, documents and random queries of KQL and of Lucene's syntax over them."""

from __future__ import annotations

import random
from typing import Any

MAPPING: dict[str, Any] = {
    "dynamic": False,
    "properties": {
        "name": {"type": "keyword", "fields": {"caseless": {"type": "keyword", "normalizer": "lowercase"}}},
        "user": {"properties": {"name": {"type": "keyword"}, "id": {"type": "long"}, "note": {"type": "text"}}},
        "line": {"type": "keyword", "ignore_above": 40, "fields": {"text": {"type": "text"}}},
        "script": {"type": "text"},
        "port": {"type": "long"},
        "small": {"type": "integer"},
        "score": {"type": "double"},
        "real": {"type": "boolean"},
        "seen": {"type": "date"},
        "address": {"type": "ip"},
        "labels": {"type": "flattened"},
        "file": {
            "type": "nested",
            "properties": {
                "name": {"type": "keyword"},
                "size": {"type": "long"},
                "text": {"type": "text"},
                "part": {"type": "nested", "properties": {"name": {"type": "keyword"}, "size": {"type": "long"}}},
            },
        },
    },
}

WORDS = (
    "net",
    "Net",
    "user",
    "cmd.exe",
    "foo_bar",
    "it's",
    "x-y",
    "10.0.0.1",
    "1",
    "true",
    "ümlaut",
    "日本",
    "or",
    "a*b",
    "q?",
)
TEXTS = (*WORDS, "net user", "Net USER admin", "foo bar", "C:\\Temp\\cmd.exe", "x or y", "", "tab\there", "two\nlines")
NUMBERS = (-3, 0, 1, 2, 7, 100, 2**31, 2**53 + 1)
DECIMALS = (0.5, -1.25, 3.0, 100.0, 1e-3)
DATES = ("2026-03-02T10:15:20.123Z", "2026-03-02", "2026-01-01T00:00:00Z", "2026-03-02T23:59:59.999Z", 1772445600000)
ADDRESSES = ("10.0.0.1", "10.9.9.9", "192.168.1.5", "::1", "fe80::1", "::ffff:10.0.0.2")


def _maybe_several(rng: random.Random, values: tuple[Any, ...]) -> Any:
    chosen = rng.random()
    if chosen < 0.7:
        return rng.choice(values)
    return [rng.choice((*values, None)) for _ in range(rng.randrange(4))]


def documents(seed: int, count: int) -> list[dict[str, Any]]:
    """Documents with a few of the fields each; some with dotted names."""
    rng = random.Random(seed)
    return [_document(rng) for _ in range(count)]


def _document(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    values: dict[str, tuple[Any, ...]] = {
        "name": TEXTS,
        "line": (*TEXTS, "long " * 9),
        "script": (*TEXTS, "AmsiUtils.amsiInit failed", "key=value; foo-bar"),
        "port": NUMBERS,
        "small": NUMBERS[:6],
        "score": DECIMALS,
        "real": (True, False, "true", ""),
        "seen": DATES,
        "address": ADDRESSES,
    }
    for field, given in values.items():
        if rng.random() < 0.4:
            made[field] = _maybe_several(rng, given)
    if rng.random() < 0.5:
        user = {"name": _maybe_several(rng, TEXTS), "id": _maybe_several(rng, NUMBERS), "note": rng.choice(TEXTS)}
        kept = {key: value for key, value in user.items() if rng.random() < 0.6}
        if rng.random() < 0.3:
            made |= {f"user.{key}": value for key, value in kept.items()}
        elif kept:
            made["user"] = kept
    if rng.random() < 0.3:
        made["labels"] = {"env": rng.choice(WORDS), "deep": {"key": _maybe_several(rng, WORDS)}}
    if rng.random() < 0.5:
        files = [_file(rng) for _ in range(rng.randrange(4))]
        made["file"] = files[0] if len(files) == 1 else files
    return made


def _file(rng: random.Random) -> dict[str, Any]:
    made = {"name": _maybe_several(rng, TEXTS), "size": _maybe_several(rng, NUMBERS), "text": rng.choice(TEXTS)}
    kept: dict[str, Any] = {key: value for key, value in made.items() if rng.random() < 0.7}
    if rng.random() < 0.4:
        kept["part"] = [{"name": rng.choice(WORDS), "size": rng.choice(NUMBERS)} for _ in range(rng.randrange(3))]
    return kept


FIELDS = (
    *("name", "name.caseless", "line", "line.text", "script", "port", "small", "score", "real", "seen", "address"),
    *("user.name", "user.id", "user.note", "labels", "labels.env", "labels.deep.key", "user", "nowhere", "labels.none"),
)
PATTERNS = ("name*", "user.*", "*.name", "li*", "no*where", "s*", "file.n*", "*", "line*", "user.n*")
NESTED = ("name", "size", "text", "none", "n*")


def kql_query(rng: random.Random) -> str:
    """A query that is KQL; most can be searched, some fail on a field's type."""
    return _kql(rng, rng.randrange(4))


def _kql(rng: random.Random, depth: int, nested: str = "") -> str:
    chosen = rng.random()
    if depth and chosen < 0.5:
        word = rng.choice((" and ", " or ", " AND ", "  Or "))
        return f"({word.join(_kql(rng, depth - 1, nested) for _ in range(rng.randrange(2, 4)))})"
    if depth and chosen < 0.65:
        return f"not ({_kql(rng, depth - 1, nested)})"
    if depth and chosen < 0.8 and nested != "part":
        path = "part" if nested else "file"
        return f"{path}:{{ {_kql(rng, depth - 1, path)} }}"
    return _leaf(rng, nested)


def _leaf(rng: random.Random, nested: str) -> str:
    if not nested and rng.random() < 0.1:
        return _value(rng, rng.choice(("name", "port")))
    names = NESTED if nested else PATTERNS if rng.random() < 0.12 else FIELDS
    field = rng.choice(names)
    chosen = rng.random()
    if chosen < 0.2:
        return f"{field} {rng.choice(('<', '<=', '>', '>='))} {_plain_value(rng, field)}"
    if chosen < 0.35:
        word = rng.choice((" and ", " or "))
        values = word.join(rng.choice(("", "", "not ")) + _value(rng, field) for _ in range(rng.randrange(2, 4)))
        return f"{field}:({values})"
    return f"{field}: {_value(rng, field)}"


def _value(rng: random.Random, field: str) -> str:
    chosen = rng.random()
    if chosen < 0.12:
        return "*"
    if chosen < 0.3 and field.split(".")[-1] not in ("port", "small", "score", "real", "seen", "address", "id", "size"):
        # Elasticsearch compares other patterns of a flattened field's key with the values of all its keys.
        return f"{_escaped(rng.choice(WORDS))[:1]}*" if field.startswith("labels.") else _pattern(rng)
    return _plain_value(rng, field)


def _pattern(rng: random.Random) -> str:
    text = rng.choice(TEXTS)
    cuts = sorted(rng.sample(range(len(text) + 1), min(len(text) + 1, rng.randrange(1, 3))))
    return "*".join(_escaped(text[start:end]) for start, end in zip([0, *cuts], [*cuts, None], strict=True)) or "*"


def _escaped(text: str) -> str:
    text = "".join(f"\\{char}" if char in '\\():<>"*{}' else char for char in text)
    for word in ("or", "and", "not"):
        text = text.replace(f" {word}", f" \\{word}")
    return text.replace("\t", "\\t").replace("\n", "\\n")


def _plain_value(rng: random.Random, field: str) -> str:
    chosen = rng.random()
    of_type: tuple[Any, ...] = {
        "port": NUMBERS, "small": NUMBERS, "id": NUMBERS, "size": NUMBERS, "score": DECIMALS, "real": ("true", "false"),
        "seen": ("2026-03-02", "2026-03", "2026", "2026-03-02T10", "now-1d/d", "2026-03-02||+1d/d", 1772445600000),
        "address": ("10.0.0.1", "10.0.0.0/8", "192.168.0.0/16", "::1"),
    }.get(field.split(".")[-1], TEXTS)  # fmt: skip
    text = str(rng.choice(of_type if chosen < 0.93 else (*TEXTS, "1.5", "0x1", "99999999999999999999")))
    if rng.random() < 0.5 or not text.strip() or text in ("or", "and", "not"):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _escaped(text)


def lucene_query(rng: random.Random) -> str:
    """A text that `query_string` can parse."""
    return _clauses(rng, rng.randrange(3), None)


def _clauses(rng: random.Random, depth: int, field: str | None) -> str:
    parts = []
    for number in range(rng.randrange(1, 4)):
        word = rng.choice(("", "", "AND ", "OR ", "|| ", "&& ")) if number else ""
        parts.append(word + rng.choice(("", "", "", "+", "-", "NOT ", "!")) + _clause(rng, depth, field))
    return " ".join(parts)


def _clause(rng: random.Random, depth: int, field: str | None) -> str:
    name = ""
    if field is None and rng.random() < 0.8:
        field = rng.choice((*FIELDS, "user.\\*", "file.name"))
        name = f"{field}:"
    if depth and rng.random() < 0.4:
        return f"{name}({_clauses(rng, depth - 1, field)})"
    return name + _term(rng, (field or "name").replace("\\*", "name"))


def _term(rng: random.Random, field: str) -> str:
    text = rng.choice(TEXTS[:-6])
    chosen = rng.random()
    ends = [_range_end(rng, field) for _ in range(2)]
    if chosen < 0.12:
        return f"{rng.choice('[{')}{ends[0]} TO {ends[1]}{rng.choice(']}')}"
    if chosen < 0.2:
        return f"{rng.choice(('>', '>=', '<', '<='))}{_lucene(ends[0].strip('*') or '1')}"
    if chosen < 0.3:
        return "*"
    if chosen < 0.42 and text and not field.startswith("labels."):
        cut = rng.randrange(1, len(text) + 1)
        return f"{_lucene(text[:cut])}{rng.choice(('*', '?', '*'))}{_lucene(text[cut + 1 :])}"
    if chosen < 0.5:
        return rng.choice(("/net|user/", "/[a-z]+/", "/.*bar/", "/N.t/", "/(foo|10).*/"))
    if chosen < 0.58 and text.isalpha():
        return f"{text}~{rng.choice(('', '1', '2'))}"
    if chosen < 0.66:
        return rng.choice(('"user net"~2', '"net admin"~1', '"admin user net"~5', '"foo bar"'))
    value = ends[0].strip("*") or text
    return f'"{value}"' if rng.random() < 0.3 and "\\" not in value and value else _lucene(value) or '""'


def _range_end(rng: random.Random, field: str) -> str:
    last = field.split(".")[-1]
    if rng.random() < 0.15:
        return "*"
    of_type: tuple[Any, ...] = {
        "port": NUMBERS, "small": NUMBERS, "id": NUMBERS, "score": DECIMALS, "real": ("true", "false"),
        "seen": ("2026-03-02", "2026", "2026-03-02T10", "now-1d"), "address": ("10.0.0.1", "192.168.1.5", "10.9.9.9"),
    }.get(last, tuple(word for word in WORDS if word not in ("a*b", "q?", "or")))  # fmt: skip
    return str(rng.choice(of_type))


def _lucene(text: str) -> str:
    return "".join(f"\\{char}" if char in '+-!(){}[]^"~*?:\\/ ' else char for char in text)
