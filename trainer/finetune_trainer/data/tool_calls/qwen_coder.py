"""Qwen3-Coder: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`, without JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from typing import Any

from .family import Family
from .hermes import CLOSER, OPENER
from .reading import BLANK, END, Malformed, Reader, decode, read_close

FUNCTION, PARAMETER, PARAMETER_END = "<function=", "<parameter=", "</parameter>"
NAME = re.compile(r"[^\s<>]+")


def _until(marker: str) -> Generator[None, str, str]:
    text = ""
    while not text.endswith(marker):
        char = yield
        if char == END:
            raise Malformed
        text += char
    return text[: -len(marker)]


def _name() -> Generator[None, str, str]:
    name = yield from _until(">")
    if not NAME.fullmatch(name):
        raise Malformed
    return name


def _tag() -> Generator[None, str, str]:
    """Reads blanks and a tag up to `=` or `>`."""
    text = ""
    while not text or text[-1] not in "=>":
        char = yield
        if char == END or (not text and char not in BLANK + "<"):
            raise Malformed
        text += "" if char in BLANK else char
    return text


def _read(opener: str, tools: list[Any]) -> Reader:
    if (yield from _tag()) != FUNCTION:
        raise Malformed
    name = yield from _name()
    types = _types(tools, name)
    values: dict[str, str] = {}
    while (tag := (yield from _tag())) == PARAMETER:
        key = yield from _name()
        text = yield from _until(PARAMETER_END)
        values[key] = _value(text.removeprefix("\n").removesuffix("\n"), types.get(key))
    if tag != "</function>":
        raise Malformed
    yield from read_close(CLOSER)
    return [(name, "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in values.items()) + "}")]


def _types(tools: list[Any], name: str) -> dict[str, Any]:
    for tool in tools:
        function = tool.get("function") or {}
        if function.get("name") == name:
            properties = (function.get("parameters") or {}).get("properties") or {}
            return {key: schema.get("type") for key, schema in properties.items() if isinstance(schema, dict)}
    return {}


def _value(text: str, kind: Any) -> str:
    """The value as JSON: a string where the tool says so, or where the text is not JSON."""
    if kind != "string":
        try:
            decode(text)
            return text.strip()
        except ValueError:
            pass
    return json.dumps(text, ensure_ascii=False)


QWEN_CODER = Family("qwen3_coder", _read, (OPENER,), lambda template: FUNCTION in template, (OPENER, CLOSER))
