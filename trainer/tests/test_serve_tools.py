"""Function calling of the built-in engine: calls in OpenAI's form, whole and streamed, and what is refused by name."""

from __future__ import annotations

import json
import re

import httpx2
import openai
import pytest
from endpoint import Endpoint
from jobs import serve_reply
from tool_rows import TOOLS, call

from finetune_trainer.data.tool_calls.families import FAMILIES
from finetune_trainer.data.tool_calls.stream import parse
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.serving.api.errors import ApiError
from finetune_trainer.serving.api.tools import ToolUse, forced_grammar
from finetune_trainer.serving.constraints import Grammars, closed

ASK = [{"role": "user", "content": "number 1"}]
HISTORY = [
    *ASK,
    {"role": "assistant", "content": None, "tool_calls": [call("pick", '{"colour":"green"}')]},
    {"role": "tool", "tool_call_id": "call_1", "content": "done"},
]


@pytest.fixture(autouse=True, scope="module")
def engine_on_transformers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTL_ENGINE", "transformers")
        yield


@pytest.fixture(scope="module")
def client(tools):
    transport = httpx2.HTTPTransport(uds=tools.path)
    with httpx2.Client(transport=transport) as http:
        yield openai.OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http, max_retries=0)


def ask(endpoint: Endpoint, **body) -> dict:
    return endpoint.chat(**{"model": "ft", "messages": ASK, "tools": TOOLS, **body})["choices"][0]


def refused(endpoint: Endpoint, **body) -> tuple[int, str, str]:
    status, answer = endpoint.call(
        "POST", "/v1/chat/completions", {"model": "ft", "messages": ASK, "max_tokens": 1, **body}
    )
    error = answer.get("error") or {}
    return status, error.get("param"), error.get("message")


def test_a_stream_has_the_name_first_and_then_the_arguments(tools):
    chunks = tools.stream(model="ft", messages=ASK, tools=TOOLS)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    name, arguments = (call for delta in deltas for call in delta.get("tool_calls") or [])
    assert re.fullmatch(r"call_[0-9a-f]{24}", name.pop("id"))
    assert name == {"index": 0, "type": "function", "function": {"name": "pick", "arguments": ""}}
    assert arguments == {"index": 0, "function": {"arguments": '{"colour": "green"}'}}


def test_the_official_client_runs_a_whole_exchange(client):
    first = client.chat.completions.create(model="ft", messages=ASK, tools=TOOLS, temperature=0)
    message = first.choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments) == {"colour": "green"}
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "done"}
    after = client.chat.completions.create(
        model="ft", messages=[*ASK, message, result], tools=TOOLS, temperature=0, max_tokens=4
    )
    assert after.choices[0].finish_reason in ("length", "stop", "tool_calls")
    assert after.usage.prompt_tokens > first.usage.prompt_tokens
    with client.chat.completions.stream(model="ft", messages=ASK, tools=TOOLS, temperature=0) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.done" in events and "content.delta" not in events
    assert final.finish_reason == "tool_calls" and final.message.content is None
    assert final.message.tool_calls[0].function.arguments == '{"colour": "green"}'


def test_a_call_that_is_cut_off_is_text(tools):
    whole = ask(tools, tool_choice="none", tools=None)  # the model's own words, without tools
    assert "tool_calls" not in whole["message"]
    choice = ask(tools, max_tokens=12)
    assert choice["finish_reason"] == "length" and choice["message"]["content"].startswith("<tool_call>\n{")
    assert "tool_calls" not in choice["message"]


def test_one_call_ends_the_answer_without_parallel_calls(tools):
    one, more = ask(tools, parallel_tool_calls=False), ask(tools)
    for choice in (one, more):
        assert len(choice["message"]["tool_calls"]) == 1 and choice["finish_reason"] == "tool_calls"


def test_several_choices_have_calls_and_ids_of_their_own(tools):
    chat = tools.chat(model="ft", messages=ASK, tools=TOOLS, n=2)
    ids = [choice["message"]["tool_calls"][0]["id"] for choice in chat["choices"]]
    assert len(set(ids)) == 2
    deltas = [c["choices"][0] for c in tools.stream(model="ft", messages=ASK, tools=TOOLS, n=2)]
    assert {d["index"] for d in deltas if d["delta"].get("tool_calls")} == {0, 1}


