"""Rows to tokens: which tokens carry the loss, cutting, and the order of rows."""

from __future__ import annotations

import numpy as np
import pytest

from finetune_trainer.data import IGNORED, BadData, BucketSampler, answer_of, template_messages, tokenize_rows
from finetune_trainer.model import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(tiny)


def turn(role: str, content: str | None, **extra) -> dict:
    return {"role": role, "content": content, **extra}


def trained_text(tokenizer, row: dict, **options) -> tuple[str, str]:
    """The text that is trained on, and the whole text."""
    settings = {"max_length": 512, "loss_on": "completion", "end_ids": {1}, **options}
    tokens = tokenize_rows(tokenizer, [row], **settings)
    ids, labels = tokens.row(0)
    return tokenizer.decode(labels[labels != IGNORED]), tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("messages", "trained"),
    [
        ([turn("user", "hi"), turn("assistant", "yes")], "yes<|im_end|>"),
        ([turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")], "b<|im_end|>d<|im_end|>"),
        ([turn("system", "s"), turn("user", "a"), turn("assistant", "b", weight=1)], "b<|im_end|>"),
        ([turn("user", "a"), turn("assistant", "b", weight=0), turn("user", "c"), turn("assistant", "d")], "d<|im_end|>"),
        ([turn("user", "a"), turn("assistant", "b"), turn("user", "c")], "b<|im_end|>"),
        ([turn("user", "héé"), turn("assistant", "ñandú 🎉")], "ñandú 🎉<|im_end|>"),
    ],
)  # fmt: skip
def test_loss_counts_on_weighted_assistant_turns_alone(tokenizer, messages, trained):
    assert trained_text(tokenizer, {"id": 1, "messages": messages})[0] == trained


def test_loss_on_all_counts_every_token(tokenizer):
    trained, whole = trained_text(
        tokenizer, {"id": 1, "messages": [turn("user", "hi"), turn("assistant", "yes")]}, loss_on="all"
    )
    assert trained == whole


def test_tool_calls_are_trained_with_their_arguments(tokenizer):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 3}'}}
    row = {
        "id": 1,
        "messages": [turn("user", "a"), turn("assistant", None, tool_calls=[call])],
        "tools": [{"type": "function"}],
    }
    trained, whole = trained_text(tokenizer, row)
    assert '"arguments": {"at": 3}' in trained and "tools:" in whole


def test_a_template_that_hides_tool_calls_is_warned_about(tokenizer, tiny):
    blind = load_tokenizer(tiny)
    blind.chat_template = blind.chat_template.replace("m.tool_calls or []", "[]")
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    row = {"id": 1, "messages": [turn("user", "a"), turn("assistant", None, tool_calls=[call])]}
    tokens = tokenize_rows(blind, [row], max_length=512, loss_on="completion", end_ids={1})
    assert any("tool calls" in w for w in tokens.warnings)


def test_a_turn_the_template_rewrites_is_left_out_and_told(tokenizer, tiny):
    shy = load_tokenizer(tiny)
    earlier = "{{ m['content'] if loop.last or m.role == 'user' else '...' }}"
    shy.chat_template = shy.chat_template.replace("{{ m['content'] }}", earlier)
    row = {"id": 1, "messages": [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]}
    tokens = tokenize_rows(shy, [row], max_length=512, loss_on="completion", end_ids={1})
    labels = tokens.row(0)[1]
    assert shy.decode(labels[labels != IGNORED]) == "d<|im_end|>" and "1 rows" in tokens.warnings[0]


def test_rows_without_anything_to_learn_are_an_error(tokenizer):
    with pytest.raises(BadData, match="weight"):
        tokenize_rows(
            tokenizer, [{"id": 1, "messages": [turn("user", "a")]}], max_length=64, loss_on="completion", end_ids={1}
        )


def test_answers_are_the_last_assistant_turn():
    row = {
        "id": 1,
        "messages": [
            turn("user", "a"),
            turn("assistant", "b"),
            turn("user", "c"),
            turn("assistant", "d"),
            turn("user", "e"),
        ],
    }
    prompt, expected = answer_of(row)
    assert [m["content"] for m in prompt] == ["a", "b", "c"] and expected == "d"


def test_templates_get_text_content_and_no_training_marks():
    got = template_messages(
        [
            turn("developer", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            turn("assistant", None, weight=0),
        ]
    )
    assert got == [{"role": "system", "content": "ab"}, {"role": "assistant", "content": ""}]


def test_the_order_of_rows_is_fixed_by_seed_and_epoch_and_has_every_row_once():
    lengths = np.random.default_rng(0).integers(5, 200, 101)
    sampler = BucketSampler(lengths, 8, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(101)) and first == list(BucketSampler(lengths, 8, seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(BucketSampler(lengths, 8, seed=4)) != first


def test_batches_of_like_length_hold_half_the_padding():
    lengths = np.random.default_rng(0).integers(5, 200, 800)

    def padding(order):
        batches = [lengths[order[i : i + 8]] for i in range(0, len(order), 8)]
        return sum(len(b) * b.max() - b.sum() for b in batches)

    order = np.asarray(list(BucketSampler(lengths, 8, seed=1)))
    assert padding(order) < 0.5 * padding(np.random.default_rng(1).permutation(800))
