"""Runs a training job: rows, model, trainer, steps with their reports and checkpoints, and the result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data import rows, token_cache
from ..data.tokens import Tokens
from ..data.tool_template import use_tool_template
from ..distributed.group import Group, SilentHome
from ..model import checkpoint
from ..model.adapter import attach, is_full_fine_tuning, parameter_counts
from ..model.artifacts import is_full_model, is_reward_model
from ..model.kernels import compile_layers, use_liger
from ..model.load import end_token_ids, load_model, prepare_torch
from ..model.tokenizer import load_tokenizer
from ..protocol.control import Commands
from ..protocol.failures import BadData, TrainingFailed, blaming
from ..protocol.home import Home
from ..protocol.inputs import fetch_rows, input_dir
from ..spec import support
from ..spec.models import TrainSpec
from .loop import Loop, tokens_of
from .methods import load_method
from .packing import isolates_packed_rows, pack

CHANGE_SETTING = "Change the setting that the message names, and run the job again."


def run(
    home: Home | SilentHome, reply: dict[str, Any], spec: TrainSpec, commands: Commands, group: Group | None = None
) -> str:
    """Trains and uploads; returns the outcome `succeeded`, `paused` or `cancelled`. Raises an exception for any
    failure.

    In a group every rank runs this; only the first talks to the server and writes, the others have a `SilentHome`.
    """
    group = group or Group()
    device = prepare_torch()
    support.check(spec, "gpu" if device.type == "cuda" else "cpu")
    support.check_packages(spec)
    base = _fetch_once(group, lambda: input_dir(home, "base", reply["inputs"]["base"]))
    home.phase("loading_data")
    tokenizer = load_tokenizer(base)
    if spec.data and spec.data.chat_template == "tools":
        use_tool_template(tokenizer)
    train_file, holdout_file = (_fetch_once(group, lambda s=s: fetch_rows(home, s)) for s in ("train", "holdout"))
    if train_file is None:
        raise BadData("the job has no training rows")

    home.phase("loading_model")
    start = _fetch_once(group, lambda: input_dir(home, "start", reply["inputs"]["start"])) if spec.start else None
    whole = is_full_fine_tuning(spec)
    if start is not None and whole != is_full_model(start):
        raise TrainingFailed(
            "bad_spec",
            "the model this run continues from was trained the other way: adapter and full model cannot be exchanged",
            "Leave adapter out, so that it is taken from that model, or start from the base model.",
        )
    scored = whole and start is not None and is_reward_model(start)
    if scored and spec.method.type != "reward":
        raise TrainingFailed(
            "bad_spec",
            "the model this run continues from is a reward model: its head, 'score', gives one number",
            "Choose the method reward, or start from the base model.",
        )
    model = load_model(
        start if whole and start is not None and not scored else base,
        "float32" if whole else spec.hyperparameters.precision,
        None if group.sharded else device,
        spec.method.quantization,
        spec.hyperparameters.attention,
    )
    use_liger(model, spec.hyperparameters)
    ends = end_token_ids(model, tokenizer)
    method = load_method(spec.method.type)
    if spec.method.type == "reward":
        model = method.scoring_model(model, tokenizer.pad_token_id, spec.hyperparameters.seed)
    if scored:
        checkpoint.load_weights(start, model)
    model = attach(spec, model, start)
    compile_layers(model, spec.hyperparameters)
    h, kind = spec.hyperparameters, spec.dataset.row_type
    tokens = _shared_tokens(
        group,
        home.scratch,
        kind,
        lambda: _cached_tokens(
            home,
            kind,
            token_cache.key_of(spec, ends),
            lambda: _tokenized(spec, tokenizer, train_file, ends),
        ),
    )
    for warning in tokens.warnings:
        home.log("warn", warning)
    if tokens.cut or tokens.dropped:
        why = "leaving no room for an answer" if kind == "prompt" else "having no token in the loss"
        home.log(
            "warn",
            f"{tokens.cut} rows are longer than {h.max_length} tokens and were truncated; "
            f"{tokens.dropped} dropped for {why}",
        )

    if tokens.split:
        home.log("info", _split_in_words(kind, tokens, h.max_length))

    if h.packing or h.padding_free:
        _require_isolated_rows(group, model, "packing" if h.packing else "padding_free")
    laid_out = _packed(home, tokens, h.max_length) if h.packing else tokens
    steps_per_epoch = max(1, math.ceil(len(laid_out) / h.batch_size))
    total_steps = max(1, math.ceil(h.n_epochs * steps_per_epoch))
    if h.max_steps is not None:
        total_steps = min(total_steps, h.max_steps)
    with blaming("bad_spec", f"the settings of {spec.method.type} are refused", CHANGE_SETTING):
        trainer = method.build(spec, model, tokenizer, laid_out, home.scratch, total_steps, group)
    trainable, parameters = parameter_counts(trainer.model)
    home.emit(
        "plan",
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        train_rows=len(set(tokens.row_ids)),
        sequences=len(tokens),
        train_tokens_per_epoch=tokens.total(),
        trainable_parameters=trainable,
        total_parameters=parameters,
        rows_cut=tokens.cut,
        rows_dropped=tokens.dropped,
        rows_split=tokens.split,
    )
    loop = Loop(home, spec, trainer, tokenizer, commands, holdout_file, ends, group, base, start)
    resume = resume_dir(home, reply, trainer, group)
    if resume is not None:
        loop.resume_from(resume)
    if loop.asked_to_stop():
        return loop.stopped()
    if not loop.over(total_steps):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    group.leave()
    return loop.finish(total_steps) if group.main else loop.stop or "succeeded"


def _fetch_once(group: Group, fetch: Callable[[], Path | None]) -> Any:
    """What rank 0 fetched, for all ranks: they share a disk."""
    return group.share(fetch() if group.main else None)


def _shared_tokens(group: Group, scratch: Path, kind: str, make: Callable[[], Tokens]) -> Tokens:
    """Rank 0 tokenizes; the others map its files, which saves work and memory."""
    if group.size == 1:
        return make()
    directory = scratch / "tokens"
    if group.main:
        tokens = make()
        tokens.save(directory)
    group.share()
    return tokens if group.main else rows.load(kind, directory)


def _tokenized(spec: TrainSpec, tokenizer: Any, file: Path, ends: set[int]) -> Tokens:
    """The rows of a file as tokens. Raises BadData or TrainingFailed for rows that cannot be read."""
    with blaming("bad_data", "a row cannot be read", "Correct the dataset and start again."):
        return tokens_of(spec, tokenizer, rows.read_rows(file, spec.dataset.row_type), ends)


def _cached_tokens(home: Home | SilentHome, kind: str, key: str, make: Callable[[], Tokens]) -> Tokens:
    """The rows as tokens, cached by an earlier run when there is one."""
    tokens, were_there = token_cache.get_or_create(key, kind, make)
    if were_there:
        home.log("info", f"{len(tokens)} rows were tokenized by an earlier run")
    return tokens


def _split_in_words(kind: str, tokens: Tokens, max_length: int) -> str:
    """What became of rows that are several sequences."""
    if kind == "text":
        return f"{tokens.split} texts are longer than {max_length} tokens and became several rows; nothing is lost"
    several = [row_id for row_id, count in Counter(tokens.row_ids).items() if count > 1]
    sequences = len(tokens) - len(set(tokens.row_ids)) + len(several)
    return (
        f"{len(several)} rows became {sequences} sequences, because the chat template renders earlier turns in another "
        "way than it asks for them"
    )


def _require_isolated_rows(group: Group, model: Any, option: str) -> None:
    """Raises TrainingFailed for a model whose layers would mix the rows of a sequence."""
    if not group.share(isolates_packed_rows(model) if group.main else None):
        raise TrainingFailed(
            "bad_spec",
            "the layers of this model do not isolate packed rows from each other",
            f"Leave {option} out.",
        )


def _packed(home: Home | SilentHome, tokens: Tokens, max_length: int) -> Tokens:
    """The rows as packs."""
    packs = pack(tokens, max_length)
    full = tokens.total() / (len(packs) * max_length)
    home.log("info", f"{len(tokens)} rows are in {len(packs)} packs of at most {max_length} tokens, {full:.0%} full")
    return packs


def resume_dir(home: Home | SilentHome, reply: dict[str, Any], trainer: Any, group: Group) -> Path | None:
    """The checkpoint to resume from, when the server offers one. It may have been saved by another
    number of processes.
    """
    if not group.share(reply.get("resume") is not None if group.main else None):
        return None
    directory = _fetch_once(group, lambda: input_dir(home, "resume", reply["resume"]))
    trainer.resumed = checkpoint.read_state(directory)
    home.log("info", f"resuming from the checkpoint of step {trainer.resumed['global_step']}")
    before = trainer.resumed["stateful_callbacks"][checkpoint.OURS].get("processes", 1)
    if before != group.size:
        home.log(
            "warn",
            f"the checkpoint was saved by {before} processes, now there are {group.size}: "
            "the rows of every step stay the same, but dropout draws other numbers and sums round differently",
        )
    return directory
