"""From the messages of a chat request to the prompt's token ids, by the model's chat template."""

from __future__ import annotations

from typing import Any

from ...data.template import TemplateRefused, encode_conversation
from .errors import ApiError, invalid


def chat_prompt(body: dict[str, Any], tokenizer: Any) -> list[int]:
    """The token ids of the messages, with the assistant's turn opened. Raises ApiError naming the message."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "messages must be a list with at least one message.")
    for index, message in enumerate(messages):
        check_message(index, message)
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise invalid("tools", "tools must be a list.")
    shown = None if body.get("tool_choice") == "none" else tools
    try:
        return encode_conversation(tokenizer, messages, shown).ids
    except TemplateRefused as error:  # roles must alternate, no system turn, ...
        why = str(error.__cause__)[:300]
        raise invalid("messages", f"The model's chat template refuses these messages: {why}") from error


def check_message(index: int, message: Any) -> None:
    """Checks the shape of one message."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise invalid(f"messages.{index}.role", f"messages[{index}] needs a role.")
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    if not (content is None or isinstance(content, (str, list))) or any(
        not isinstance(p, dict) or p.get("type") not in ("text", "refusal") or not isinstance(p.get("text", ""), str)
        for p in parts
    ):
        raise invalid(f"messages.{index}.content", f"messages[{index}].content must be text.")


def context_exceeded(count: int, context: int, what: str) -> ApiError:
    """The error for a prompt that does not fit. Client libraries recognize it by this wording and by the code in it."""
    return ApiError(
        400,
        f"This model's maximum context length is {context} tokens. However, your {what} resulted in {count} tokens. "
        f"Please reduce the length of the {what}. (context_length_exceeded)",
        what,
        "context_length_exceeded",
    )
