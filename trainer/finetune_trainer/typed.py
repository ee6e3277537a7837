"""JSON as typed Python: a value is built as the dataclasses, literals and unions it is annotated with, or refused naming the place."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal


class BadSpec(ValueError):
    """The spec does not fit; the message names the field."""


def build(kind: Any, value: Any, path: str) -> Any:
    """`value` as `kind` (a dataclass, Literal, union, list or plain type), or BadSpec naming `path`."""
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise BadSpec(f"{path}: an object is needed")
        hints = typing.get_type_hints(kind)
        names = [f.name for f in fields(kind)]
        if unknown := sorted(set(value) - set(names)):
            raise BadSpec(f"{path}.{unknown[0]}: this trainer does not know the field; is it older than the server?")
        needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
        if missing := sorted(needed - set(value)):
            raise BadSpec(f"{path}.{missing[0]}: missing")
        return kind(**{name: build(hints[name], value[name], f"{path}.{name}") for name in names if name in value})
    origin = typing.get_origin(kind)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in typing.get_args(kind)):
            raise BadSpec(f"{path}: {value!r} is not one of {', '.join(map(str, typing.get_args(kind)))}")
        return value
    if origin in (typing.Union, types.UnionType):
        named = {_type_of(choice): choice for choice in typing.get_args(kind) if is_dataclass(choice)}
        if named and None not in named and isinstance(value, dict) and "type" in value:
            if value["type"] not in named:
                raise BadSpec(f"{path}.type: {value['type']!r} is not one of {', '.join(map(str, named))}")
            return build(named[value["type"]], value, path)
        errors = []
        for choice in typing.get_args(kind):
            try:
                return build(choice, value, path)
            except BadSpec as error:
                errors.append(str(error))
        raise BadSpec(errors[0])
    if origin is list:
        if not isinstance(value, list):
            raise BadSpec(f"{path}: a list is needed")
        (item,) = typing.get_args(kind)
        return [build(item, v, f"{path}[{i}]") for i, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise BadSpec(f"{path}: an object is needed")
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (kind is float and value != value):
        raise BadSpec(f"{path}: {value!r} is not of type {getattr(kind, '__name__', kind)}")
    return value


def _type_of(kind: Any) -> Any:
    """The one value of a dataclass's field `type`, or None: what tells the choices of a union apart."""
    hint = typing.get_type_hints(kind).get("type")
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Literal else None
