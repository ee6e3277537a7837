"""The contract of function calling, kept by every engine: calls in OpenAI's form, whole, streamed and forced.

Runs against the engine that FTL_ENGINE names (default transformers).
"""

from __future__ import annotations

import json
import re

import pytest
from endpoint import Endpoint
from tool_rows import TOOLS

ASK = [{"role": "user", "content": "number 1"}]
SAID = [{"role": "user", "content": "the user says"}]
EXACT = {
    "type": "object",
    "properties": {"size": {"enum": [3, 7]}},
    "required": ["size"],
    "additionalProperties": False,
}


def ask(endpoint: Endpoint, **body) -> dict:
    return endpoint.chat(**{"model": "ft", "messages": ASK, "tools": TOOLS, **body})["choices"][0]


def test_a_call_comes_back_as_a_call(tools):
    choice = ask(tools)
    assert choice["finish_reason"] == "tool_calls" and not choice["message"]["content"]
    (made,) = choice["message"]["tool_calls"]
    assert re.fullmatch(r"[0-9a-zA-Z_-]+", made["id"]) and made["type"] == "function"
    assert made["function"]["name"] == "pick" and json.loads(made["function"]["arguments"]) == {"colour": "green"}


def test_text_stays_text_when_there_are_tools(tools):
    choice = ask(tools, messages=[{"role": "user", "content": "the user says"}])
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "the assistant" and not choice["message"].get("tool_calls")


def test_a_stream_has_the_name_first_and_then_the_arguments_and_no_markup(tools):
    chunks = tools.stream(model="ft", messages=ASK, tools=TOOLS)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content") or "" for delta in deltas) == ""
    name, *rest = (call for delta in deltas for call in delta.get("tool_calls") or [])
    assert re.fullmatch(r"[0-9a-zA-Z_-]+", name["id"]) and name["type"] == "function" and name["index"] == 0
    assert name["function"]["name"] == "pick" and all("name" not in one["function"] for one in rest)
    arguments = "".join(one["function"].get("arguments") or "" for one in (name, *rest))
    assert json.loads(arguments) == {"colour": "green"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "tool_calls"


def test_tools_are_not_shown_with_tool_choice_none(tools):
    def prompt_tokens(**body):
        return tools.chat(model="ft", messages=ASK, max_tokens=1, **body)["usage"]["prompt_tokens"]

    assert prompt_tokens(tools=TOOLS) > prompt_tokens(tools=TOOLS, tool_choice="none") == prompt_tokens()
    assert prompt_tokens(tools=[]) == prompt_tokens(tool_choice="auto") == prompt_tokens()


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "fit"}}], ids=["required", "named"]
)
def test_a_forced_call_matches_the_schema_of_its_tool(tools, choice):
    only = [{"type": "function", "function": {"name": "fit", "parameters": EXACT}}]
    found = ask(tools, messages=SAID, tools=only, tool_choice=choice, parallel_tool_calls=False)
    (made,) = found["message"]["tool_calls"]
    assert made["function"]["name"] == "fit" and json.loads(made["function"]["arguments"])["size"] in (3, 7)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "function": {"parameters": {}}}]},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nobody"}}},
        {"tool_choice": "required"},
    ],
)
def test_tools_that_cannot_be_used_are_refused(tools, body):
    status, answer = tools.call("POST", "/v1/chat/completions", {"model": "ft", "messages": ASK, **body})
    assert status == 400 and answer["error"]["message"]
