"""Writes a model as one GGUF file for llama.cpp: weights, tokenizer and chat template, with the `gguf` package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from safetensors import safe_open

from ..model.splitting import name_of

# GGUF's name of an architecture by its name in transformers.
ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
TYPES = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


class NotWritable(ValueError):
    """The model cannot become a GGUF file; the message says why."""


@dataclass(frozen=True)
class Origin:
    """What a file says about the model: its name, its license, and the base with its repository on the hub."""

    name: str
    license: str | None
    base: str
    repo: str | None
    revision: str | None


def write(directory: Path, target: Path, kind: str, origin: Origin | None = None) -> None:
    """Writes the model of `directory` (safetensors, config, tokenizer) to `target`: matrices as `kind`, vectors in 32
    bits.

    Raises NotWritable.
    """
    config = json.loads((directory / "config.json").read_text("utf-8"))
    arch = ARCHITECTURES.get(config["model_type"])
    if arch is None:
        raise NotWritable(
            f"models of type {config['model_type']} cannot be written as GGUF here; {', '.join(ARCHITECTURES)} can"
        )
    matrix, file_type = TYPES[kind]
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if origin is not None:
        add_origin(writer, origin)
    describe(writer, config)
    add_tokenizer(writer, directory, config)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for name, tensor in tensors(directory):
        if config.get("tie_word_embeddings") and name == "lm_head.weight":
            continue  # it is the embedding
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise NotWritable(f"GGUF has no place for the weights {name}")
        if arch is gguf.MODEL_ARCH.LLAMA and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config["num_attention_heads"]
            tensor = permuted(tensor, config.get("num_key_value_heads", heads) if "k_proj" in name else heads)
        # Vectors are few and matter; a matrix whose rows do not fill blocks cannot be quantized in blocks.
        fits = tensor.ndim > 1 and (kind == "f16" or tensor.shape[-1] % gguf.GGML_QUANT_SIZES[matrix][0] == 0)
        as_type = (
            matrix if fits else gguf.GGMLQuantizationType.F16 if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32
        )
        writer.add_tensor(place, quantize(tensor, as_type), raw_dtype=as_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(directory: Path) -> Iterator[tuple[str, np.ndarray]]:
    """All weights in float32, one at a time."""
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                yield name, file.get_tensor(name).to(torch.float32).numpy()


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries and keys in llama.cpp's order for rotary positions: pairs side by side, not
    the halves of a head.
    """
    half = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return half.swapaxes(1, 2).reshape(weight.shape)


def describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The sizes and constants of the model. Raises NotWritable for settings that may mean something
    else in llama.cpp.
    """
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise NotWritable("scaled positions (rope_scaling) cannot be written as GGUF here")
    if config.get("sliding_window") and config.get("use_sliding_window", config["model_type"] == "mistral"):
        raise NotWritable("attention over a sliding window cannot be written as GGUF here")
    head = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta", config.get("rope_theta", 10000.0))))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def add_origin(writer: gguf.GGUFWriter, origin: Origin) -> None:
    """Name, license and base model, as llama.cpp's converter writes them."""
    writer.add_name(origin.name)
    if origin.license:
        writer.add_license(origin.license)
    writer.add_base_model_count(1)
    owner, _, name = (origin.repo or origin.base).rpartition("/")
    writer.add_base_model_name(0, name)
    if origin.revision:
        writer.add_base_model_version(0, origin.revision)
    if origin.repo:
        writer.add_base_model_organization(0, owner)
        writer.add_base_model_repo_url(0, f"https://huggingface.co/{origin.repo}")


def add_tokenizer(writer: gguf.GGUFWriter, directory: Path, config: dict[str, Any]) -> None:
    """Vocabulary, merges, special tokens and chat template. Raises NotWritable unless the tokenizer
    is byte-level BPE.
    """
    from ..model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(directory)
    spec = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    model = spec["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise NotWritable("only tokenizers of byte-level BPE can be written as GGUF here")
    pre = name_of(spec["pre_tokenizer"], bool(model.get("ignore_merges")))
    if pre is None:
        raise NotWritable("this tokenizer splits text in a way that cannot be written as GGUF here")
    if (normalizer := (spec.get("normalizer") or {}).get("type", "NFC")) != "NFC":
        raise NotWritable(f"this tokenizer changes text first ({normalizer}), which cannot be written as GGUF here")
    added = {token["id"]: token for token in spec["added_tokens"]}
    texts = {index: text for text, index in model["vocab"].items()} | {i: t["content"] for i, t in added.items()}
    tokens, types = [], []
    for index in range(config["vocab_size"]):
        tokens.append(texts.get(index, f"[PAD{index}]"))
        if index not in texts:
            types.append(gguf.TokenType.UNUSED)
        elif index in added:
            types.append(gguf.TokenType.CONTROL if added[index]["special"] else gguf.TokenType.USER_DEFINED)
        else:
            types.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    for add, index in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if index is not None:
            add(index)
    begins = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    writer.add_add_bos_token(begins)
    writer.add_chat_template(tokenizer.chat_template)
