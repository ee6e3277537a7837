"""Runs an export: a fine-tuned model as files, which are read back and compared with the trained model before they are
published.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from ..data.rows import read_rows
from ..data.tool_template import TEMPLATE_FILE, own_template
from ..evaluation.evaluate import with_adapter
from ..model.artifacts import check_adapter, is_full_model, is_reward_model
from ..model.gguf_reading import read_once
from ..model.load import load_model, prepare_torch
from ..model.splitting import gguf_tokenizer
from ..model.tokenizer import LOCAL_ONLY, load_tokenizer
from ..protocol.control import Commands
from ..protocol.failures import TrainingFailed
from ..protocol.home import Home
from ..protocol.inputs import fetch_rows, input_dir
from ..protocol.uploads import Upload, send_artifact
from ..spec.models import ExportSpec
from . import fidelity
from .gguf_file import TYPES, NotWritable, Origin, write

# Files of a model besides its weights, as transformers names them.
SIDE_FILES = (
    *("generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("chat_template.jinja", "vocab.json", "merges.txt", "added_tokens.json"),
)
SHARD = "4GB"
# The model card, under the name that hubs show.
CARD = "README.md"
# llama.cpp's tool for k-quants, and where it is searched besides this process's PATH.
QUANTIZER, PROGRAMS = "llama-quantize", "/usr/local/bin:/usr/bin"


def run(home: Home, reply: dict[str, Any], spec: ExportSpec, commands: Commands) -> str:
    """Merges, writes, reads back, compares and uploads; returns the outcome. Raises TrainingFailed for files that
    differ too much.
    """
    device = prepare_torch()
    base = input_dir(home, "base", reply["inputs"]["base"])
    adapter = input_dir(home, "adapter", reply["inputs"]["adapter"])
    if not is_full_model(adapter):
        check_adapter("tuned", adapter)
    if is_reward_model(adapter):
        raise TrainingFailed(
            "bad_spec", "a reward model has a head of its own, which these files cannot hold", "Use its own files."
        )
    home.phase("loading_model")
    tokenizer = load_tokenizer(base, adapter)
    kind = spec.dataset.row_type if spec.dataset else "chat"
    file = fetch_rows(home, "holdout") if spec.dataset else None
    texts = fidelity.prompt_texts(tokenizer, list(read_rows(file, kind, spec.prompts)) if file else [])
    model = trained(base, adapter, spec.precision, device)
    home.phase("asking", f"the trained model reads {len(texts)} prompts")
    reference = fidelity.record_reference(model, tokenizer, texts, home.scratch / "known")
    if commands.stop:
        return stopped(home, commands)

    home.phase("merging")
    merged = home.scratch / "merged"
    # Summed in 32 bits: in 16 bits a small adapter would be rounded away.
    whole = trained(base, adapter, "float32", device) if spec.precision != "float32" else model
    del model
    save_merged(whole, merged, base, spec.precision)
    if (template := own_template(adapter)) is not None:
        (merged / TEMPLATE_FILE).write_text(template, "utf-8")
    del whole
    gc.collect()
    if commands.stop:
        return stopped(home, commands)

    result: dict[str, Any] = {"format": spec.format, "limits": spec.limits_of_fidelity.model_dump(), "files": []}
    if spec.format == "safetensors":
        out, names = merged, sorted(path.name for path in merged.iterdir())
        back, tokenizer_back = load_model(merged, spec.precision, device), load_tokenizer(merged)
    else:
        out = home.scratch / "gguf"
        out.mkdir(exist_ok=True)
        names = [f"model-{spec.format.removeprefix('gguf-')}.gguf"]
        home.phase("writing", names[0])
        try:
            write_gguf(merged, out / names[0], spec.format.removeprefix("gguf-"), origin_of(spec))
        except NotWritable as error:
            raise TrainingFailed("bad_spec", str(error), "Export it as safetensors.") from error
        shutil.rmtree(merged)
        back, tokenizer_back = read_gguf(out, names[0], device)
    if spec.about:
        (out / CARD).write_text(spec.about.card, "utf-8")
        names.append(CARD)
    home.phase("comparing", "the files are read back and answer the same prompts")
    found = fidelity.compare(reference, back, tokenizer_back, texts)
    del back
    result |= {"fidelity": found, "files": [{"path": n, "size": (out / n).stat().st_size} for n in names]}
    if short := list(fidelity.shortfalls(found, spec.limits_of_fidelity.model_dump())):
        home.emit("result", result={**result, "published": False})
        raise TrainingFailed(
            "not_faithful",
            f"The files do not hold the model that was trained: {'; '.join(short)}. Nothing was published.",
            "Try another format; if safetensors fails too, the adapter or the base model's files are damaged.",
        )
    if commands.stop:
        return stopped(home, commands)
    home.phase("uploading")
    as_kind = "merged" if spec.format == "safetensors" else "gguf"
    # The main figures go with the files; the full report is the job's result.
    metrics = {name: found[name] for name in ("kl_mean", "top1_same", "logprob_max")}
    done = send_artifact(home, home.connection(), Upload(as_kind, 0, out, tuple(names), metrics))
    home.emit("result", result={**result, "published": True, "artifact": done["artifact_id"]})
    return "succeeded"


def trained(base: Path, tuned: Path, precision: str, device: torch.device) -> Any:
    """The model to export: the base with an adapter, or a full model."""
    if is_full_model(tuned):
        return load_model(tuned, precision, device)
    return with_adapter(load_model(base, precision, device), tuned)


def stopped(home: Home, commands: Commands) -> str:
    """Ends on request."""
    for command in commands.take_pending():
        home.command_done(command)
    return commands.stop or "cancelled"


def save_merged(model: Any, directory: Path, base: Path, precision: str) -> None:
    """The model, with its adapter merged, as a directory that transformers, vLLM and others load."""
    plain = model.merge_and_unload(safe_merge=True) if isinstance(model, PeftModel) else model
    plain = plain.to(getattr(torch, precision))
    plain.save_pretrained(directory, max_shard_size=SHARD)
    for name in SIDE_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, directory / name)
    config = json.loads((directory / "config.json").read_text("utf-8"))
    config.pop("_name_or_path", None)  # a path of this machine
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def origin_of(spec: ExportSpec) -> Origin:
    """What a GGUF file says about the model."""
    base, license = spec.base_model, spec.about.license if spec.about else None
    hub = base.hub
    # Identifiers are written in lower case, as hubs read them.
    license = license.lower() if license and " " not in license else license
    repo, revision = (hub.repo, hub.revision) if hub else (None, None)
    return Origin(spec.tuned.model, license, base.id, repo, revision)


def write_gguf(merged: Path, target: Path, kind: str, origin: Origin) -> None:
    """The merged model as one file; llama.cpp's tool writes the types that `gguf_file` does not. Raises NotWritable,
    TrainingFailed.
    """
    if kind in TYPES:
        write(merged, target, kind, origin)
        return
    tool = shutil.which(QUANTIZER, path=f"{os.environ.get('PATH', '')}:{PROGRAMS}")
    if tool is None:
        raise TrainingFailed(
            "bad_spec", f"{QUANTIZER} is not on this machine", "Install llama.cpp, or export gguf-q8_0."
        )
    full = target.with_name(f".{target.name}")
    write(merged, full, "f16", origin)
    done = subprocess.run(
        [tool, str(full), str(target), kind.upper(), str(torch.get_num_threads())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    full.unlink()
    if done.returncode != 0 or not target.is_file():
        last = done.stdout.strip().splitlines()[-1:] or ["no output"]
        raise TrainingFailed("bad_spec", f"{QUANTIZER} failed: {last[0][:300]}", "Export it as gguf-q8_0.")


def read_gguf(directory: Path, name: str, device: torch.device) -> tuple[Any, Any]:
    """Model and tokenizer from a GGUF file: the weights by a reader that shares no code with the writer, the tokens as
    llama.cpp reads them.
    """
    with read_once():
        model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.float32, **LOCAL_ONLY)
        return model.to(device).eval(), gguf_tokenizer(directory / name)
