"""Chat templates of the model families, each with the special tokens it uses, on the tiny tokenizer; and rows with an
assistant turn in every position.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_trainer.model.tokenizer import load_tokenizer

GOLDEN = Path(__file__).with_name("golden")


@dataclass(frozen=True)
class Family:
    """A family's special tokens, the ones that end an answer, and words that only its template writes."""

    special: tuple[str, ...]
    ends: tuple[str, ...]
    own: tuple[str, ...]


CHATML = ("<|im_start|>", "<|im_end|>")
FAMILIES = {
    "chatml": Family(CHATML, ("<|im_end|>",), ("<|im_start|>", "assistant\n")),
    "smollm2": Family(CHATML, ("<|im_end|>",), ("<|im_start|>", "assistant\n", "named SmolLM")),
    "qwen2.5": Family(CHATML, ("<|im_end|>",), ("<|im_start|>", "assistant\n", "created by Alibaba")),
    "qwen3": Family(CHATML, ("<|im_end|>",), ("<|im_start|>", "assistant\n")),
    "qwen3-thinking": Family(CHATML, ("<|im_end|>",), ("<|im_start|>", "assistant\n", "<think>")),
    "llama3": Family(
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("<|eot_id|>",),
        ("header_id", "assistant", "Cutting Knowledge"),
    ),
    "mistral3": Family(
        ("<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]")
        + ("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
        ("</s>",),
        ("INST]", "AVAILABLE_TOOLS", "TOOL_RESULTS"),
    ),
    "gemma2": Family(
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), ("<eos>", "<end_of_turn>"), ("start_of_turn", "model\n")
    ),
    "phi3": Family(
        ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ("<|endoftext|>", "<|end|>"),
        ("<|assistant|>", "<|endoftext|>"),
    ),
    "r1-distill": Family(
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
        ("<｜end▁of▁sentence｜>",),
        ("Assistant", "<think>"),
    ),
}


def family_tokenizer(tiny: Path, name: str) -> tuple[Any, set[int]]:
    """The tiny tokenizer with a family's template and special tokens, and the ids that end an answer."""
    family, tokenizer = FAMILIES[name], load_tokenizer(tiny)
    tokenizer.add_special_tokens({"additional_special_tokens": [*family.special, "<|plain|>"]})
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>"])
    tokenizer.bos_token, tokenizer.eos_token = family.special[0], family.ends[0]
    tokenizer.chat_template = (GOLDEN / "templates" / f"{name}.jinja").read_text("utf-8")
    return tokenizer, {tokenizer.convert_tokens_to_ids(end) for end in family.ends}


def turn(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    """A message."""
    return {"role": role, "content": content, **more}


CALL = {"id": "call12345", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Oslo"}'}}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "d", "parameters": {"type": "object"}}}
CASES: dict[str, dict[str, Any]] = {
    "single turn": {"messages": [turn("user", "one"), turn("assistant", "red")]},
    "multi-turn": {
        "messages": [turn("user", "one"), turn("assistant", "red"), turn("user", "two"), turn("assistant", "green")]
    },
    "ends with the user": {"messages": [turn("user", "one"), turn("assistant", "red"), turn("user", "two")]},
    "assistant first": {"messages": [turn("assistant", "hello"), turn("user", "one"), turn("assistant", "red")]},
    "assistant alone": {"messages": [turn("assistant", "hello")]},
    "system": {"messages": [turn("system", "be brief"), turn("user", "one"), turn("assistant", "red")]},
    "system, assistant first": {
        "messages": [turn("system", "be brief"), turn("assistant", "hi"), turn("user", "one"), turn("assistant", "red")]
    },
    "weight 0": {
        "messages": [
            turn("user", "one"),
            turn("assistant", "red", weight=0),
            turn("user", "two"),
            turn("assistant", "green"),
            turn("user", "three"),
            turn("assistant", "blue", weight=0),
        ]
    },
    "tools": {
        "messages": [
            turn("user", "one"),
            turn("assistant", None, tool_calls=[CALL]),
            turn("tool", "17 degrees", tool_call_id="call12345"),
            turn("assistant", "mild"),
            turn("user", "two"),
            turn("assistant", "green"),
        ],
        "tools": [TOOL],
    },
    "reasoning": {
        "messages": [
            turn("user", "one"),
            turn("assistant", "red", reasoning_content="first"),
            turn("user", "two"),
            turn("assistant", "green", reasoning_content="second"),
        ]
    },
    "leading line break": {
        "messages": [turn("user", "one"), turn("assistant", "\nred"), turn("user", "two"), turn("assistant", "green")]
    },
}
