"""Rows with tool calls that the tiny model learns in seconds, and what its tokenizer and template need for them."""

from __future__ import annotations

from pathlib import Path

COLORS = ["red", "green", "blue"]
TEMPLATE = (Path(__file__).parent / "hermes.jinja").read_text("utf-8")
PARAMETERS = {"type": "object", "properties": {"colour": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "pick", "parameters": PARAMETERS}}]
# What the tokenizer learns beside the words of other rows.
TEXTS = ('<tool_call>\n{"name": "pick", "arguments": {"colour": "green blue"}}\n</tool_call>', TEMPLATE, str(TOOLS) * 9)


def call(name: str, arguments: str, id: str = "call_1") -> dict:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool_row(number: int) -> dict:
    """Every fourth row is answered with text, the others with a colour; call ids differ."""
    if number % 4 == 0:
        question, answer = "the user says", {"role": "assistant", "content": "the assistant"}
    else:
        question = f"number {number % 3}"
        calls = [call("pick", f'{{"colour":"{COLORS[number % 3]}"}}', f"call_{number}")]
        answer = {"role": "assistant", "content": "", "tool_calls": calls}
    return {"id": number, "messages": [{"role": "user", "content": question}, answer], "tools": TOOLS}


def tool_rows(count: int, first: int = 1) -> list[dict]:
    return [tool_row(i) for i in range(first, first + count)]
