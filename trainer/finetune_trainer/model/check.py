"""Checks a model directory without loading it: safetensors and tokenizer only, no pickles, no code, valid headers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..protocol.files import PICKLE_SUFFIXES, SAFE_PATH, sha256_file

CODE_SUFFIXES = {".py", ".pyc", ".so", ".sh", ".dll", ".exe"}
DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
HEADER_LIMIT = 100 * 1024 * 1024


class ModelProblem(ValueError):
    """What is wrong with a model directory, in a sentence for its owner."""


def file_entries(directory: Path) -> list[dict[str, Any]]:
    """Every file below `directory` as `{path, size, sha256}`, sorted by path; without the manifest itself."""
    paths = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "manifest.json")
    return [
        {"path": p.relative_to(directory).as_posix(), "size": p.stat().st_size, "sha256": sha256_file(p)} for p in paths
    ]


def manifest_hash(entries: list[dict[str, Any]]) -> str:
    """One hash for a list of files: sha256 over lines `sha256 size path`, sorted by path."""
    lines = sorted((e["path"], f"{e['sha256']} {e['size']} {e['path']}\n") for e in entries)
    return hashlib.sha256("".join(line for _, line in lines).encode()).hexdigest()


def read_safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensor table of a safetensors file, checked against the size of the file. Raises ModelProblem when it is not
    valid.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise ModelProblem(f"{path.name}: too short to be safetensors")
        length = int.from_bytes(start, "little")
        if length > min(HEADER_LIMIT, size - 8):
            raise ModelProblem(f"{path.name}: not safetensors (its header would be longer than the file)")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelProblem(f"{path.name}: not safetensors (its header is not JSON)") from error
    if not isinstance(header, dict):
        raise ModelProblem(f"{path.name}: not safetensors (its header is not an object)")
    header.pop("__metadata__", None)
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(path, *item)):
        begin, end = _offsets(path, name, entry)
        count = 1
        for dimension in entry.get("shape", []):
            count *= int(dimension)
        width = DTYPE_BYTES.get(entry.get("dtype"))
        if width is None or begin != expected or end - begin != count * width:
            raise ModelProblem(f"{path.name}: tensor {name!r} does not fit the file")
        expected = end
    if 8 + length + expected != size:
        raise ModelProblem(f"{path.name}: {size} bytes long, its header says {8 + length + expected}")
    return header


def _offsets(path: Path, name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(o, int) for o in offsets)):
        raise ModelProblem(f"{path.name}: tensor {name!r} has no valid data_offsets")
    return offsets[0], offsets[1]


def check_model_dir(directory: Path) -> dict[str, Any]:
    """Checks a model directory and returns its architecture numbers, chat template and files. Raises ModelProblem."""
    if not directory.is_dir():
        raise ModelProblem(f"{directory}: no such directory")
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory).as_posix()
        if path.is_symlink() and not path.resolve().is_file():
            raise ModelProblem(f"{relative}: a broken link")
        if path.is_dir():
            continue
        if not SAFE_PATH.fullmatch(relative):
            raise ModelProblem(f"{relative!r}: names may hold letters, digits, dot, dash and underscore only")
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise ModelProblem(f"{relative}: pickled or foreign weights can run code; convert the model to safetensors")
        if path.suffix.lower() in CODE_SUFFIXES:
            raise ModelProblem(f"{relative}: a model directory may not contain code")
        with path.open("rb") as stream:
            magic = stream.read(4)
        if path.suffix != ".safetensors" and (
            magic[:2] in (b"PK", b"\x80\x02", b"\x80\x04") or magic[:2] == b"\x80\x05"
        ):
            raise ModelProblem(f"{relative}: holds a pickle or an archive")
    configs = {
        p.relative_to(directory).as_posix(): _read_json(p)
        for p in directory.rglob("*.json")
        if p.name != "manifest.json"
    }
    for name, content in configs.items():
        if isinstance(content, dict) and "auto_map" in content:
            raise ModelProblem(f"{name}: `auto_map` asks to run code from the model directory; this is never done")
    config = configs.get("config.json")
    if not isinstance(config, dict) or not config.get("model_type"):
        raise ModelProblem("config.json: missing, or without `model_type`")
    if "tokenizer.json" not in configs:
        raise ModelProblem("tokenizer.json: missing; save the model with its fast tokenizer")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise ModelProblem("no *.safetensors file: only safetensors weights are accepted")
    parameters, dtypes = _count(weights)
    template = _chat_template(directory, configs.get("tokenizer_config.json"))
    files = file_entries(directory)
    return {
        "ok": True,
        "architecture": _architecture(config, parameters, dtypes),
        "chat_template": template,
        "files": files,
        "hash": manifest_hash(files),
    }


def _count(weights: list[Path]) -> tuple[int, set[str]]:
    seen: set[str] = set()
    dtypes: set[str] = set()
    parameters = 0
    for path in weights:
        for name, entry in read_safetensors_header(path).items():
            if name in seen:
                raise ModelProblem(f"{path.name}: tensor {name!r} is in two files")
            seen.add(name)
            dtypes.add(entry["dtype"])
            count = 1
            for dimension in entry["shape"]:
                count *= dimension
            parameters += count
    return parameters, dtypes


def _architecture(config: dict[str, Any], parameters: int, dtypes: set[str]) -> dict[str, Any]:
    heads = config.get("num_attention_heads")
    hidden = config.get("hidden_size")
    return {
        "model_type": config["model_type"],
        "architectures": config.get("architectures") or [],
        "parameters": parameters,
        "layers": config.get("num_hidden_layers"),
        "hidden_size": hidden,
        "intermediate_size": config.get("intermediate_size"),
        "attention_heads": heads,
        "key_value_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or (hidden // heads if hidden and heads else None),
        "vocab_size": config.get("vocab_size"),
        "context_length": config.get("max_position_embeddings"),
        "tied_embeddings": bool(config.get("tie_word_embeddings", False)),
        "dtypes": sorted(dtypes),
    }


def _chat_template(directory: Path, tokenizer_config: Any) -> str | None:
    path = directory / "chat_template.jinja"
    if path.is_file():
        return path.read_text("utf-8")
    template = tokenizer_config.get("chat_template") if isinstance(tokenizer_config, dict) else None
    return template if isinstance(template, str) else None


def _read_json(path: Path) -> Any:
    if path.stat().st_size > HEADER_LIMIT:
        raise ModelProblem(f"{path.name}: a JSON file of {path.stat().st_size} bytes is not read")
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelProblem(f"{path.name}: not valid JSON") from error
