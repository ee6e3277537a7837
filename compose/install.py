"""Makes the Python environment of an image: the pinned packages in a venv, from wheels laid beside it, an own index, or the public ones."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WHEELS = Path("/wheels")


def requirements() -> Path:
    """The pins for this Python; one release of it needs older ones."""
    name = "requirements-py310.txt" if sys.version_info[:2] <= (3, 10) else "requirements.txt"
    return Path(__file__).parent / name


def install(python: str, *arguments: str) -> None:
    """Runs pip inside the new environment; its failure ends the build."""
    argv = [python, "-m", "pip", "install", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    if any(WHEELS.glob("*.whl")):
        argv += ["--find-links", str(WHEELS)]
    index = os.environ.get("INDEX", "")
    if index:
        argv += ["--no-index"] if index == "none" else ["--index-url", index]
    subprocess.run([*argv, *arguments], check=True)


def main(target: str) -> None:
    """Torch first: its index differs, and what comes after must not replace it."""
    pins = requirements()
    torch = re.search(r"^torch==\S+", pins.read_text(), re.MULTILINE)
    if torch is None:
        sys.exit("the requirements name no pinned torch")
    venv.create(target, with_pip=True, symlinks=True)
    python = f"{target}/bin/python"
    if os.environ.get("TORCH", "cpu") == "cpu" and not any(WHEELS.glob("torch-*+cpu*.whl")):
        install(python, "--no-deps", *([] if os.environ.get("INDEX") else ["--index-url", CPU_INDEX]), torch.group())
    install(python, "-r", str(pins))
    subprocess.run([python, "-c", "import torch, transformers, trl, peft; print('torch', torch.__version__)"], check=True)


main(sys.argv[1])
