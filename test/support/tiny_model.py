"""Makes the models of the tests: `python tiny_model.py SMOLLM2_DIR OUT_DIR` makes SMOLLM2_DIR if it is missing, and at
OUT_DIR a tiny random Llama with the first tokens of its tokenizer, which trains a hundred steps in seconds."""

import json
import shutil
import sys
from pathlib import Path

import torch
from finetune_trainer.model.convert import convert_smollm2
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = 4096


def cut(tokenizer: dict) -> dict:
    """The tokenizer with its first tokens alone. Those of a byte-level BPE are in the order of their merges."""
    model = tokenizer["model"]
    vocab = {token: number for token, number in model["vocab"].items() if number < TOKENS}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in vocab]
    model["vocab"] = vocab
    return tokenizer


def main(smollm2: Path, out: Path) -> None:
    if not (smollm2 / "model.safetensors").exists():
        # In this process, because loading the libraries takes most of the time.
        convert_smollm2(smollm2)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(out, safe_serialization=True)
    tokenizer = json.loads((smollm2 / "tokenizer.json").read_text("utf-8"))
    (out / "tokenizer.json").write_text(json.dumps(cut(tokenizer), ensure_ascii=False), "utf-8")
    for name in ("tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (smollm2 / name).exists():
            shutil.copyfile(smollm2 / name, out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
