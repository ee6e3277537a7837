"""Makes the Python environment of an image: the pinned packages in a venv, checked by hash, from wheels laid beside it,
an own index, or the public ones."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WHEELS = Path("/wheels")
HERE = Path(__file__).parent


def install(python: str, *arguments: str, index: str = "") -> None:
    """Runs pip in the new environment, only for wheels. A failure ends the build."""
    argv = [python, "-m", "pip", "install", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    argv += ["--only-binary", ":all:"]
    if any(WHEELS.glob("*.whl")):
        argv += ["--find-links", str(WHEELS)]
    index = os.environ.get("INDEX") or index
    if index:
        argv += ["--no-index"] if index == "none" else ["--index-url", index]
    subprocess.run([*argv, *arguments], check=True)


def main(target: str) -> None:
    """Installs torch first, because it has another index and must not be replaced later."""
    # Python 3.10 needs older versions.
    pins = HERE / ("requirements-py310.txt" if sys.version_info[:2] <= (3, 10) else "requirements.txt")
    torch_pins = HERE / "requirements-torch.txt"
    torch = re.search(r"^torch==[^\s;\\]+", torch_pins.read_text(), re.MULTILINE)
    if torch is None:
        sys.exit("the requirements have no pinned torch")
    venv.create(target, with_pip=True, symlinks=True)
    python = f"{target}/bin/python"
    files = ["-r", str(pins)]
    if os.environ.get("TORCH", "cpu") == "cpu":
        # The build without CUDA is not the file on PyPI, and the requirements have no hash for it. Only its version is
        # pinned.
        beside = any(WHEELS.glob("torch-*+cpu*.whl"))
        install(python, "--no-deps", torch.group(), index="none" if beside else CPU_INDEX)
    else:
        files += ["-r", str(torch_pins)]
    install(python, "--require-hashes", *files)
    subprocess.run([python, "-c", "import torch, transformers, trl, peft; print('torch', torch.__version__)"], check=True)


main(sys.argv[1])