EXACT = {
    "type": "object",
    "properties": {"size": {"enum": [3, 7]}},
    "required": ["size"],
    "additionalProperties": False,
}


def named(name: str) -> dict:
    return {"type": "function", "function": {"name": name}}


def test_a_required_call_is_made_where_the_model_would_answer_with_text(tools):
    said = [{"role": "user", "content": "the user says"}]
    assert ask(tools, messages=said)["message"]["content"] == "the assistant"
    choice = ask(tools, messages=said, tool_choice="required", parallel_tool_calls=False)
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    (made,) = choice["message"]["tool_calls"]
    assert made["function"]["name"] == "pick" and isinstance(json.loads(made["function"]["arguments"]), dict)


def test_a_named_tool_is_called_with_arguments_that_match_its_schema(tools):
    exact = [*TOOLS, {"type": "function", "function": {"name": "fit", "parameters": EXACT}}]
    for seed in range(3):
        choice = ask(tools, tools=exact, tool_choice=named("fit"), temperature=1.5, seed=seed)
        (made,) = choice["message"]["tool_calls"]
        assert made["function"]["name"] == "fit" and json.loads(made["function"]["arguments"]) in (
            {"size": 3},
            {"size": 7},
        )
    chunks = tools.stream(model="ft", messages=ASK, tools=exact, tool_choice=named("fit"))
    pieces = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls") or []]
    assert pieces[0]["function"] == {"name": "fit", "arguments": ""}
    assert json.loads(pieces[1]["function"]["arguments"])["size"] in (3, 7)


def test_forced_arguments_have_only_the_declared_properties(tools):
    none = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    (made,) = ask(tools, tools=[none], tool_choice=named("now"), temperature=1.5, seed=1)["message"]["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == {}


def test_a_schema_is_closed_unless_it_says_otherwise():
    inner = {"type": "object", "properties": {"properties": {"type": "string"}, "if": {"enum": [{"properties": {}}]}}}
    assert closed({"properties": {"a": inner}, "$defs": {"b": {"properties": {}}}}) == {
        "properties": {"a": {**inner, "additionalProperties": False}},
        "$defs": {"b": {"properties": {}, "additionalProperties": False}},
        "additionalProperties": False,
    }
    for open_one in (
        {"properties": {}, "additionalProperties": True},
        {"properties": {}, "anyOf": [{}]},
        {"type": "object"},
    ):
        assert closed(open_one) == open_one


def test_every_family_that_can_force_calls_writes_what_its_parser_reads(tools, tool_base):
    tokenizer = load_tokenizer(tool_base)
    grammars = Grammars(tokenizer, len(tokenizer), {tokenizer.eos_token_id})
    definitions = [{"type": "function", "function": {"name": "fit", "parameters": EXACT}}]
    for family in FAMILIES:
        use = ToolUse(family, definitions, single=False, forced=[0], named=False)
        if family.form is None:
            assert family.parser in ("qwen3_coder", "functiongemma", "gemma4", "tool_code", "pythonic")
            with pytest.raises(ApiError, match=family.parser):
                forced_grammar(use, grammars)
            continue
        form, arguments = family.form, '{"size": 3}'
        one = form.before.replace("NAME", "fit") + arguments + form.after
        for text, count in ((one, 1), (form.between.join([one, one]), 2)):
            whole = form.opening + text + form.closing
            constraint = forced_grammar(use, grammars).constraint()
            for token in tokenizer(whole, add_special_tokens=False)["input_ids"]:
                constraint.advance(token)
            content, calls = parse(family, whole)
            assert (content, [(call.name, call.arguments) for call in calls]) == ("", [("fit", arguments)] * count)


def test_a_schema_that_cannot_be_enforced_is_refused_by_its_place(tools):
    odd = tool(parameters={"type": "object", "properties": {"a": {"type": "string", "format": "no-such"}}})
    status, place, _ = refused(tools, tools=[*TOOLS, *odd], tool_choice="required")
    assert status == 400 and place.startswith("tools.1.function.parameters.properties.a")
    assert refused(tools, tools=[*TOOLS, *odd])[0] == 200, "without tool_choice it is only shown"


def tool(**function) -> list[dict]:
    return [{"type": "function", "function": {"name": "f", **function}}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": TOOLS * 129}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools.0.type"),
        ({"tools": [{"name": "f"}]}, "tools.0"),
        ({"tools": [*TOOLS, "f"]}, "tools.1"),
        ({"tools": tool(name="get weather")}, "tools.0.function.name"),
        ({"tools": tool(name="a" * 65)}, "tools.0.function.name"),
        ({"tools": tool(description=1)}, "tools.0.function.description"),
        ({"tools": tool(parameters=[])}, "tools.0.function.parameters"),
        ({"tools": tool(parameters={"type": "string"})}, "tools.0.function.parameters.type"),
        ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice.function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"functions": [TOOLS[0]["function"]]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
    ],
)
def test_tools_that_cannot_be_used_are_refused_by_name(tools, body, param):
    status, named, message = refused(tools, **body)
    assert (status, named) == (400, param) and message
    if param in ("functions", "function_call"):
        assert {"functions": "Use tools.", "function_call": "Use tool_choice."}[param] in message


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "USER", "content": "x"}, "role"),
        ({"role": "wizard", "content": "x"}, "role"),
        ({"role": "function", "name": "f", "content": "x"}, "role"),
        ({"content": "x"}, "role"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "system", "content": 1}, "content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "content.0.type"),
        ({"role": "user", "content": [{"type": "text"}]}, "content.0"),
        ({"role": "user", "content": "x", "name": 1}, "name"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "assistant"}, "content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "content"),
        ({"role": "assistant", "tool_calls": {}}, "tool_calls"),
        ({"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}, "tool_calls.0.function.name"),
        ({"role": "assistant", "tool_calls": [call("f", "[1]")]}, "tool_calls.0.function.arguments"),
        ({"role": "assistant", "tool_calls": [call("f", "{a}")]}, "tool_calls.0.function.arguments"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "function_call"),
        ({"role": "assistant", "refusal": 1}, "refusal"),
    ],
)
def test_messages_are_checked_as_the_rows_of_a_dataset(tools, message, field):
    status, named, text = refused(tools, messages=[*ASK, message])
    assert (status, named) == (400, f"messages.1.{field}") and text


