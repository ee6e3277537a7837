"""Rows to tokens: which tokens carry the loss, cutting, and the order of rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from jobs import rows_of

from finetune_trainer.data.encoder import tokenize_rows
from finetune_trainer.data.order import BucketSampler, RankBatches
from finetune_trainer.data.rows import answer_of, load, question_of, read_rows, tokenize
from finetune_trainer.data.template import TemplateRefused, encode_conversation, template_messages
from finetune_trainer.data.tokens import IGNORED
from finetune_trainer.data.tool_calls.answers import Answer
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.protocol.failures import BadData, describe


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
        (
            [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")],
            "b<|im_end|>d<|im_end|>",
        ),
        ([turn("system", "s"), turn("user", "a"), turn("assistant", "b", weight=1)], "b<|im_end|>"),
        (
            [turn("user", "a"), turn("assistant", "b", weight=0), turn("user", "c"), turn("assistant", "d")],
            "d<|im_end|>",
        ),
        ([turn("user", "a"), turn("assistant", "b"), turn("user", "c")], "b<|im_end|>"),
        ([turn("user", "héé"), turn("assistant", "ñandú 🎉")], "ñandú 🎉<|im_end|>"),
    ],
)
def test_only_weighted_assistant_turns_are_in_the_loss(tokenizer, messages, trained):
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


CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
OPTIONS = {"max_length": 512, "loss_on": "completion", "end_ids": {1}}


def loss_of(tokenizer, tokens) -> list[tuple[int, str]]:
    """Row id and the text in the loss of every sequence."""
    rows = [tokens.row(i)[1] for i in range(len(tokens))]
    texts = [tokenizer.decode(labels[labels != IGNORED]) for labels in rows]
    return list(zip(tokens.row_ids, texts, strict=True))


@pytest.fixture
def blind(tiny):
    """A tokenizer whose template renders no tool calls, tools or tool results."""
    tokenizer = load_tokenizer(tiny)
    template = tokenizer.chat_template.replace("m.tool_calls or []", "[]").replace("tools and loop.first", "false")
    tokenizer.chat_template = template.replace("{{ m['content'] }}", "{{ '' if m.role == 'tool' else m['content'] }}")
    return tokenizer


def test_a_turn_of_which_the_template_renders_nothing_is_not_in_the_loss(blind):
    calls = [
        turn("user", "a"),
        turn("assistant", None, tool_calls=[CALL]),
        turn("tool", "nine"),
        turn("assistant", "b"),
    ]
    rows = [
        {"id": 1, "messages": calls, "tools": [{"type": "function", "function": {"name": "look"}}]},
        {"id": 2, "messages": calls[:2]},
        {"id": 3, "messages": [turn("user", "a"), turn("assistant", "x", tool_calls=[CALL])]},
    ]
    tokens = tokenize_rows(blind, rows, **OPTIONS)
    nothing = "this model's chat template renders nothing of them"
    assert loss_of(blind, tokens) == [(1, "b<|im_end|>"), (3, "x<|im_end|>")] and tokens.dropped == 1
    assert [warning.split(" ", 2)[0::2] for warning in tokens.warnings] == [
        ["2", f"assistant turns not in the loss, because {nothing} (tool calls)"],
        ["1", "tool calls that this model's chat template does not render"],
        ["1", "tool definitions that this model's chat template does not render"],
        ["1", "tool results that this model's chat template does not render"],
    ]


@pytest.mark.parametrize("kind", ["chat", "preference", "unpaired"])
def test_rows_whose_answers_are_all_unseen_are_refused_with_the_reason(blind, kind):
    asked, call = [turn("user", "a")], [turn("assistant", None, tool_calls=[CALL])]
    row = {
        "chat": {"messages": asked + call},
        "preference": {"messages": asked, "chosen": call, "rejected": call},
        "unpaired": {"messages": asked + call, "label": True},
    }[kind]
    with pytest.raises(BadData, match=r"template renders nothing of the answers of 2 rows \(tool calls\)") as error:
        tokenize(kind, blind, [{"id": 1, **row}, {"id": 2, **row}], **OPTIONS)
    assert "renders tool calls" in describe(error.value)["advice"] and describe(error.value)["reason"] == "bad_data"


def test_answers_that_hold_nothing_but_their_end_are_no_training_data(tokenizer):
    empty = [turn("user", "a"), turn("assistant", "")]
    with pytest.raises(BadData, match="the answers of 2 rows are empty"):
        tokenize_rows(tokenizer, [{"id": i, "messages": empty} for i in (1, 2)], **OPTIONS)


def test_a_turn_the_template_renders_otherwise_later_has_a_sequence_of_its_own(tiny):
    shy = load_tokenizer(tiny)
    earlier = "{{ m['content'] if loop.last or m.role == 'user' else '...' }}"
    shy.chat_template = shy.chat_template.replace("{{ m['content'] }}", earlier)
    chat = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    tokens = tokenize_rows(shy, [{"id": 1, "messages": chat}, {"id": 2, "messages": chat[:2]}], **OPTIONS)
    assert loss_of(shy, tokens) == [(1, "b<|im_end|>"), (1, "d<|im_end|>"), (2, "b<|im_end|>")]
    assert (tokens.split, tokens.cut, tokens.dropped, tokens.warnings) == (1, 0, 0, [])
    assert "assistant\n...<|im_end|>" in shy.decode(tokens.row(1)[0])
    pair = {"id": 5, "messages": chat[:1], "chosen": chat[1:], "rejected": [turn("assistant", "e")]}
    pairs = tokenize("preference", shy, [pair], **OPTIONS)
    texts = [shy.decode(labels[labels != IGNORED]) for _, labels in pairs.sides(0)]
    assert texts == ["d<|im_end|>", "e<|im_end|>"] and "no sequence can hold" in pairs.warnings[0]


def test_an_answer_that_would_merge_with_its_prompt_is_encoded_after_it(tiny):
    from tokenizers import AddedToken

    merging = load_tokenizer(tiny)
    merging.add_tokens([AddedToken("\n\n", normalized=False)])
    row = {
        "id": 1,
        "messages": [turn("user", "a"), turn("assistant", "\nb"), turn("user", "c"), turn("assistant", "d")],
    }
    tokens = tokenize_rows(merging, [row], **OPTIONS)
    assert loss_of(merging, tokens) == [(1, "d<|im_end|>"), (1, "\nb<|im_end|>")]
    prompt = encode_conversation(merging, row["messages"][:1]).ids
    assert tokens.row(1)[0].tolist()[: len(prompt)] == prompt


STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('must alternate') }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("kind", ["chat", "preference", "unpaired", "prompt"])
def test_a_row_the_template_refuses_is_named_and_can_be_left_out(tiny, kind):
    strict = load_tokenizer(tiny)
    strict.chat_template = STRICT + strict.chat_template
    good = {"id": 1, **rows_of(kind, 1)[0]}
    bad = {**good, "id": 7, "messages": [turn("user", "a"), *good["messages"]]}
    with pytest.raises(TemplateRefused, match="row 7: .*must alternate") as error:
        tokenize(kind, strict, [good, bad], **OPTIONS)
    assert {k: v for k, v in describe(error.value).items() if k in ("reason", "retry")} == {
        "reason": "bad_data",
        "retry": False,
    }
    kept = tokenize(kind, strict, [good, bad], **OPTIONS, leave_out=True)
    assert kept.row_ids == [1] and "row 7" in kept.warnings[0]
    with pytest.raises(TemplateRefused, match="1 row left out; row 7"):
        tokenize(kind, strict, [bad], **OPTIONS, leave_out=True)


def test_rows_without_a_token_in_the_loss_are_an_error(tokenizer):
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
    assert [m["content"] for m in prompt] == ["a", "b", "c"] and expected.text == "d"


def test_templates_get_text_content_and_no_weights():
    got = template_messages(
        [
            turn("developer", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            turn("assistant", None, weight=0),
        ]
    )
    assert got == [{"role": "system", "content": "a\nb"}, {"role": "assistant", "content": ""}]


def test_the_order_of_rows_is_fixed_by_seed_and_epoch_and_has_every_row_once():
    lengths = np.random.default_rng(0).integers(5, 200, 101)
    sampler = BucketSampler(lengths, 8, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(101)) and first == list(BucketSampler(lengths, 8, seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(BucketSampler(lengths, 8, seed=4)) != first


def test_batches_of_similar_length_have_half_the_padding():
    lengths = np.random.default_rng(0).integers(5, 200, 800)

    def padding(order):
        batches = [lengths[order[i : i + 8]] for i in range(0, len(order), 8)]
        return sum(len(b) * b.max() - b.sum() for b in batches)

    order = np.asarray(list(BucketSampler(lengths, 8, seed=1)))
    assert padding(order) < 0.5 * padding(np.random.default_rng(1).permutation(800))


def test_only_the_answers_of_a_pair_are_in_the_loss(tokenizer):
    row = {
        "id": 7,
        "messages": [turn("user", "a"), turn("assistant", "b"), turn("user", "c")],
        "chosen": [turn("assistant", "yes"), turn("tool", "9"), turn("assistant", "good")],
        "rejected": [turn("assistant", "no")],
    }
    pairs = tokenize("preference", tokenizer, [row], max_length=512, loss_on="completion", end_ids={1})
    texts = [tokenizer.decode(labels[labels != IGNORED]) for _, labels in pairs.sides(0)]
    assert texts == ["yes<|im_end|>good<|im_end|>", "no<|im_end|>"]  # the model does not write tool results
    assert pairs.row_ids == [7] and len(pairs) == 1
    longer, shorter = (len(ids) for ids, _ in pairs.sides(0))
    assert pairs.lengths().tolist() == [longer] and pairs.total() == longer + shorter
    assert question_of(row, "preference") == (row["messages"], Answer("yes"))


def test_only_the_labeled_answer_is_in_the_loss(tokenizer):
    messages = [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    rows = [{"id": i, "messages": messages, "label": i == 1} for i in (1, 2)]
    marked = tokenize("unpaired", tokenizer, rows, max_length=512, loss_on="completion", end_ids={1})
    assert tokenizer.decode(marked.row(0)[1][marked.row(0)[1] != IGNORED]) == "d<|im_end|>"
    assert marked.good.tolist() == [1, 0]
    assert [question_of(row, "unpaired")[1].text for row in rows] == ["d", ""]


@pytest.mark.parametrize("length", [8, 13, 64])
def test_every_token_of_a_text_but_the_first_is_predicted_once(tokenizer, length):
    text = "the user says a number and the assistant a colour"
    whole = [*tokenizer(text)["input_ids"], 1]
    found = tokenize("text", tokenizer, [{"id": 3, "text": text}], max_length=length, loss_on="completion", end_ids={1})
    pieces = [found.row(i)[0].tolist() for i in range(len(found))]
    assert all(2 <= len(piece) <= length for piece in pieces) and set(found.row_ids) == {3}
    assert [whole[0], *(token for piece in pieces for token in piece[1:])] == whole
    assert found.split == (len(whole) > length)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("preference", {"id": 1, "messages": [], "chosen": []}),
        ("unpaired", {"id": 1, "messages": [], "label": 1}),
        ("text", {"id": 1, "text": None}),
        ("chat", {"id": 1, "text": "a"}),
    ],
)
def test_a_row_of_another_type_is_named_by_its_line(tmp_path, kind, row):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(BadData, match=f"line 1: .* {kind}"):
        list(read_rows(tmp_path / "rows.jsonl", kind))


def test_saved_rows_are_the_rows(tokenizer, tmp_path):
    rows = rows_of("preference", 5)
    pairs = tokenize("preference", tokenizer, rows, max_length=512, loss_on="completion", end_ids={1})
    pairs.save(tmp_path)
    back = load("preference", tmp_path)
    assert [len(ids) for i in range(5) for ids, _ in back.sides(i)] == [
        len(ids) for i in range(5) for ids, _ in pairs.sides(i)
    ]
    assert back.row_ids == pairs.row_ids and back.lengths().tolist() == pairs.lengths().tolist()


def test_the_last_rows_of_an_epoch_are_completed_so_that_all_ranks_have_the_same_number():
    lengths = np.arange(10, 31)

    def ranks(count: int, per_device: int, least: int = 1) -> list[list[list[int]]]:
        return [
            list(RankBatches(BucketSampler(lengths, 8, seed=1), per_device, rank, count, None, least))
            for rank in range(count)
        ]

    for count, per_device, least in ((1, 8, 1), (2, 4, 1), (2, 4, 2), (1, 4, 2), (4, 2, 1)):
        found = ranks(count, per_device, least)
        assert len({tuple(len(batch) for batch in rank) for rank in found}) == 1
        assert all(len(batch) >= least for rank in found for batch in rank)
        assert {row for rank in found for batch in rank for row in batch} == set(range(21))
    assert sum(len(batch) for batch in ranks(1, 8)[0]) == 21  # alone and of any number, nothing comes twice
    assert [len(batch) for batch in ranks(1, 4, 2)[0]][-1] == 2  # 21 rows leave one over
