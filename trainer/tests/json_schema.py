"""The part of JSON Schema (2020-12) that the spec's schema uses. A keyword it does not know is an
error, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and v == int(v),
}


def same(value: Any, other: Any) -> bool:
    """Equal as JSON values: true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


LIMITS = {
    "minimum": lambda v, limit: v >= limit,
    "maximum": lambda v, limit: v <= limit,
    "exclusiveMinimum": lambda v, limit: v > limit,
    "exclusiveMaximum": lambda v, limit: v < limit,
}


def valid(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value fits a schema."""
    return all(_holds(keyword, wanted, schema, value) for keyword, wanted in schema.items())


def _holds(keyword: str, wanted: Any, schema: dict[str, Any], value: Any) -> bool:
    if keyword == "type":
        return TYPES[wanted](value)
    if keyword == "const":
        return same(value, wanted)
    if keyword == "enum":
        return any(same(value, one) for one in wanted)
    if keyword == "pattern":
        return not isinstance(value, str) or re.search(wanted, value) is not None
    if keyword == "anyOf":
        return any(valid(one, value) for one in wanted)
    if keyword == "oneOf":
        return sum(valid(one, value) for one in wanted) == 1
    if keyword in LIMITS:
        return not TYPES["number"](value) or LIMITS[keyword](value, wanted)
    if keyword == "items":
        return not isinstance(value, list) or all(valid(wanted, one) for one in value)
    if keyword == "properties":
        return not isinstance(value, dict) or all(valid(wanted[k], v) for k, v in value.items() if k in wanted)
    if keyword == "required":
        return not isinstance(value, dict) or all(name in value for name in wanted)
    if keyword == "additionalProperties":
        others = [v for k, v in value.items() if k not in schema["properties"]] if isinstance(value, dict) else []
        return not others if wanted is False else all(valid(wanted, one) for one in others)
    if keyword == "$schema":
        return True
    raise NotImplementedError(keyword)


def variants(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema without its choices: itself, or every branch of them."""
    branches = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    if not branches:
        yield schema
    for branch in branches:
        yield from variants(branch)


def mutations(schema: dict[str, Any], value: Any) -> Iterator[tuple[str, Any]]:
    """Values that differ from `value` in one field, and where: one missing, one unknown, wrong types, beyond every
    limit.
    """
    for one in variants(schema):
        if isinstance(value, dict) and valid(one, value):
            yield "unknown", {**value, "unknown": 1}
            for name in value:
                yield name, {k: v for k, v in value.items() if k != name}
            for name, inner in one.get("properties", {}).items():
                if name in value:
                    for place, changed in mutations(inner, value[name]):
                        yield f"{name}{'.' if place and place[0] != '[' else ''}{place}", {**value, name: changed}
        if isinstance(value, list) and valid(one, value) and value:
            for place, changed in mutations(one.get("items", {}), value[0]):
                yield f"[0]{'.' if place else ''}{place}", [changed, *value[1:]]
        for keyword, limit in one.items():
            if keyword in LIMITS:
                yield from (("", limit), ("", limit - 1), ("", limit + 1))
    for other in (None, True, "text", 3, 3.5, -1, [], ["text"], [3], {}, {"type": "text"}):
        if not same(other, value):
            yield "", other
