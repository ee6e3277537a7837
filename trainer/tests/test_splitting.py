"""Tokens of GGUF files: for every pre-tokenizer that a file may name, the same as llama.cpp's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from llama_cpp import RECORDED, LlamaCpp
from tokenizers import Tokenizer

from finetune_trainer.export import gguf_file
from finetune_trainer.model.check import ModelProblem
from finetune_trainer.model.convert import convert_smollm2, find_smollm2
from finetune_trainer.model.splitting import BY_NAME, KNOWN, UnknownSplitting, gguf_texts, gguf_tokenizer, name_of

TEXTS = [one["text"] for one in RECORDED]


def write_as(telling: Path, target: Path, name: str, monkeypatch) -> Path:
    """The model as a GGUF file that names the pre-tokenizer `name`."""
    monkeypatch.setattr(gguf_file, "name_of", lambda *_: name)
    gguf_file.write(telling, target, "f16")
    return target


@pytest.mark.parametrize("splitting", KNOWN, ids=lambda one: one.names[0])
def test_text_is_split_as_llama_cpp_splits_it(telling, tmp_path, monkeypatch, splitting):
    ours = None
    for name in splitting.names:
        path = write_as(telling, tmp_path / "model.gguf", name, monkeypatch)
        assert gguf_texts(path)["tokenizer.ggml.pre"] == name
        ours = ours or gguf_tokenizer(path)
        theirs = LlamaCpp(path)
        for text in TEXTS:
            assert (name, text, ours(text, add_special_tokens=False).input_ids) == (name, text, theirs.tokens(text))


def test_the_texts_show_every_difference_between_splittings(telling):
    spec = json.loads((telling / "tokenizer.json").read_text("utf-8"))
    shown: dict[str, set[str]] = {}
    for one in KNOWN:
        spec["pre_tokenizer"], spec["model"]["ignore_merges"] = one.pre_tokenizer(), one.ignore_merges
        found = Tokenizer.from_str(json.dumps(spec)).encode_batch(TEXTS)
        tokens = json.dumps([text.ids for text in found])
        shown.setdefault(tokens, set()).add(json.dumps([one.pre_tokenizer(), one.ignore_merges]))
    assert [len(equal) for equal in shown.values()] == [1] * len(shown)


@pytest.mark.parametrize("name", ["kimi-k2", "no-such-splitting"])
def test_an_unknown_splitting_is_refused_by_name(telling, tmp_path, monkeypatch, name):
    path = write_as(telling, tmp_path / "model.gguf", name, monkeypatch)
    with pytest.raises(UnknownSplitting, match=name):
        gguf_tokenizer(path)
    with pytest.raises(ModelProblem, match=f"model.gguf: .*{name}"):
        convert_smollm2(tmp_path / "out", path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", [b"", b"GGUF", b"GGUF\x03\0\0\0", b"PK\x03\x04" + bytes(64)])
def test_a_file_that_is_not_gguf_is_refused(tmp_path, damage):
    (tmp_path / "model.gguf").write_bytes(damage)
    with pytest.raises(UnknownSplitting, match="model.gguf"):
        gguf_texts(tmp_path / "model.gguf")


@pytest.fixture(scope="module")
def smollm2():
    return gguf_tokenizer(find_smollm2())


def test_the_default_base_has_the_tokens_that_llama_cpp_reads_in_its_file(smollm2):
    theirs = LlamaCpp(find_smollm2())
    for one in RECORDED:
        assert {**one, "tokens": theirs.tokens(one["text"])} == one
        assert {**one, "tokens": smollm2(one["text"]).input_ids} == one


def test_digits_have_tokens_of_their_own(smollm2):
    assert smollm2("\n\n1. First").input_ids == [1116, 33, 30, 3508]


def test_a_tokenizer_is_named_only_if_it_splits_the_same():
    for one in KNOWN:
        found = name_of(one.pre_tokenizer(), one.ignore_merges)
        assert found in [n for other in KNOWN if other.steps == one.steps for n in other.names]
    spaced = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    assert name_of(spaced, False) is None
    assert name_of({**spaced, "add_prefix_space": False, "trim_offsets": False}, False) == "gpt-2"
    digits = {"type": "Digits", "individual_digits": True}
    words = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    assert name_of({"type": "Sequence", "pretokenizers": [digits, words]}, False) == "smollm"
    assert (
        name_of({"type": "Sequence", "pretokenizers": [{**digits, "individual_digits": False}, words]}, False) is None
    )
    # Digits apart, as Qwen2 does it, in an expression that differs elsewhere.
    near = json.loads(json.dumps(BY_NAME["qwen2"].pre_tokenizer()).replace("p{L}+", "p{L}{1,8}"))
    assert name_of(BY_NAME["qwen2"].pre_tokenizer(), False) == "qwen2" and name_of(near, False) is None
