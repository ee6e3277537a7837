"""From the messages of a chat request to the prompt's token ids: checked as the rows of a dataset are, then rendered by
the model's chat template.
"""

from __future__ import annotations

import json
from typing import Any

from ...data.template import TemplateRefused, encode_conversation
from .errors import ApiError, invalid
from .tools import ToolUse, check_shown

ROLES = ("system", "developer", "user", "assistant", "tool")


def chat_prompt(body: dict[str, Any], tokenizer: Any, tools: ToolUse | None) -> list[int]:
    """The token ids of the messages, with the assistant's turn opened. Raises ApiError naming the message."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "messages must be a list with at least one message.")
    for index, message in enumerate(messages):
        _check(message, f"messages.{index}")
    definitions = tools.definitions if tools else []
    try:
        found = encode_conversation(tokenizer, messages, definitions)
    except TemplateRefused as error:  # roles must alternate, no system turn, ...
        why = str(error.__cause__)[:300]
        raise invalid("messages", f"The model's chat template refuses these messages: {why}") from error
    check_shown(found.text, [tool["function"]["name"] for tool in definitions], body["model"], "tools")
    calls = [call["function"]["name"] for turn in messages for call in turn.get("tool_calls") or []]
    check_shown(found.text, calls, body["model"], "messages")
    return found.ids


def _check(message: Any, path: str) -> None:
    if not isinstance(message, dict):
        raise invalid(path, "A message must be an object.")
    role = message.get("role")
    if role == "function":
        raise invalid(f"{path}.role", "The role function is not supported. Use tool, with tool_call_id.")
    if role not in ROLES:
        raise invalid(f"{path}.role", f"A message's role must be one of {', '.join(ROLES)}.")
    _check_content(message.get("content"), f"{path}.content")
    if role == "assistant":
        _check_answer(message, path)
    elif message.get("content") is None:
        raise invalid(f"{path}.content", f"A message with the role {role} needs content.")
    if role == "tool" and not (isinstance(message.get("tool_call_id"), str) and message["tool_call_id"]):
        raise invalid(f"{path}.tool_call_id", "A message with the role tool needs the tool_call_id of its call.")
    if message.get("name") is not None and not isinstance(message["name"], str):
        raise invalid(f"{path}.name", "A message's name must be text.")


def _check_answer(turn: dict[str, Any], path: str) -> None:
    if turn.get("function_call") is not None:
        raise invalid(f"{path}.function_call", "function_call is not supported. Use tool_calls.", "unsupported_value")
    refusal = turn.get("refusal")
    if refusal is not None and not isinstance(refusal, str):
        raise invalid(f"{path}.refusal", "A message's refusal must be text.")
    calls = turn.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise invalid(f"{path}.tool_calls", "tool_calls must be a list.")
    for index, call in enumerate(calls or []):
        _check_call(call, f"{path}.tool_calls.{index}")
    if turn.get("content") is None and refusal is None and not calls:
        raise invalid(f"{path}.content", "A message with the role assistant needs content or tool_calls.")


def _check_call(call: Any, path: str) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise invalid(path, 'A tool call must be {"id", "type": "function", "function": {"name", "arguments"}}.')
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise invalid(f"{path}.function.name", "A tool call needs the name of its function.")
    if not _is_object(function.get("arguments")):
        raise invalid(f"{path}.function.arguments", "A tool call's arguments must be a text that holds a JSON object.")


def _is_object(arguments: Any) -> bool:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            return False
    return isinstance(arguments, dict)


def _check_content(content: Any, path: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid(path, "A message's content must be text, or a list of text parts.")
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind not in ("text", "refusal"):
            raise invalid(f"{path}.{index}.type", "Only parts of the type text are supported.", "unsupported_value")
        if not isinstance(kind, str) or not isinstance(part.get(kind), str):
            raise invalid(f"{path}.{index}", 'A content part must be {"type": "text", "text": …}.')


def context_exceeded(count: int, context: int, what: str) -> ApiError:
    """The error for a prompt that does not fit. Client libraries recognize it by this wording and by the code in it."""
    return ApiError(
        400,
        f"This model's maximum context length is {context} tokens. However, your {what} resulted in {count} tokens. "
        f"Please reduce the length of the {what}. (context_length_exceeded)",
        what,
        "context_length_exceeded",
    )
