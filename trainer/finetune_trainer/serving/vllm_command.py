"""The arguments and the environment of `vllm serve` (0.33.0), from the frozen spec and the files of adapters."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..data.tool_calls.families import family_of_files
from ..data.tool_template import TEMPLATE_FILE, own_template
from ..protocol.failures import ModelLoad
from ..spec.models import ServeSpec, served_name

LORA_RANKS = (16, 32, 64, 128, 256, 320, 512)  # the ranks vLLM can be built for, from its default on
LORAS_AT_ONCE, LORAS_KEPT = 4, 32
# vLLM's LoRA kernels support 16-bit types only; `auto` is the model's own type, or the one an older GPU has.
DTYPES = {"bfloat16": "bfloat16", "float32": "auto"}


def command(spec: ServeSpec, base: Path, adapters: dict[str, Path], socket: Path) -> list[str]:
    """The argument list of `vllm serve`; never a shell. Raises ModelLoad for an adapter that vLLM does not support."""
    modules = [json.dumps({"name": name, "path": str(path)}) for name, path in adapters.items()]
    return [
        *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(base), "--uds", str(socket)),
        *("--served-model-name", served_name(spec), "--dtype", DTYPES[spec.precision]),
        # The model's own context, or as much of it as the GPU has memory for.
        *("--max-model-len", "auto"),
        *("--tensor-parallel-size", str(max(1, int(spec.need.gpus)))),
        *("--gpu-memory-utilization", str(spec.gpu_memory_fraction), "--load-format", "safetensors"),
        *("--enable-lora", "--max-lora-rank", str(max_rank(adapters))),
        *("--max-loras", str(LORAS_AT_ONCE), "--max-cpu-loras", str(LORAS_KEPT)),
        *(("--lora-modules", *modules) if modules else ()),
        # Sampling follows the request only; answers end where the other engine ends them.
        *("--generation-config", "vllm", "--override-generation-config"),
        json.dumps({"max_new_tokens": spec.max_new_tokens}),
        *("--exclude-tools-when-tool-choice-none", "--disable-uvicorn-access-log", "--disable-fastapi-docs"),
        "--disable-log-stats",
        *_template_arguments(base, adapters),
    ]


def _template_arguments(base: Path, adapters: dict[str, Path]) -> list[str]:
    """The chat template of the adapters, and the parser of its family. Without a parser vLLM refuses requests with
    tools. Raises ModelLoad for adapters with different templates: vLLM has one for all models.
    """
    own = {name: own_template(directory) for name, directory in adapters.items()}
    if len(set(own.values())) > 1:
        raise ModelLoad(
            f"vLLM uses one chat template for all models, and {', '.join(own)} were trained with different ones; "
            "deploy them apart"
        )
    template = next(iter(own.values()), None)
    directory = next(iter(adapters.values())) if template is not None else base
    family = family_of_files(directory)
    return [
        *(("--chat-template", str(directory / TEMPLATE_FILE)) if template is not None else ()),
        *(("--enable-auto-tool-choice", "--tool-call-parser", family.parser) if family and family.vllm else ()),
    ]


def environment(scratch: Path, sockets: Path) -> dict[str, str]:
    """Environment of vLLM: no network, adapters can be loaded and unloaded, and all caches are in scratch."""
    cache = scratch / "cache"
    return {
        **{"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(scratch / "hf")},
        **{"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"},
        **{"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"},
        **{"VLLM_HOST_IP": "127.0.0.1", "VLLM_RPC_BASE_PATH": str(sockets), "NO_COLOR": "1"},
        **{"XDG_CACHE_HOME": str(cache), "XDG_CONFIG_HOME": str(cache), "CUDA_CACHE_PATH": str(cache / "cuda")},
        **{"TRITON_CACHE_DIR": str(cache / "triton"), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")},
        **{"FLASHINFER_WORKSPACE_BASE": str(cache), "USER": "trainer", "PYTHONUNBUFFERED": "1"},
    }


def max_rank(adapters: dict[str, Path]) -> int:
    """The smallest rank of vLLM's that fits all adapters. Raises ModelLoad for a larger one."""
    rank = 0
    for name, directory in adapters.items():
        config = json.loads((directory / "adapter_config.json").read_text("utf-8"))
        ranks = [config.get("r", 0), *(config.get("rank_pattern") or {}).values()]
        if not all(isinstance(one, int) and 0 < one <= LORA_RANKS[-1] for one in ranks):
            raise ModelLoad(f"adapter {name}: vLLM takes LoRA ranks up to {LORA_RANKS[-1]}, not {max(ranks, key=str)}")
        rank = max(rank, *ranks)
    return next(one for one in LORA_RANKS if one >= rank)
