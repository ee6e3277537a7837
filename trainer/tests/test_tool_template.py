"""The chat template with tools: what it shows, who has it, and that models carry it from training to serving."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_trainer.data.encoder import Encoder
from finetune_trainer.data.rows import read_rows
from finetune_trainer.data.template import render
from finetune_trainer.data.tokens import IGNORED
from finetune_trainer.data.tool_calls.families import family_of_tokenizer
from finetune_trainer.data.tool_calls.stream import parse
from finetune_trainer.data.tool_template import TEMPLATE_FILE, tool_template, use_tool_template, with_template
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.protocol.failures import ModelLoad, TrainingFailed
from finetune_trainer.serving.vllm_command import _template_arguments

TOOL = {"type": "function", "function": {"name": "book_seat", "parameters": {"type": "object", "properties": {}}}}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "book_seat", "arguments": '{"city": "Lima", "seats": 2}'},
}
WRITTEN = '<tool_call>\n{"name": "book_seat", "arguments": {"city": "Lima", "seats": 2}}\n</tool_call>'
ROW = {
    "id": 1,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Two seats to Lima"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"ok": true}'},
        {"role": "tool", "tool_call_id": "call_2", "content": "later"},
        {"role": "assistant", "content": "Booked."},
    ],
    "tools": [TOOL],
}


@pytest.fixture
def tokenizer(tiny: Path):
    found = load_tokenizer(tiny)
    use_tool_template(found)
    return found


def test_definitions_calls_and_results_are_shown_as_hermes_models_write_them(tokenizer) -> None:
    text = render(tokenizer, ROW["messages"], ROW["tools"], prompt=False)
    head, rest = text.split("<|im_end|>\n", 1)
    assert head.startswith("<|im_start|>system\nBe brief.\n\n# Tools")
    assert json.dumps(TOOL) in head
    assert rest == (
        "<|im_start|>user\nTwo seats to Lima<|im_end|>\n"
        f"<|im_start|>assistant\n{WRITTEN}<|im_end|>\n"
        '<|im_start|>user\n<tool_response>\n{"ok": true}\n</tool_response>\n'
        "<tool_response>\nlater\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nBooked.<|im_end|>\n"
    )
    assert family_of_tokenizer(tokenizer).parser == "hermes"


def test_numbers_of_definitions_and_calls_keep_their_digits(tokenizer, tmp_path: Path) -> None:
    numbers = '{"a": 1.0, "b": 1.50, "c": 1e5, "d": 9007199254740993, "e": 0.12345678901234567890}'
    call = {**CALL, "function": {"name": "book_seat", "arguments": numbers}}
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "Two seats"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    tool = '{"type": "function", "function": {"name": "book_seat", "parameters": ' + numbers + "}}"
    rows.write_text('{"id": 1, "messages": ' + json.dumps(turns) + ', "tools": [' + tool + "]}\n", "utf-8")
    (row,) = read_rows(rows)
    assert render(tokenizer, row["messages"], row["tools"], prompt=False).count(numbers) == 2
    ((_, (found,)),) = Encoder(tokenizer, "completion", {tokenizer.eos_token_id}).encode([row])
    assert found.text.count(numbers) == 2


@pytest.mark.parametrize(("family", "mark"), [("functiongemma", "<escape>"), ("gemma4", '<|"|>')])
def test_templates_of_gemma_show_numbers_that_its_parser_reads_back(tokenizer, family, mark) -> None:
    opener, closer = {
        "functiongemma": ("<start_function_call>", "<end_function_call>"),
        "gemma4": ("<|tool_call>", "<tool_call|>"),
    }[family]
    tokenizer.chat_template = (
        "{% macro write(value) %}{% if value is string %}MARK{{ value }}MARK"
        "{% elif value is boolean %}{{ 'true' if value else 'false' }}"
        "{% elif value is mapping %}{"
        " {%- for k, v in value | dictsort %}{{ ',' if not loop.first }}{{ k }}:{{ write(v) }}"
        "{%- endfor -%} }{% elif value is sequence %}[{% for v in value %}{{ ',' if not loop.first }}{{ write(v) }}"
        "{% endfor %}]{% else %}{{ value }}{% endif %}{% endmacro %}"
        "{% for m in messages %}{% for call in m.tool_calls %}"
        f"{opener}call:{{{{ call.function.name }}}}{{{{ write(call.function.arguments) }}}}{closer}"
        "{% endfor %}{% endfor %}"
    ).replace("MARK", mark)
    given = '{"a": 1.50, "b": "1.50", "big": 12345678901234567890, "l": [1.0, "x, }"], "n": null, "o": {"t": true}}'
    call = {**CALL, "function": {"name": "book_seat", "arguments": given}}
    text = render(tokenizer, [{"role": "assistant", "content": "", "tool_calls": [call]}], None, prompt=False)
    assert "a:1.50," in text and "\x7f" not in text
    found = family_of_tokenizer(tokenizer)
    assert found.parser == family
    (read,) = parse(found, text)[1]
    assert (read.name, read.arguments) == ("book_seat", given)


REASONED = [
    ({"reasoning_content": "Take 0, add 1.", "content": "1"}, "<think>\nTake 0, add 1.\n</think>\n\n"),
    ({"reasoning_content": "It is 1.", "content": "It is 1."}, "<think>\nIt is 1.\n</think>\n\n"),
    ({"content": "<think>\nTake 0.\n</think>\n\n1"}, "<think>\nTake 0.\n</think>\n\n"),
    ({"reasoning_content": "Book.", "content": "", "tool_calls": [CALL]}, "<think>\nBook.\n</think>\n\n"),
    ({"content": "1"}, ""),
]


@pytest.mark.parametrize(("turn", "reasoning"), REASONED)
def test_reasoning_is_in_the_loss_or_context_only(tokenizer, turn, reasoning) -> None:
    row = {"id": 1, "messages": [{"role": "user", "content": "0+1?"}, {"role": "assistant", **turn}]}
    ends = {tokenizer.eos_token_id}
    learned = {}
    for mask in (False, True):
        ((_, (found,)),) = Encoder(tokenizer, "completion", ends, mask_reasoning=mask).encode([row])
        learned[mask] = tokenizer.decode(found.ids[found.labels != IGNORED])
    assert learned[False] == reasoning + learned[True]
    answer = WRITTEN if "tool_calls" in turn else turn["content"].removeprefix(reasoning)
    assert learned[True].strip() == f"{answer}<|im_end|>"


def test_every_answer_is_in_the_loss_word_for_word(tokenizer) -> None:
    encoder = Encoder(tokenizer, "completion", {tokenizer.eos_token_id})
    ((_, found),) = encoder.encode([ROW])
    assert encoder.warnings() == []
    (one,) = found
    trained = tokenizer.decode([int(i) for i, label in zip(one.ids, one.labels, strict=True) if label != -100])
    assert trained == f"{WRITTEN}<|im_end|>Booked.<|im_end|>"


def test_a_model_without_the_tokens_of_chatml_is_refused(tokenizer) -> None:
    class Other:
        added_tokens_decoder = {0: "<s>"}

    with pytest.raises(TrainingFailed, match="<|im_start|>"):
        use_tool_template(Other())


def test_a_fine_tuned_model_brings_its_own_template(tiny: Path, tmp_path: Path) -> None:
    assert load_tokenizer(tiny, tmp_path).chat_template == load_tokenizer(tiny).chat_template
    (tmp_path / TEMPLATE_FILE).write_text(tool_template(), "utf-8")
    assert load_tokenizer(tiny, tmp_path).chat_template == tool_template()
    plain = load_tokenizer(tiny)
    assert with_template(plain, tool_template()).chat_template == tool_template()
    assert plain.chat_template != tool_template()


def test_vllm_gets_the_template_of_the_adapters_and_its_parser(tiny: Path, tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (own / TEMPLATE_FILE).write_text(tool_template(), "utf-8")
    assert _template_arguments(tiny, {"a": other}) == []
    parser = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    assert _template_arguments(tiny, {"a": own}) == ["--chat-template", str(own / TEMPLATE_FILE), *parser]
    with pytest.raises(ModelLoad, match="a, b were trained with different ones"):
        _template_arguments(tiny, {"a": own, "b": other})
