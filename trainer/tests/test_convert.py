"""Checking model directories: what is refused, and the numbers of what is not."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
from safetensors.torch import load_file

from finetune_trainer.model import convert
from finetune_trainer.model.check import ModelProblem, check_model_dir
from finetune_trainer.protocol.files import sha256_file


def change(name: str, edit):
    def apply(directory):
        path = directory / name
        value = json.loads(path.read_text())
        edit(value)
        path.write_text(json.dumps(value))

    return apply


def pickled(directory):
    (directory / "model.safetensors").write_bytes(pickle.dumps({"evil": 1}))


def shortened(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (pickled, "not safetensors"),
        (shortened, "does not fit|header says"),
        (lambda d: (d / "pytorch_model.bin").write_bytes(b"x"), "pickled"),
        (lambda d: (d / "extra.pt").write_bytes(b"x"), "pickled"),
        (lambda d: (d / "notes.txt").write_bytes(pickle.dumps([1])), "holds a pickle"),
        (lambda d: (d / "modeling.py").write_text("x"), "code"),
        (lambda d: (d / "model.safetensors").unlink(), "only safetensors"),
        (lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda d: (d / "config.json").unlink(), "config.json"),
        (lambda d: (d / "config.json").write_text("[" * 100000), "not valid JSON"),
        (change("config.json", lambda c: c.update(auto_map={"AutoModel": "x.Y"})), "auto_map"),
        (change("tokenizer_config.json", lambda c: c.update(auto_map={})), "auto_map"),
        (lambda d: (d / "a b.json").write_text("{}"), "names may hold"),
    ],
)  # fmt: skip
def test_a_directory_that_could_run_code_or_is_broken_is_refused(tiny, tmp_path, capsys, damage, word):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    damage(copy)
    with pytest.raises(ModelProblem, match=word):
        check_model_dir(copy)
    assert convert.main(["check", str(copy)]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_good_directory_gives_its_numbers_and_hashes(tiny, capsys):
    assert convert.main(["check", str(tiny)]) == 0
    report = json.loads(capsys.readouterr().out)
    weights = load_file(tiny / "model.safetensors")
    numbers = report["architecture"]
    assert numbers["parameters"] == sum(t.numel() for t in weights.values())
    assert (numbers["layers"], numbers["hidden_size"], numbers["context_length"]) == (3, 64, 512)
    assert numbers["model_type"] == "llama" and numbers["key_value_heads"] == 2 and numbers["dtypes"] == ["F32"]
    assert "<|im_start|>" in report["chat_template"]
    for file in report["files"]:
        assert sha256_file(tiny / file["path"]) == file["sha256"]


def test_the_hash_changes_with_any_byte(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    before = check_model_dir(copy)["hash"]
    assert before == check_model_dir(tiny)["hash"]
    change("config.json", lambda c: c.update(note=1))(copy)
    assert check_model_dir(copy)["hash"] != before
