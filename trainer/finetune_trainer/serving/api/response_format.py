"""The `response_format` of a chat request: text, any JSON object, or JSON that matches a schema."""

from __future__ import annotations

import re
from typing import Any

from ..constraints import BadSchema, Grammar, Grammars
from .errors import invalid

FORMATS = ("text", "json_object", "json_schema")
NAME = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


def format_grammar(value: Any, grammars: Grammars) -> Grammar | None:
    """What the answer must match; None for text. Raises ApiError naming the place."""
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in FORMATS:
        raise invalid("response_format.type", f"response_format.type must be one of {', '.join(FORMATS)}.")
    allowed = {"type", "json_schema"} if kind == "json_schema" else {"type"}
    if extra := sorted(set(value) - allowed):
        raise invalid(f"response_format.{extra[0][:80]}", f"Unknown field in a response_format of type {kind}.")
    if kind == "text":
        return None
    if kind == "json_object":
        return grammars.of_schema({"type": "object"})
    return _schema_grammar(value.get("json_schema"), grammars)


def _schema_grammar(value: Any, grammars: Grammars) -> Grammar:
    where = "response_format.json_schema"
    if not isinstance(value, dict):
        raise invalid(where, f"{where} must be an object with name and schema.")
    if extra := sorted(set(value) - {"name", "description", "schema", "strict"}):
        raise invalid(f"{where}.{extra[0][:80]}", f"Unknown field in {where}.")
    name, schema = value.get("name"), value.get("schema")
    if not isinstance(name, str) or not NAME.match(name):
        raise invalid(f"{where}.name", f"{where}.name must be 1 to 64 letters, digits, underscores or dashes.")
    if value.get("strict") not in (None, True, False):
        raise invalid(f"{where}.strict", f"{where}.strict must be true or false.")
    if not isinstance(schema, dict):
        raise invalid(f"{where}.schema", f"{where}.schema must be a JSON Schema object.")
    try:
        return grammars.of_schema(schema)
    except BadSchema as error:
        place = f"{where}.schema.{error.place}" if error.place else f"{where}.schema"
        raise invalid(place, f"This schema cannot be used at {place}: {error}.", "invalid_json_schema") from error
