"""Exports: files of every format answer as the trained model does, and files that do not are never published."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import make_rows
from jobs import export_reply
from llama_cpp import RECORDED, LlamaCpp
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_trainer.export import export, gguf_file
from finetune_trainer.model.splitting import BY_NAME, gguf_texts

FORMATS = {"safetensors": 1e-6, "gguf-f16": 1e-4, "gguf-q8_0": 1e-2}


@pytest.fixture(scope="module")
def strong(tiny, adapters, tmp_path_factory):
    """An adapter that changes the model a lot, so that losing it shows."""
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, next(iter(adapters.values())))
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.2
    directory = tmp_path_factory.mktemp("strong")
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    return directory


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_answers_as_the_trained_model_does(here, tiny, strong, form):
    run = here(export_reply(tiny, strong, form), holdout=make_rows(6))
    assert run.run() == 0
    (result,) = [e["result"] for e in run.server.of("result")]
    found = result["fidelity"]
    assert result["published"] and found["prompts"] == 6 and found["positions"] > 50
    assert found["kl_mean"] < FORMATS[form] and found["top1_same"] > 0.95
    assert found["template_same"] and found["stop_tokens_same"] and found["tokens_same"]
    (artifact,) = run.server.complete("merged" if form == "safetensors" else "gguf")
    names = {file["path"]: file["size"] for file in artifact["files"]}
    assert names == {file["path"]: file["size"] for file in result["files"]}
    assert "README.md" not in names  # the spec has no card
    if form == "safetensors":
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= names.keys()


@pytest.mark.parametrize(("form", "precision"), [("gguf-f16", "float32"), ("safetensors", "bfloat16")])
def test_a_full_model_is_written_without_its_base(here, tiny, tmp_path, form, precision):
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    generator = torch.Generator().manual_seed(4)
    for weight in model.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.05
    model.save_pretrained(tmp_path / "whole")
    reply = export_reply(tiny, tmp_path / "whole", form)
    reply["spec"]["precision"] = precision
    run = here(reply, holdout=make_rows(6))
    assert run.run() == 0
    found = run.server.of("result")[0]["result"]["fidelity"]
    assert found["kl_mean"] < FORMATS[form] and found["top1_same"] > 0.95
    (artifact,) = run.server.complete("merged" if form == "safetensors" else "gguf")
    if form == "safetensors":
        back = AutoModelForCausalLM.from_pretrained(artifact["folder"])
        assert back.dtype == torch.bfloat16
        assert torch.equal(back.model.norm.weight, model.model.norm.weight.bfloat16())


def splits_as(telling, directory, name):
    """The model `telling` with another pre-tokenizer, written as models of the hub have it."""
    shutil.copytree(telling, directory)
    spec = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    spec["pre_tokenizer"] = BY_NAME[name].pre_tokenizer()
    if name == "smollm":
        spec["pre_tokenizer"]["pretokenizers"][0] = {"type": "Digits", "individual_digits": True}
    if name == "qwen2":
        spec["normalizer"] = {"type": "NFC"}
    spec["model"]["ignore_merges"] = BY_NAME[name].ignore_merges
    (directory / "tokenizer.json").write_text(json.dumps(spec), "utf-8")
    return directory


def trained_whole(base, directory):
    """A full model whose most likely tokens are clearly so."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    generator = torch.Generator().manual_seed(5)
    for weight in model.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.5
    model.save_pretrained(directory)
    return model.eval()


SPACED = [
    {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"is   {n}\n\n{n}. x"}]}
    for n, text in enumerate(["Total:   1234567", "a  1\n b 22", "e\u0301crire 3"])
]


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_llama_cpp_reads_the_same_tokens_and_gives_the_same_answers(here, telling, tmp_path, name):
    base = splits_as(telling, tmp_path / "base", name)
    model, tokenizer = trained_whole(base, tmp_path / "whole"), AutoTokenizer.from_pretrained(base)
    run = here(export_reply(base, tmp_path / "whole", "gguf-f16"), holdout=SPACED)
    assert run.run() == 0
    (artifact,) = run.server.complete("gguf")
    theirs = LlamaCpp(artifact["folder"] / "model-f16.gguf")
    for text in (one["text"] for one in RECORDED):
        if name != "qwen2" or "\u0301" not in text:  # llama.cpp composes no letters
            assert (text, theirs.tokens(text)) == (text, tokenizer(text, add_special_tokens=False).input_ids)
    for row in SPACED:
        ids = tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True, return_dict=False)
        said = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :].tolist()
        assert theirs.answer(ids, 8) == said


