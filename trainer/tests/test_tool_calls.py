"""Tool calls in answers, for each family of chat templates: golden texts, whole and at every split."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from jobs import evaluate_reply
from tool_rows import COLORS, call, tool_rows

from finetune_trainer.data.tool_calls.answers import Answer, AnswerReader
from finetune_trainer.data.tool_calls.families import FAMILIES, family_of, family_of_files
from finetune_trainer.data.tool_calls.stream import ToolCall, ToolCallStream, parse
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.training.grade import sample_of

GOLDEN = Path(__file__).parent / "golden" / "tool_calls"
BY_NAME = {family.parser: family for family in FAMILIES}
CASES = [(path.stem, case) for path in sorted(GOLDEN.glob("*.json")) for case in json.loads(path.read_text("utf-8"))]


def case_name(value):
    return value if isinstance(value, str) else value["name"]


def read(family: str, pieces: list[str], tools=(), **given):
    """Content and calls of an answer that comes in pieces; the indices of the calls count from 0."""
    stream = ToolCallStream(BY_NAME[family], tools, **given)
    found = [one for piece in pieces for one in stream.feed(piece)] + stream.finish()
    calls = [one for one in found if isinstance(one, ToolCall)]
    assert [call.index for call in calls] == list(range(len(calls)))
    content = "".join(one for one in found if isinstance(one, str))
    return content, [[call.name, call.arguments] for call in calls]


def test_every_family_has_golden_texts():
    assert {family for family, _ in CASES} == set(BY_NAME)


@pytest.mark.parametrize(("family", "case"), CASES, ids=case_name)
def test_an_answer_is_content_and_calls_however_it_is_split(family, case):
    text, tools = case["text"], case.get("tools", [])
    expected = (case["content"], case["calls"])
    assert read(family, [text], tools) == expected
    content, calls = parse(BY_NAME[family], text, tools)
    assert (content, [[call.name, call.arguments] for call in calls]) == expected
    assert read(family, list(text), tools) == expected
    for at in range(1, len(text)):
        assert read(family, [text[:at], text[at:]], tools) == expected
    chance = random.Random(1)
    for _ in range(50):
        cuts = sorted(chance.sample(range(len(text)), min(6, len(text))))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert read(family, pieces, tools) == expected


@pytest.mark.parametrize(("family", "case"), CASES, ids=case_name)
def test_markup_is_never_sent_before_it_is_known_not_to_be_a_call(family, case):
    """What was sent as content is the beginning of the whole content at every moment."""
    stream, sent = ToolCallStream(BY_NAME[family], case.get("tools", [])), ""
    for char in case["text"]:
        sent += "".join(piece for piece in stream.feed(char) if isinstance(piece, str))
        assert case["content"].startswith(sent)


def test_content_is_sent_as_it_comes():
    stream = ToolCallStream(BY_NAME["hermes"])
    assert [stream.feed(piece) for piece in ("I ", "look", "\n<tool", "_call>")] == [["I"], [" look"], [], []]


def test_without_parallel_calls_the_first_ends_the_answer():
    two = (
        '<tool_call>{"name": "a", "arguments": {}}</tool_call>\n<tool_call>{"name": "b", "arguments": {}}</tool_call>!'
    )
    assert read("hermes", [two], single=True) == ("", [["a", "{}"]])
    both = '[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]'
    assert read("mistral", list(both), single=True) == ("", [["a", "{}"]])
    stream = ToolCallStream(BY_NAME["hermes"], single=True)
    stream.feed(two[:52])
    assert not stream.done
    stream.feed(two[52:60])
    assert stream.done


def test_ids_are_unlike_and_of_the_form_that_the_template_accepts():
    for family, form in (("hermes", r"call_[0-9a-f]{24}"), ("mistral", r"[A-Za-z0-9]{9}")):
        ids = {BY_NAME[family].new_id() for _ in range(50)}
        assert len(ids) == 50 and all(re.fullmatch(form, one) for one in ids)


def test_a_hostile_answer_takes_no_longer_than_its_length_allows():
    deep = "<start_function_call>call:f{a:" + "[" * 9000
    for family, text in (
        ("functiongemma", "<start_function_call>call:f{a:<escape>" * 600),
        ("functiongemma", deep),
        ("pythonic", "[f(a=" + "[" * 9000),
        ("pythonic", "[f(a=" + "(" * 4000 + ")" * 4000 + ")]"),
    ):
        assert read(family, [text]) == (text, [])
    for text in ("<tool_call>" * 3000, '<tool_call>{"a": "' * 60, "<tool_call>" + "[" * 5000, "<" * 20000):
        assert read("hermes", [text]) == (text, [])


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ('{% if tools %}<tool_call>\n{"name": <function-name>}</tool_call>{% endif %}', "hermes"),
        ("<tool_call>\n<function=example_function_name>\n<parameter=a>", "qwen3_coder"),
        ("{{- '[TOOL_CALLS] [' }}", "mistral"),
        ("<|start_header_id|>{{- '{\"name\": \"' + tool_call.name + '\", ' }}{{- '\"parameters\": ' }}", "llama3_json"),
        ("<|start_header_id|>{{ '<|python_tag|>' }}", "llama3_json"),
        ("functools[{{ call | tojson }}]", "phi4_mini_json"),
        ("{{- '<|tool_call|>' + (call['function'] | tojson) + '<|/tool_call|>' -}}", "phi4_mini_tags"),
        ("<|start_of_role|>{{- '<|tool_call|>' + (message['tool_calls'] | tojson) }}", "granite"),
        ("{{- '<start_function_call>call:' + function['name'] + '{' -}}", "functiongemma"),
        ("{{- '<|tool_call>call:' + function['name'] + '{' -}}", "gemma4"),
        ("<start_of_turn>Example Format: [func_name1(params_name1=params_value1...)]{{ tools | tojson }}", "pythonic"),
        ("<|start_header_id|><|python_tag|> in the format of [func_name1(params_name1=params_value1)]", "pythonic"),
        ("<start_of_turn>To call a function, respond with ```tool_code\\nf(a=1)\\n```", "tool_code"),
        ("<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>", None),
        ("<tool_calls><tool_call>name<tool_sep>{}</tool_call></tool_calls>", None),
        ("<start_of_turn>{{ message.content }}<end_of_turn>", None),
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ call }}", None),
        ("<|start|>assistant<|channel|>commentary to=functions.{{ name }}<|message|>", None),
        ("<|im_start|>{{ message.content }}<|im_end|>", None),
        ("", None),
    ],
)
def test_the_family_is_chosen_by_the_template(template, parser, tmp_path):
    found = family_of(template)
    assert (found and found.parser) == parser
    (tmp_path / "chat_template.jinja").write_text(template)
    assert family_of_files(tmp_path) == found
    (tmp_path / "chat_template.jinja").unlink()
    assert family_of_files(tmp_path) is None
    # What a tokenizer's other fields mention is not the template.
    config = {"added_tokens_decoder": {"9": {"content": "<tool_call>"}}, "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert family_of_files(tmp_path) == found
    config["chat_template"] = [{"name": "default", "template": "x"}, {"name": "tool_use", "template": template}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert family_of_files(tmp_path) == found


def answer(*calls: tuple[str, str], content: str = "") -> Answer:
    return Answer(content, calls)


@pytest.mark.parametrize(
    ("expected", "given", "same"),
    [
        (answer(("f", '{"a":1,"b":[1,2]}')), answer(("f", '{"b": [1, 2], "a": 1.0}')), True),
        (answer(("f", '{"a": 1e2}')), answer(("f", '{"a": 100}')), True),
        (answer(("f", '{"a": 0.1}')), answer(("f", '{"a": 0.10000000000000001}')), False),
        (answer(("f", '{"a": 12345678901234567890}')), answer(("f", '{"a": 12345678901234567891}')), False),
        (answer(("f", '{"a": 1}')), answer(("f", '{"a": true}')), False),
        (answer(("f", '{"a": "1"}')), answer(("f", '{"a": 1}')), False),
        (answer(("f", '{"a": [1, 2]}')), answer(("f", '{"a": [2, 1]}')), False),
        (answer(("f", "{}"), ("g", "{}")), answer(("g", "{}"), ("f", "{}")), True),
        (answer(("f", "{}"), ("f", "{}")), answer(("f", "{}")), False),
        (answer(("f", "{}")), answer(("g", "{}")), False),
        (answer(("f", "{}")), answer(("f", "{}"), content="Let me look."), True),
        (answer(("f", "{}")), answer(content="f({})"), False),
        (answer(content="hello"), answer(("f", "{}"), content="hello"), False),
        (answer(content="hello"), answer(content=" hello\n"), True),
        (answer(("f", '{"a": "\\u00e9"}')), answer(("f", '{"a": "é"}')), True),
    ],
)
def test_calls_are_compared_by_name_and_arguments(expected, given, same):
    assert expected.matches(given) is same
    if expected.calls:
        assert given.matches(expected) is same


def test_calls_are_shown_as_readable_text():
    shown = answer(("f", '{"a":1.50,\n "b":["x: y, z",{}]}'), ("g", "{}"), content="Look.")
    assert shown.text == 'Look.\nf({"a": 1.50, "b": ["x: y, z", {}]})\ng({})'
    assert answer(content="a, b").text == "a, b" and answer().text == ""


def test_marks_of_calls_stay_in_the_text_though_the_tokenizer_calls_them_special(tiny):
    tokenizer = load_tokenizer(tiny)
    tokenizer.chat_template = "[TOOL_CALLS]"
    tokenizer.add_special_tokens({"additional_special_tokens": ["[TOOL_CALLS]"]})
    text = '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]<|im_end|>'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == '[{"name": "f", "arguments": {"a": 1}}]'
    reader = AnswerReader(tokenizer)
    assert reader.read(ids, {"tools": [{}]}) == Answer("", (("f", '{"a": 1}'),))
    assert reader.read(ids, {}) == Answer('[{"name": "f", "arguments": {"a": 1}}]'), "without tools there are no calls"


def test_samples_while_training_show_calls_as_text(caller):
    samples = {e["row_id"]: (e["expected"], e["output"]) for e in caller.of("sample")}
    assert samples[1] == ('pick({"colour": "green"})',) * 2
    assert samples[4] == ("the assistant",) * 2


def test_calls_are_compared_by_name_and_arguments_not_by_ids_and_text(here, tool_base, caller):
    adapter = caller.complete("adapter")[0]["folder"]
    check = here(evaluate_reply(tool_base, adapter, rows=20, tokens=60), holdout=tool_rows(20, first=101))
    assert check.run() == 0
    answers = [e for e in check.server.of("answer") if e["side"] == "tuned"]
    assert [e["exact"] for e in answers] == [True] * 20
    assert check.server.of("result")[0]["result"]["tuned"]["exact_match"]["count"] == 20
    assert {(e["output"], e["expected"]) for e in answers} == {
        (text, text) for text in ("the assistant", *(f'pick({{"colour": "{colour}"}})' for colour in COLORS))
    }


def test_a_call_with_other_arguments_is_wrong_and_both_are_shown(here, tool_base, caller):
    rows = tool_rows(4, first=201)
    for row in rows[:3]:
        row["messages"][-1]["tool_calls"][0]["function"]["arguments"] = '{"colour": "white"}'
    adapter = caller.complete("adapter")[0]["folder"]
    check = here(evaluate_reply(tool_base, adapter, rows=4, tokens=60), holdout=rows)
    assert check.run() == 0
    answers = {e["row_id"]: e for e in check.server.of("answer") if e["side"] == "tuned"}
    assert [answers[i]["exact"] for i in (201, 202, 203, 204)] == [False, False, False, True]
    assert answers[201]["expected"] == 'pick({"colour": "white"})'
    assert answers[201]["output"] == 'pick({"colour": "red"})'


def test_graders_get_calls_in_the_form_of_chat_completions():
    given = sample_of({"x": 1}, answer(("f", '{"a": 1}'), ("g", "{}"), content="Look."))
    assert given == {
        "item": {"x": 1},
        "output": "Look.",
        "tools": [call("f", '{"a": 1}', "call_1"), call("g", "{}", "call_2")],
    }
    assert sample_of({}, answer(content="red")) == {"item": {}, "output": "red"}
