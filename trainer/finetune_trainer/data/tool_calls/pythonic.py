"""Calls as Python: `[name(key=value), …]` of Gemma 3 and Llama, and Google's ```tool_code blocks."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Generator
from typing import Any

from .family import Family
from .reading import END, Malformed, Reader, Written, decode

NAME = re.compile(r"[A-Za-z_][\w.]*")
WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
FENCE, FENCE_END = "```tool_code", "```"
PAIRS = {"[": "]", "(": ")", "{": "}"}


def _read_list(opener: str, tools: list[Any]) -> Reader:
    source = yield from _balanced(opener)
    return _calls(source)


def _read_block(opener: str, tools: list[Any]) -> Reader:
    source = ""
    while not source.endswith(FENCE_END):
        char = yield
        if char == END:  # the end of the answer ends the block
            return _calls(source)
        source += char
    return _calls(source.removesuffix(FENCE_END))


def _balanced(source: str) -> Generator[None, str, str]:
    """Reads to the end of an open bracket."""
    open_ones, quote, escaped = [source], "", False
    while open_ones:
        char = yield
        if char == END:
            raise Malformed
        if len(source) == 1 and not (char.isalpha() or char in "_ \n"):
            raise Malformed  # a list of something else
        source += char
        if escaped:
            escaped = False
        elif quote:
            if char == "\n":
                raise Malformed
            escaped, quote = char == "\\", "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in PAIRS:
            open_ones.append(char)
        elif char in PAIRS.values() and PAIRS[open_ones.pop()] != char:
            raise Malformed
    return source


def _calls(source: str) -> list[Written]:
    try:
        body = ast.parse(source.strip()).body
        found = [call for line in body for call in _of_line(line, source.strip())]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Malformed from error
    if not found:
        raise Malformed
    return found


def _of_line(line: ast.stmt, source: str) -> list[Written]:
    value = line.value if isinstance(line, ast.Expr) else None
    return [_call(one, source) for one in (value.elts if isinstance(value, ast.List) else [value])]


def _call(node: ast.expr | None, source: str) -> Written:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and node.args:
        node = node.args[0]
    if not isinstance(node, ast.Call) or node.args:
        raise Malformed
    name = ast.unparse(node.func)
    if not NAME.fullmatch(name):
        raise Malformed
    return name, _object(((one.arg, one.value) for one in node.keywords), source)


def _object(pairs: Any, source: str) -> str:
    members = []
    for key, value in pairs:
        if not isinstance(key, str):
            raise Malformed
        members.append(f"{json.dumps(key, ensure_ascii=False)}: {_value(value, source)}")
    return "{" + ", ".join(members) + "}"


def _value(node: ast.expr, source: str) -> str:
    """A literal as JSON; numbers keep their digits."""
    written = ast.get_source_segment(source, node) or ""
    if written in WORDS:
        return WORDS[written]
    match node:
        case ast.Constant(value=str() as text):
            return json.dumps(text, ensure_ascii=False)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return "[" + ", ".join(_value(one, source) for one in items) + "]"
        case ast.Dict(keys=keys, values=values):
            named = (key.value if isinstance(key, ast.Constant) else None for key in keys)
            return _object(zip(named, values, strict=True), source)
        case ast.Constant(value=int() | float()) | ast.UnaryOp(op=ast.USub()):
            decode(written)
            return written
    raise Malformed


PYTHONIC = Family("pythonic", _read_list, (), lambda template: "[func_name" in template, (), first=("[",))
TOOL_CODE = Family("tool_code", _read_block, (FENCE,), lambda template: FENCE in template, (), vllm=False)