@pytest.mark.parametrize("form", ["gguf-f16", "gguf-q8_0"])
def test_llama_cpp_gives_the_trained_answer(here, tiny, adapters, form):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for adapter, answer in (("ft:a.1", '{"colour": "red"}'), ("ft:b", "the assistant")):
        run = here(export_reply(tiny, adapters[adapter], form, top1_same=0.9, kl_mean=0.1), holdout=make_rows(6))
        assert run.run() == 0
        (artifact,) = run.server.complete("gguf")
        theirs = LlamaCpp(artifact["folder"] / f"model-{form.removeprefix('gguf-')}.gguf")
        prompt = theirs.tokens("<|im_start|>user\nnumber 1<|im_end|>\n<|im_start|>assistant\n")
        assert tokenizer.decode(theirs.answer(prompt, 40)) == answer + "<|im_end|>"


def test_a_file_that_names_another_splitting_is_not_published(here, telling, tmp_path, monkeypatch):
    base = splits_as(telling, tmp_path / "base", "smollm")
    trained_whole(base, tmp_path / "whole")
    monkeypatch.setattr(gguf_file, "name_of", lambda *_: "gpt-2")
    run = here(export_reply(base, tmp_path / "whole", "gguf-f16"), holdout=make_rows(2))
    assert run.run() == 1
    (failed,) = run.server.of("failed")
    assert failed["reason"] == "not_faithful" and "other tokens for the same text" in failed["message"]
    assert not run.server.complete("gguf")


def test_a_tokenizer_that_changes_letters_first_is_refused(here, telling, tmp_path):
    base = splits_as(telling, tmp_path / "base", "gpt-2")
    spec = json.loads((base / "tokenizer.json").read_text("utf-8"))
    (base / "tokenizer.json").write_text(json.dumps({**spec, "normalizer": {"type": "Lowercase"}}), "utf-8")
    trained_whole(base, tmp_path / "whole")
    run = here(export_reply(base, tmp_path / "whole", "gguf-f16"), holdout=make_rows(2))
    assert run.run() == 2
    assert "changes text first (Lowercase)" in run.server.of("failed")[0]["message"]


def test_files_say_what_they_are_and_what_they_were_trained_from(here, tiny, strong):
    reply = export_reply(tiny, strong, "gguf-f16")
    reply["spec"]["base_model"]["hub"] = {"repo": "acme/Tiny-Base", "revision": "c0ffee"}
    reply["spec"]["about"] = {"license": "Apache-2.0", "card": "# ft:tiny\n"}
    run = here(reply, holdout=make_rows(2))
    assert run.run() == 0
    (artifact,) = run.server.complete("gguf")
    assert {file["path"] for file in artifact["files"]} == {"README.md", "model-f16.gguf"}
    assert (artifact["folder"] / "README.md").read_text("utf-8") == "# ft:tiny\n"
    found = gguf_texts(artifact["folder"] / "model-f16.gguf")
    assert {key: text for key, text in found.items() if key.startswith("general.")} == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "ft:tiny",
        "general.license": "apache-2.0",
        "general.base_model.0.name": "Tiny-Base",
        "general.base_model.0.organization": "acme",
        "general.base_model.0.version": "c0ffee",
        "general.base_model.0.repo_url": "https://huggingface.co/acme/Tiny-Base",
    }


def test_a_base_without_a_repository_is_named_alone(here, tiny, strong):
    reply = export_reply(tiny, strong, "gguf-f16")
    reply["spec"]["about"] = {"license": "Example Community License", "card": "# ft:tiny\n"}
    run = here(reply, holdout=make_rows(2))
    assert run.run() == 0
    (artifact,) = run.server.complete("gguf")
    found = gguf_texts(artifact["folder"] / "model-f16.gguf")
    assert found["general.license"] == "Example Community License"
    assert {key: text for key, text in found.items() if key.startswith("general.base_model.0")} == {
        "general.base_model.0.name": "tiny"
    }


def broken_merge(monkeypatch):
    merge = PeftModel.__getattr__

    def forgets(self, name):
        if name != "merge_and_unload":
            return merge(self, name)
        for module in self.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling = {k: v / 4 for k, v in module.scaling.items()}
        return merge(self, name)

    monkeypatch.setattr(PeftModel, "__getattr__", forgets)


