"""The tools of a chat request: their definitions, which the model may or must call, and whether it can."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...data.tool_calls.families import family_of_tokenizer
from ...data.tool_calls.family import Family
from ..constraints import BadSchema, Grammar, Grammars, closed, json_rule
from .errors import ApiError, invalid
from .fields import flag

NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
MAX_TOOLS = 128
CHOICES = 'tool_choice must be "auto", "none", "required", or {"type": "function", "function": {"name": …}}.'


@dataclass(frozen=True)
class ToolUse:
    """What the model may call, in the form of its chat template's family. `single`: at most one call in an answer."""

    family: Family
    definitions: list[dict[str, Any]]
    single: bool
    forced: list[int]  # places of the tools that the answer must call one of
    named: bool  # exactly one call of one tool is wanted


def read_tools(body: dict[str, Any], tokenizer: Any) -> ToolUse | None:
    """The tools that the model is shown; None when it may not call any. Raises ApiError naming the field."""
    definitions = _definitions(body.get("tools"))
    single = not flag(body, "parallel_tool_calls", True)
    choice = body.get("tool_choice")
    forced = _forced(choice, definitions)
    if not definitions or choice == "none":
        return None
    family = family_of_tokenizer(tokenizer)
    if family is None:
        raise without_tools(body["model"])
    return ToolUse(family, definitions, single, forced, isinstance(choice, dict))


def check_shown(text: str, names: list[str], model: str, param: str) -> None:
    """Refuses tools or calls that the model would not see: a chat template without tools leaves them out."""
    if any(name not in text for name in names):
        raise without_tools(model, param)


def without_tools(model: str, param: str = "tools") -> ApiError:
    """The error of a model whose chat template has no tools."""
    return invalid(
        param,
        f"The model {model[:200]!r} cannot call tools: its chat template has none that this server knows, so it would "
        "never see them. Leave tools and tool calls out, or use a model whose chat template has tools, as Qwen's and "
        "Llama's have, or one that was trained with chat_template set to tools.",
        "unsupported_value",
    )


def _definitions(tools: Any) -> list[dict[str, Any]]:
    if tools is None:
        return []
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise invalid("tools", f"tools must be a list of at most {MAX_TOOLS} functions.")
    for index, tool in enumerate(tools):
        _check(tool, f"tools.{index}")
    return tools


def _check(tool: Any, path: str) -> None:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise invalid(f"{path}.type", "Only tools of the type function are supported.", "unsupported_value")
    function = tool.get("function") if kind == "function" else None
    if not isinstance(function, dict):
        raise invalid(path, 'A tool must be {"type": "function", "function": {"name": …, "parameters": {…}}}.')
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid(
            f"{path}.function.name", "A function's name must have 1 to 64 letters, digits, underscores, dots or dashes."
        )
    if description is not None and not isinstance(description, str):
        raise invalid(f"{path}.function.description", "A function's description must be text.")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid(f"{path}.function.parameters", "A function's parameters must be a JSON schema object.")
    if parameters and parameters.get("type", "object") != "object":
        raise invalid(f"{path}.function.parameters.type", "A function's parameters must be of the type object.")


def _forced(choice: Any, definitions: list[dict[str, Any]]) -> list[int]:
    """Which tools the answer must call one of; none when it may be text."""
    if choice in (None, "auto", "none"):
        return []
    named = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if choice != "required" and not (isinstance(named, dict) and isinstance(named.get("name"), str)):
        raise invalid("tool_choice", CHOICES)
    if not definitions:
        raise invalid("tool_choice", "tool_choice needs tools.")
    names = [tool["function"]["name"] for tool in definitions]
    if named and named["name"] not in names:
        raise invalid("tool_choice.function.name", "tool_choice must name one of the tools.")
    return [names.index(named["name"])] if named else list(range(len(names)))


def forced_grammar(tools: ToolUse | None, grammars: Grammars) -> Grammar | None:
    """What an answer that must call a tool has to match; None when it may be text. Raises ApiError for a schema that
    cannot be enforced.
    """
    if tools is None or not tools.forced:
        return None
    form = tools.family.form
    if form is None:
        raise invalid(
            "tool_choice",
            f"This server cannot force calls in the form {tools.family.parser}. Use tool_choice auto or none.",
            "unsupported_value",
        )
    rules = []
    for index in tools.forced:
        function = tools.definitions[index]["function"]
        schema = closed({**(function.get("parameters") or {"properties": {}}), "type": "object"})
        try:
            grammars.of_schema(schema)
        except BadSchema as error:
            where = f"tools.{index}.function.parameters"
            place = f"{where}.{error.place}" if error.place else where
            raise invalid(
                place, f"This schema cannot be enforced at {place}: {error}.", "invalid_json_schema"
            ) from error
        before = grammars.literal(form.before.replace("NAME", function["name"]))
        rules += [f"call_{index}: {before} arguments_{index} {grammars.literal(form.after)}"]
        rules += [f"arguments_{index}: {json_rule(schema)}"]
    more = "" if tools.single or tools.named else f"({_part(grammars, form.between)} call)*"
    start = f"start: {_part(grammars, form.opening)} call {more} {_part(grammars, form.closing)}"
    calls = " | ".join(f"call_{index}" for index in tools.forced)
    return grammars.of_lark("\n".join([start, f"call: {calls}", *rules]))


def _part(grammars: Grammars, text: str) -> str:
    return grammars.literal(text) if text else ""
