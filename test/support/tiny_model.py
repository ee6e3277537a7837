"""Makes the models of the tests: `python tiny_model.py SMOLLM2_DIR OUT_DIR` makes SMOLLM2_DIR if it is missing, and at
OUT_DIR a tiny random Llama with its tokenizer, which trains a hundred steps in seconds."""

import shutil
import sys
from pathlib import Path

import torch
from finetune_trainer.model.convert import convert_smollm2
from transformers import LlamaConfig, LlamaForCausalLM


def main(smollm2: Path, out: Path) -> None:
    if not (smollm2 / "model.safetensors").exists():
        # In this process, because loading the libraries takes most of the time.
        convert_smollm2(smollm2)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=49152,
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
    )
    LlamaForCausalLM(config).save_pretrained(out, safe_serialization=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (smollm2 / name).exists():
            shutil.copyfile(smollm2 / name, out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