def test_messages_become_the_text_that_was_trained_on(tools):
    def prompt_tokens(*messages):
        return tools.chat(model="ft", messages=[*ASK, *messages], max_tokens=1)["usage"]["prompt_tokens"]

    plain = prompt_tokens({"role": "assistant", "content": "the number"}, *ASK)
    assert prompt_tokens({"role": "assistant", "refusal": "the number"}, *ASK) == plain
    assert prompt_tokens({"role": "assistant", "content": "", "refusal": "the number"}, *ASK) == plain
    lines = prompt_tokens({"role": "user", "content": "the\nnumber"})
    parts = [{"type": "text", "text": "the"}, {"type": "text", "text": "number"}]
    assert prompt_tokens({"role": "user", "content": parts}) == lines
    assert prompt_tokens({"role": "developer", "content": "the"}) == prompt_tokens({"role": "system", "content": "the"})


def test_a_model_whose_template_has_no_tools_says_so(tiny, tool_base, tmp_path):
    template = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"
    for name, text in (("none", template), ("unknown", template + "{{ tools }}"), ("hidden", template + "<tool_call>")):
        base = tmp_path / name
        base.mkdir()
        for file in tool_base.iterdir():
            (base / file.name).symlink_to(file)
        (base / "chat_template.jinja").unlink()
        (base / "chat_template.jinja").write_text(text)
        one = Endpoint(tmp_path / f"{name}-endpoint", serve_reply(base, {}))
        model = one.models()[0]
        status, param, message = refused(one, model=model, tools=TOOLS)
        assert (status, param) == (400, "tools") and repr(model) in message and "chat template" in message
        assert refused(one, model=model, tools=TOOLS, tool_choice="none")[0] == 200
        if name != "unknown":
            assert refused(one, model=model, messages=HISTORY)[:2] == (400, "messages")
        one.end()
