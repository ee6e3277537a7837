"""Conversations as text by the model's chat template: one reading of messages, for training and serving."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..protocol.failures import BadData
from . import exact
from .special import Protected, SpecialTokensOption, special_tokens_of, stripped

Message = dict[str, Any]
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Names of an assistant turn's reasoning; templates read the first."""
FIELDS = ("name", "tool_calls", "tool_call_id", *REASONING)
"""What a template sees of a message besides role and content: the fields that datasets keep."""


class TemplateRefused(BadData):
    """The chat template raised an exception: roles do not alternate, or it takes no system turn, for example."""

    advice = (
        "Correct the row, choose a base model whose chat template takes it, or leave such rows out: set "
        "on_template_error to leave_out."
    )


def text_of(content: Any) -> str:
    """The text of a message's content. Text parts are joined by line breaks, as datasets and vLLM join them."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        return "\n".join(part.get("text") or part.get("refusal") or "" for part in parts)
    return content or ""


def template_messages(messages: list[Message]) -> list[Message]:
    """Messages as chat templates expect them: text content, tool arguments as objects, and no other fields than those
    of datasets.
    """
    out = []
    for message in messages:
        role, content = message.get("role"), text_of(message.get("content")) or message.get("refusal") or ""
        turn = {"role": "system" if role == "developer" else role, "content": content}
        turn |= {name: message[name] for name in FIELDS if message.get(name) is not None}
        reasoning = next((turn[name] for name in REASONING if turn.get(name)), None)
        if reasoning is not None:
            turn[REASONING[0]] = reasoning
        if turn.get("tool_calls"):
            turn["tool_calls"] = [_tool_call(call, number) for number, call in enumerate(turn["tool_calls"], 1)]
        out.append(turn)
    return out


def _tool_call(call: Message, number: int) -> Message:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.strip():
        with contextlib.suppress(ValueError):  # not JSON: the template prints it as it is
            arguments = exact.loads(arguments)
    return {
        "id": call.get("id") or f"call_{number}",
        "type": "function",
        "function": {"name": function.get("name"), "arguments": exact.fenced(arguments or {})},
    }


def template_tools(tools: Any) -> list[Message] | None:
    """Tool definitions as chat templates expect them, in OpenAI's form; None when there are none."""
    if not tools:
        return None
    definitions = (tool["function"] if isinstance(tool.get("function"), dict) else tool for tool in tools)
    return [{"type": "function", "function": exact.fenced(definition)} for definition in definitions]


def apply(tokenizer: Any, messages: list[Message], tools: Any, *, prompt: bool) -> str:
    """`template_messages` and `template_tools` as text by the model's chat template. Raises TemplateRefused."""
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=prompt)
    except Exception as error:  # templates raise what they like, by Jinja or by an operation on a wrong type
        raise TemplateRefused(f"the model's chat template refuses the conversation: {error}") from error
    return exact.unfenced(text)


def render(tokenizer: Any, messages: list[Message], tools: Any, *, prompt: bool) -> str:
    """The conversation as text by the model's chat template; `prompt` opens the assistant's turn at the end. Raises
    TemplateRefused.
    """
    return apply(tokenizer, template_messages(messages), template_tools(tools), prompt=prompt)


def accepts(tokenizer: Any, messages: list[Message], tools: Any) -> bool:
    """Whether the chat template renders a question."""
    try:
        render(tokenizer, messages, tools, prompt=True)
    except TemplateRefused:
        return False
    return True


def protected(
    tokenizer: Any, messages: list[Message], tools: Any, option: SpecialTokensOption
) -> tuple[list[Message], Any, Protected]:
    """Messages for the template, tools, and the strings hidden in both, so that no words of a conversation become
    control tokens unless `option` keeps them.
    """
    special = special_tokens_of(tokenizer)
    hidden = Protected(special)
    turns, tools = template_messages(messages), template_tools(tools)
    if option == "strip":
        turns, tools = stripped(special, turns), stripped(special, tools)
    elif option == "escape":
        turns, tools = hidden.hide(turns), hidden.hide(tools)
    return turns, tools, hidden


@dataclass(frozen=True)
class Encoded:
    """A rendered conversation: its text, its token ids, and their offsets in the text."""

    text: str
    ids: list[int]
    offsets: np.ndarray


def encode_conversation(
    tokenizer: Any,
    messages: list[Message],
    tools: Any = None,
    *,
    prompt: bool = True,
    special_tokens: SpecialTokensOption = "escape",
) -> Encoded:
    """A conversation as text and tokens, the same in training and serving. By default, special tokens in its words are
    plain text, so that no message can forge a turn. Raises TemplateRefused.
    """
    turns, tools, hidden = protected(tokenizer, messages, tools, special_tokens)
    text = apply(tokenizer, turns, tools, prompt=prompt)
    ids, offsets = hidden.encode(text)
    return Encoded(hidden.shown(text), ids.tolist(), offsets)