def unpermuted(monkeypatch):
    monkeypatch.setattr(gguf_file, "permuted", lambda weight, heads: weight)


def another_end(monkeypatch):
    save = export.save_merged

    def saves(model, directory, *rest):
        save(model, directory, *rest)
        path = directory / "generation_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": 5}))
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**config, "eos_token_id": 5}))

    monkeypatch.setattr(export, "save_merged", saves)


def another_template(monkeypatch):
    load = export.load_tokenizer

    def loads(directory, *given):
        tokenizer = load(directory, *given)
        if directory.name == "merged":
            tokenizer.chat_template = "{{ messages[0].content }}"
        return tokenizer

    monkeypatch.setattr(export, "load_tokenizer", loads)


@pytest.mark.parametrize(
    ("breaks", "form", "words"),
    [
        (broken_merge, "safetensors", "nats per token"),
        (unpermuted, "gguf-f16", "nats per token"),
        (another_end, "safetensors", "the tokens that end an answer are different"),
        (another_template, "safetensors", "the chat template is different"),
    ],
)
def test_files_that_are_not_the_trained_model_are_not_published(here, tiny, strong, monkeypatch, breaks, form, words):
    breaks(monkeypatch)
    run = here(export_reply(tiny, strong, form), holdout=make_rows(6))
    assert run.run() == 1
    (failed,) = run.server.of("failed")
    assert failed["reason"] == "not_faithful" and words in failed["message"] and not failed["retry"]
    assert run.server.of("result")[0]["result"]["published"] is False
    assert not run.server.complete("merged") and not run.server.complete("gguf")


def test_without_rows_general_questions_are_asked(here, tiny, strong):
    reply = export_reply(tiny, strong, "gguf-f16")
    reply["spec"]["dataset"] = None
    run = here(reply)
    assert run.run() == 0
    assert run.server.of("result")[0]["result"]["fidelity"]["prompts"] == 6


def a_quantizer(directory, monkeypatch, body):
    """A stand-in for llama.cpp's tool, found where the real one would be."""
    tool = directory / export.QUANTIZER
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(export, "PROGRAMS", f"{directory}:/usr/bin:/bin")
    monkeypatch.setenv("PATH", "")


def test_k_quants_are_written_by_the_tool_of_llama_cpp_from_sixteen_bits(here, tiny, strong, tmp_path, monkeypatch):
    a_quantizer(tmp_path, monkeypatch, f'echo "$3" > {tmp_path}/asked; /bin/cp "$1" "$2"')
    run = here(export_reply(tiny, strong, "gguf-q4_k_m"), holdout=make_rows(6))
    assert run.run() == 0
    (result,) = [e["result"] for e in run.server.of("result")]
    assert [file["path"] for file in result["files"]] == ["model-q4_k_m.gguf"]
    assert (tmp_path / "asked").read_text() == "Q4_K_M\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [(None, "is not on this machine"), ("echo out of paper; exit 3", "out of paper"), ("true", "no output")],
)
def test_a_quantizer_that_is_missing_or_fails_is_reported(here, tiny, strong, tmp_path, monkeypatch, body, words):
    a_quantizer(tmp_path, monkeypatch, body or "")
    if body is None:
        (tmp_path / export.QUANTIZER).unlink()
        monkeypatch.setattr(export, "PROGRAMS", str(tmp_path))
    run = here(export_reply(tiny, strong, "gguf-q6_k"), holdout=make_rows(6))
    assert run.run() == 2
    (failed,) = run.server.of("failed")
    assert failed["reason"] == "bad_spec" and words in failed["message"]
    assert not run.server.complete("gguf")


def test_what_cannot_be_written_says_why(tmp_path, tiny):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors", "config.json"):
        if (tiny / name).is_file():
            (tmp_path / name).write_bytes((tiny / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    for change, words in (
        ({"model_type": "mamba"}, "models of type mamba"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "scaled positions"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(gguf_file.NotWritable, match=words):
            gguf_file.write(tmp_path, tmp_path / "out.gguf", "f16")
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["pre_tokenizer"] = {"type": "Whitespace"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(gguf_file.NotWritable, match="splits text"):
        gguf_file.write(tmp_path, tmp_path / "out.gguf", "f16")
