"""`python -m finetune_trainer.doctor`: prints what this Python environment and machine can do as JSON; exits with 0 if
they can train.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

from . import PROTOCOL, __version__

NEEDED = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "safetensors",
    "tokenizers",
    "numpy",
    "psutil",
)
# Needed only by options that use them.
WANTED = ("bitsandbytes",)
OLDEST_PYTHON = (3, 10)
FAST_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's name for it


def pinned() -> dict[str, str]:
    """The versions that the requirements for this Python pin, when the files are beside the package."""
    name = "requirements-py310.txt" if sys.version_info < (3, 11) else "requirements.txt"
    paths = [Path(__file__).resolve().parent.parent / each for each in ("requirements-torch.txt", name)]
    text = "\n".join(path.read_text("utf-8") for path in paths if path.is_file())
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", text, re.MULTILINE))


def versions() -> tuple[dict[str, str | None], list[str]]:
    """Installed versions of the needed packages, and a sentence for each problem."""
    found: dict[str, str | None] = {}
    problems = []
    wanted = pinned()
    for name in (*NEEDED, *WANTED):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
            problems.append(f"{name} is not installed")
            continue
        # torch's local part (+cpu, +cu128) names the build, not the version
        if name in wanted and str(found[name]).split("+")[0] != wanted[name]:
            problems.append(f"{name} {found[name]} is installed, {wanted[name]} is pinned")
    return found, problems


def cpu_flags() -> set[str]:
    """Instruction sets of the CPU, as Linux names them; empty elsewhere."""
    try:
        match = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(match[1].split()) if match else set()


def gflops(dtype: Any) -> float:
    """Speed of a matrix product in GFLOP/s, in a shape that training uses (256 tokens x 576 x
    1536), over about 50 ms.
    """
    import torch

    a, b = torch.randn(256, 576, dtype=dtype), torch.randn(1536, 576, dtype=dtype)
    torch.nn.functional.linear(a, b)
    began, runs = time.perf_counter(), 0
    while time.perf_counter() - began < 0.05:
        torch.nn.functional.linear(a, b)
        runs += 1
    return 2 * 256 * 576 * 1536 * runs / (time.perf_counter() - began) / 1e9


def examine() -> dict[str, Any]:
    """The whole report as one JSON object. `cpu.fast_bfloat16` says whether bfloat16 is fast on this CPU."""
    found, problems = versions()
    report: dict[str, Any] = {
        "ok": False,
        "trainer": __version__,
        "protocol": PROTOCOL,
        "python": platform.python_version(),
        "packages": found,
        "problems": problems,
        "machine": platform.machine(),
    }
    python_fits = sys.version_info >= OLDEST_PYTHON
    if not python_fits:
        problems.append(f"Python {platform.python_version()} is too old; 3.10 or newer is needed")
    if found["torch"] and found["psutil"]:
        import psutil
        import torch

        from .model.load import cores

        torch.set_num_threads(cores())
        memory = psutil.virtual_memory()
        report["cuda"] = {
            "available": torch.cuda.is_available(),
            "build": torch.version.cuda,
            "devices": [
                {
                    "name": torch.cuda.get_device_name(i),
                    "memory_mb": torch.cuda.get_device_properties(i).total_memory >> 20,
                }
                for i in range(torch.cuda.device_count())
            ],
        }
        float32, bfloat16 = gflops(torch.float32), gflops(torch.bfloat16)
        report["cpu"] = {
            "cores": cores(),
            "memory_mb": memory.total >> 20,
            "memory_free_mb": memory.available >> 20,
            "float32_gflops": round(float32, 1),
            "bfloat16_gflops": round(bfloat16, 1),
            # Both must agree: the instructions, and that this build of torch is faster with them.
            "fast_bfloat16": bool(cpu_flags() & FAST_BF16) and bfloat16 > 1.3 * float32,
        }
    report["ok"] = all(found[name] for name in NEEDED) and python_fits
    return report


if __name__ == "__main__":
    result = examine()
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)
