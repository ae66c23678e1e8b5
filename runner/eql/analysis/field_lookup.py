"""From names to fields: what a schema says about a name, in Elasticsearch's words where it has no usable field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from runner.events.fields.schema import DataType, Field, Schema
from runner.expressions.types import type_name
from runner.messages.suggestions import Hint, Suggestion, near_names

_COMPOUND = frozenset({DataType.NESTED, DataType.OBJECT})
_UNSUPPORTED = frozenset({DataType.UNSUPPORTED, DataType.FLATTENED})
_MOST_SUGGESTIONS = 25
"""Names that get near names, for each query: a bound on the time that a query full of unknown names takes."""


@dataclass(frozen=True, slots=True)
class Usable:
    """A field that a query may use; `exact` is the one that exact operations read."""

    field: Field
    exact: Field


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a name cannot be used. `unknown`: the schema has nothing of that name."""

    message: str
    hint: Hint = ""
    unknown: bool = False


class FieldFinder:
    """The fields of one schema for one query; remembers what it found."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._found: dict[str, Usable | Unusable] = {}
        self._suggested = 0

    def find(self, name: str, *, suggest: bool = True) -> Usable | Unusable:
        """The field of that name. `suggest`: look for near names where there is none."""
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._look_up(name, suggest)
        return found

    def _look_up(self, name: str, suggest: bool) -> Usable | Unusable:
        field = self._schema.find(name)
        if field is None:
            return Unusable(f"Unknown column [{name}]", self._near(name) if suggest else "", True)
        if field.type is DataType.NESTED:
            return Unusable(f"Cannot use field [{name}] type [nested] due to nested fields not being supported yet")
        if field.ambiguous:
            return Unusable(f"Cannot use field [{name}] due to ambiguities being {field.original_type}")
        if field.type in _UNSUPPORTED:
            written = field.original_type or field.type.value
            return Unusable(f"Cannot use field [{name}] with unsupported type [{written}]")
        if field.type is DataType.OBJECT:
            return Unusable(f"Cannot use field [{name}] type [object] only its subfields")
        parent = self._nested_parent(name)
        if parent:
            return Unusable(
                f"Cannot use field [{name}] type [{type_name(field.type)}] with unsupported nested type in hierarchy "
                f"(field [{parent}])"
            )
        if self._schema.lenient and field.type is DataType.TEXT and field.exact is None:
            # No index has analysed the values of files: they are there as they were written.
            field = replace(field, type=DataType.WILDCARD)
        return Usable(field, self._exact(field))

    def _nested_parent(self, name: str) -> str:
        end = name.find(".")
        while end > 0:
            parent = self._schema.fields.get(name[:end])
            if parent is not None and parent.type is DataType.NESTED:
                return parent.name
            end = name.find(".", end + 1)
        return ""

    def _exact(self, field: Field) -> Field:
        if field.type is not DataType.TEXT or field.exact is None:
            return field
        sub_field = self._schema.find(field.exact)
        return sub_field or Field(field.exact, DataType.KEYWORD, path=field.source_path)

    def _near(self, name: str) -> Hint:
        if self._suggested >= _MOST_SUGGESTIONS:
            return ""
        self._suggested += 1
        return Suggestion(name, partial(_near_fields, self._schema))


def _near_fields(schema: Schema, name: str) -> list[str]:
    """Near names of a field's name, of fields that a query may use; weaker ones only where nothing is very near."""
    unusable = _COMPOUND | _UNSUPPORTED
    usable = [other for other, field in schema.fields.items() if field.type not in unusable]
    near = near_names(name, usable, least=0.75)
    if not near and not schema.lenient:
        near = near_names(name, usable, least=0.5 if len(name) <= 16 else 0.65)
    return near
