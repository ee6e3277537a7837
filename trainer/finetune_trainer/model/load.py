"""Loading a base model: local files, safetensors only, no remote code; and how many cores to use."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from ..protocol.failures import DETERMINISTIC, ModelLoad
from ..protocol.files import PICKLE_SUFFIXES
from .tokenizer import LOCAL_ONLY

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def cores() -> int:
    """CPU cores this process may use: its affinity, or fewer where a control group or OMP_NUM_THREADS sets a limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    if (wish := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        count = min(count, int(wish))
    return max(1, count)


def prepare_torch() -> torch.device:
    """Sets the number of threads, divided by the processes of the run, and returns the device to compute on."""
    torch.set_num_threads(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def quantized_as(quantization: str, precision: str) -> BitsAndBytesConfig | None:
    """bitsandbytes' configuration for a spec's `quantization`; None for none. Computes in `precision`; the output head
    is not quantized.
    """
    if quantization == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=DTYPES[precision],
        )
    return BitsAndBytesConfig(load_in_8bit=True) if quantization == "int8" else None


def load_model(
    directory: Path, precision: str, device: torch.device | None, quantization: str = "none", attention: str = "sdpa"
) -> Any:
    """The base model in evaluation mode on `device` (None: where it was loaded), weights in `precision`. Raises
    ModelLoad.

    Weights are quantized while loading, layer by layer, on the device they stay on.
    """
    for path in directory.iterdir():
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise ModelLoad(f"{path.name}: pickled weights are never loaded")
    try:
        config = AutoConfig.from_pretrained(directory, **LOCAL_ONLY)
        if getattr(config, "auto_map", None):
            raise ModelLoad("config.json asks for its own code (auto_map); this is never run")
        bits = quantized_as(quantization, precision)
        place = {} if bits is None else {"quantization_config": bits, "device_map": {"": device or "cpu"}}
        model = AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            dtype=DTYPES[precision],
            use_safetensors=True,
            low_cpu_mem_usage=True,
            **({} if attention == "sdpa" else {"attn_implementation": attention}),
            **place,
            **LOCAL_ONLY,
        )
    except (OSError, RuntimeError, SafetensorError, *DETERMINISTIC) as error:
        if isinstance(error, (ModelLoad, torch.OutOfMemoryError)):
            raise
        raise ModelLoad(f"the base model cannot be loaded: {error}") from error
    # At the first call of every layer it says that int8 products pass through float16, which is intended.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    for module in model.modules():
        # bitsandbytes changes the layout of 4-bit weights for some CPUs when a layer is evaluated, and that layout has
        # no
        # gradient: after an evaluation, training would learn nothing below it.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return (model if device is None or bits is not None else model.to(device)).eval()


def end_token_ids(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends an answer: the tokenizer's own and those of the generation config."""
    ids = {tokenizer.eos_token_id}
    for config in (model.generation_config, model.config):
        value = getattr(config, "eos_token_id", None)
        ids |= set(value) if isinstance(value, list) else {value}
    return {int(i) for i in ids if i is not None}
