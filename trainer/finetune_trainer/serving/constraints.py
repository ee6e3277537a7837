"""Answers that must match a JSON Schema or a grammar: constrained decoding with llguidance."""

from __future__ import annotations

import functools
import json
import re
import threading
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from ..data.patterns import any_of

# White space between the parts of JSON: none, a space, or a line with its indentation. A model that repeats itself
# would fill its whole answer with more.
WHITESPACE = r"( |\n[ \t]{0,16})?"
# Names in llguidance's messages: keywords it does not know, and values it refuses.
QUOTED = re.compile(r'["\']([^"\']+)["\']')


class BadSchema(ValueError):
    """A schema that answers cannot be held to. `place` is a path of keys inside the schema, or empty."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


class TooComplex(RuntimeError):
    """A grammar that needs more work or memory than its limits allow, which shows while an answer is generated."""


class Grammar:
    """What an answer must match. Compiled once; every answer gets its own `constraint`."""

    def __init__(self, matcher: LLMatcher, ends: list[int]) -> None:
        self._matcher, self._ends = matcher, ends

    def constraint(self) -> TokenConstraint:
        """The state of one answer at its beginning."""
        return TokenConstraint(self._matcher.deep_copy(), self._ends)


class TokenConstraint:
    """One answer that must match a grammar: says which tokens may come next. At the end only end tokens may."""

    def __init__(self, matcher: LLMatcher, ends: list[int]) -> None:
        self._matcher, self._ends = matcher, ends

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits, with -inf for every token that may not come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise TooComplex(_first_line(self._matcher.get_error()))
        allowed = np.zeros(len(logits), bool)
        known = np.unpackbits(bits, bitorder="little")[: len(logits)]
        allowed[: len(known)] = known
        allowed[self._ends] = allowed[self._ends].any()  # llguidance knows one of them
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)

    def advance(self, token: int) -> None:
        """Takes the chosen token."""
        if not self._matcher.consume_token(token):
            raise TooComplex(_first_line(self._matcher.get_error()))


class Grammars:
    """Compiles grammars for one tokenizer. `ends` are the tokens that end an answer."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: set[int]) -> None:
        self._tokenizer, self._vocabulary, self._ends = tokenizer, vocabulary, sorted(ends) or [tokenizer.pad_token_id]
        self._lock = threading.Lock()

    def of_schema(self, schema: dict[str, Any]) -> Grammar:
        """JSON that matches a schema. Raises BadSchema."""
        try:
            return self.of_text(json_grammar(schema))
        except ValueError as error:
            raise _bad_schema(schema, str(error)) from error

    def of_lark(self, text: str) -> Grammar:
        """Text that matches a grammar in llguidance's form of Lark, in which `json_rule` and `literal` give parts.
        Raises ValueError.
        """
        return self.of_text(LLMatcher.grammar_from_lark(text))

    def of_text(self, grammar: str) -> Grammar:
        """Compiles a grammar in llguidance's own form. Raises ValueError."""
        matcher = LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        first = matcher.deep_copy()
        first.compute_bitmask()
        if first.is_error():  # a schema that refers to itself alone, for example
            raise ValueError("no answer can match it")
        return Grammar(matcher, self._ends)

    def literal(self, text: str) -> str:
        """Exact text as a part of a Lark grammar. Special tokens in it are matched as tokens, not as their letters."""
        special = {
            str(token): number for number, token in self._tokenizer.added_tokens_decoder.items() if token.special
        }
        if not special:
            return json.dumps(text)
        parts = any_of(special).split(text)
        return " ".join(f"<[{special[part]}]>" if part in special else json.dumps(part) for part in parts if part)

    @property
    def _tokens(self) -> LLTokenizer:
        with self._lock:  # it takes a second, and two requests may ask at once
            return self._made

    @functools.cached_property
    def _made(self) -> LLTokenizer:
        return from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends[0])


def constraint_for_schema(grammars: Grammars, schema: dict[str, Any], before: str = "", after: str = "") -> Grammar:
    """JSON that matches a schema, between two exact texts, as a tool call is written. Raises BadSchema."""
    try:
        return grammars.of_lark(
            f"start: {grammars.literal(before)} value {grammars.literal(after)}\nvalue: {json_rule(schema)}\n"
            if before or after
            else f"start: {json_rule(schema)}\n"
        )
    except ValueError as error:
        raise _bad_schema(schema, str(error)) from error


# Keywords that add properties from elsewhere: an object with one of them is not closed.
OPEN_KEYWORDS = {
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "$ref",
}


def closed(schema: Any) -> Any:
    """A schema whose objects have only the properties they declare, unless it says otherwise. JSON Schema allows any
    others, so a model that is made to call a function would add its own.
    """
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed_value(key, value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not OPEN_KEYWORDS & schema.keys():
        inner["additionalProperties"] = False
    return inner


def _closed_value(key: str, value: Any) -> Any:
    if key in ("properties", "patternProperties", "$defs", "definitions") and isinstance(value, dict):
        return {name: closed(one) for name, one in value.items()}  # names, not keywords
    return value if key in ("enum", "const", "default", "examples") else closed(value)


def json_rule(schema: dict[str, Any]) -> str:
    """A schema as a part of a Lark grammar."""
    return f"%json {json.dumps(_bounded(schema))}"


def json_grammar(schema: dict[str, Any]) -> str:
    """A schema as a grammar in llguidance's own form."""
    return LLMatcher.grammar_from_json_schema(_bounded(schema))


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "x-guidance": {"whitespace_pattern": WHITESPACE}}


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0][:200]


def _bad_schema(schema: dict[str, Any], message: str) -> BadSchema:
    """Names the place of what llguidance refuses: it names only the keyword or the value."""
    line = _first_line(message) or "it cannot be compiled"
    words = QUOTED.findall(line) + re.findall(r"(?:type|format): (\S+)", line) + re.findall(r"^(\w+) constraints", line)
    return BadSchema(line, next((place for word in words if (place := _place_of(schema, word))), ""))


def _place_of(schema: Any, word: str) -> str:
    """Path to the first key, or to the first text value, that is `word`; empty when there is none."""
    found: list[tuple[str, Any]] = [("", schema)]
    while found:
        path, value = found.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, one in items:
            deeper = f"{path}.{key}".lstrip(".")[:200]
            if key == word or one == word or (isinstance(one, str) and one.endswith(word)):
                return deeper
            found.append((deeper, one))
    return ""
