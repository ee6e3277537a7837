"""Structured output: llguidance against xgrammar and outlines-core: preparation, masks, and keywords obeyed or not.

`bun run bench grammars MODEL_DIR`, after `pip install --no-deps xgrammar apache-tvm-ffi outlines-core`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"enum": ["invoice", "receipt", "letter"]},
        "date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "amount": {"type": "number"},
                    "tags": {"$ref": "#/$defs/tags"},
                },
                "required": ["text", "amount", "tags"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["name", "kind", "date", "lines"],
    "additionalProperties": False,
    "$defs": {"tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3}},
}
ANSWER = {
    "name": "Ada Łovelace",
    "kind": "receipt",
    "date": "2026-11-29",
    "lines": [{"text": f"line {n} of the receipt", "amount": 1.5 * n, "tags": ["a", "b"]} for n in range(12)],
}
# Keywords that a library must obey or refuse: (name, schema, an answer that breaks it).
ODD = [
    ("multipleOf", {"type": "integer", "multipleOf": 7}, "8"),
    ("minimum", {"type": "integer", "minimum": 10}, "9"),
    ("pattern", {"type": "string", "pattern": "^a+$"}, '"b"'),
    ("format date", {"type": "string", "format": "date"}, '"x"'),
    ("minItems", {"type": "array", "items": {"type": "integer"}, "minItems": 2}, "[1]"),
    ("uniqueItems", {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "[1, 1]"),
    ("not", {"not": {"type": "string"}}, '"x"'),
    ("oneOf", {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "1"),
    ("if", {"if": {"type": "string"}, "then": {"maxLength": 1}}, '"xx"'),
    ("patternProperties", {"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, '{"ab": "x"}'),
]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    value = work()
    return value, (time.perf_counter() - began) * 1000


class Llguidance:
    def __init__(self, tokenizer: Any) -> None:
        import llguidance.hf

        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer)

    def start(self, schema: Any) -> Any:
        from llguidance import LLMatcher

        matcher = LLMatcher(self.tokenizer, LLMatcher.grammar_from_json_schema(schema), log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error().splitlines()[0])
        return matcher

    def mask(self, matcher: Any) -> bytes:
        return matcher.compute_bitmask()

    def take(self, matcher: Any, token: int) -> bool:
        return matcher.consume_token(token)


class Xgrammar:
    def __init__(self, tokenizer: Any) -> None:
        import xgrammar

        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer)
        self.module, self.compiler = xgrammar, xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.bits = xgrammar.allocate_token_bitmask(1, info.vocab_size)

    def start(self, schema: Any) -> Any:
        compiled = self.compiler.compile_json_schema(json.dumps(schema))
        return self.module.GrammarMatcher(compiled)

    def mask(self, matcher: Any) -> torch.Tensor:
        matcher.fill_next_token_bitmask(self.bits)
        return self.bits

    def take(self, matcher: Any, token: int) -> bool:
        return matcher.accept_token(token)


class Outlines:
    def __init__(self, tokenizer: Any) -> None:
        from outlines_core import Vocabulary
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        table = {char: byte for byte, char in bytes_to_unicode().items()}
        end, words = tokenizer.eos_token_id, {}
        for text, token in tokenizer.get_vocab().items():
            if token != end and all(c in table for c in text):
                words.setdefault(bytes(table[c] for c in text), []).append(token)
        self.vocabulary = Vocabulary(end, words)

    def start(self, schema: Any) -> Any:
        from outlines_core import Guide, Index
        from outlines_core.json_schema import build_regex_from_schema

        return Guide(Index(build_regex_from_schema(json.dumps(schema)), self.vocabulary))

    def mask(self, guide: Any) -> list[int]:
        return guide.get_tokens()

    def take(self, guide: Any, token: int) -> bool:
        if not guide.accepts_tokens([token]):
            return False
        guide.advance(token)
        return True


def accepts(library: Any, tokenizer: Any, schema: Any, text: str) -> bool:
    state = library.start(schema)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    return all(library.take(state, token) for token in [*tokens, tokenizer.eos_token_id])


def main(directory: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokens = tokenizer(json.dumps(ANSWER, ensure_ascii=False), add_special_tokens=False)["input_ids"]
    for kind in (Llguidance, Xgrammar, Outlines):
        library, made = timed(lambda kind=kind: kind(tokenizer))
        try:
            state, started = timed(lambda library=library: library.start(SCHEMA))
        except Exception as error:
            print(f"{kind.__name__:12} refuses the schema: {str(error)[:100]}")
            continue
        times = []
        for place, token in enumerate(tokens):
            _, took = timed(lambda state=state, library=library: library.mask(state))
            times.append(took)
            if not library.take(state, token):
                print(f"{kind.__name__:12} refuses token {place} of a valid answer")
                break
        print(
            f"{kind.__name__:12} tokenizer {made:.0f} ms, schema {started:.1f} ms, first mask {times[0]:.2f} ms, "
            f"mask median {statistics.median(times):.3f} ms, worst {max(times):.2f} ms, {len(times)} tokens"
        )
        for name, schema, wrong in ODD:
            try:
                verdict = "ignored" if accepts(library, tokenizer, schema, wrong) else "obeyed"
            except Exception as error:
                verdict = f"refused: {str(error).splitlines()[0][:80]}"
            print(f"  {name:18} {verdict}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
