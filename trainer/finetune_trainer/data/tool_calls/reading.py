"""Readers of one tool call, character by character: generators that get the next character and return the calls."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

END = ""  # what a reader gets in place of a character when the text is over
BLANK = " \t\r\n"

Written = tuple[str, str]  # a call's name, and its arguments as the model wrote them
Reader = Generator[None, str, list[Written]]


class Malformed(Exception):
    """The text is not a call, and stays text."""


def read_json(first: str = "") -> Generator[None, str, str]:
    """Reads one JSON object or array and returns its source; `first` is a bracket that was read already."""
    text, depth, quoted, escaped = first, len(first), False, False
    while not text or depth:
        char = yield
        if char == END:
            raise Malformed
        if not text and char in BLANK:
            continue
        if not text and char not in "{[":
            raise Malformed
        text += char
        if escaped:
            escaped = False
        elif quoted:
            if char < " ":  # JSON has no line breaks inside a string: a quotation mark is missing
                raise Malformed
            escaped, quoted = char == "\\", char != '"'
        else:
            quoted = char == '"'
            depth += (char in "{[") - (char in "}]")
    return text


def read_close(closer: str) -> Generator[None, str, None]:
    """Reads blanks and then `closer`, or as much of it as comes before the text is over."""
    at = 0
    while at < len(closer):
        char = yield
        if char == END:
            return
        if at == 0 and char in BLANK:
            continue
        if char != closer[at]:
            raise Malformed
        at += 1


def read_calls(closer: str = "", first: str = "") -> Reader:
    """Reads `{"name": …, "arguments": {…}}` or an array of these, and then `closer`."""
    source = yield from read_json(first)
    calls = calls_of(source)
    yield from read_close(closer)
    return calls


def calls_of(source: str) -> list[Written]:
    """The calls in the JSON of one call or an array of calls. Raises Malformed when it is anything else."""
    try:
        items = _items(source) if source[0] == "[" else [source]
        calls = [_call(_members(item)) for item in items]
    except (ValueError, RecursionError) as error:
        raise Malformed from error
    if not calls:
        raise Malformed
    return calls


def _call(members: dict[str, str]) -> Written:
    """`parameters` is what Llama's templates call the arguments."""
    name = json.loads(members.get("name", "null"))
    arguments = members.get("arguments", members.get("parameters", "null"))
    if arguments[0] == '"':  # some models quote them once more
        arguments = json.loads(arguments).strip()
    if not isinstance(name, str) or not name or not isinstance(decode(arguments), dict):
        raise Malformed
    return name, arguments


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def decode(text: str) -> Any:
    """The value of JSON text. Raises ValueError, also for NaN and Infinity."""
    return _DECODER.decode(text)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANK:
        at += 1
    return at


def _value(text: str, at: int) -> tuple[str, int]:
    """The source of the JSON value at `at`, and where the next token begins."""
    at = _skip(text, at)
    _, end = _DECODER.raw_decode(text, at)
    return text[at:end], _skip(text, end)


def _items(text: str) -> list[str]:
    """The sources of an array's items."""
    decode(text)
    at, items = _skip(text, 1), []
    while text[at] != "]":
        item, at = _value(text, at)
        items.append(item)
        at = _skip(text, at + 1) if text[at] == "," else at
    return items


def _members(text: str) -> dict[str, str]:
    """The sources of an object's values by key."""
    if not isinstance(decode(text), dict):
        raise Malformed
    at, members = _skip(text, text.index("{") + 1), {}
    while text[at] != "}":
        key, at = _value(text, at)
        value, at = _value(text, at + 1)
        members[json.loads(key)] = value
        at = _skip(text, at + 1) if text[at] == "," else at
    return members
