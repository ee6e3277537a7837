"""What a rank of the sharding test does: a small model in parts on two ranks against the same model whole. Prints
nothing, writes JSON.
"""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path


def shard_rank(rank: int, size: int, port: int, model_dir: str, out: str) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1",
    )  # fmt: skip
    try:
        found = _work(Path(model_dir), Path(out))
    except Exception:
        found = {"error": traceback.format_exc()}
    Path(out, f"{rank}.json").write_text(json.dumps(found))
    os._exit(0)


def _work(model_dir: Path, out: Path) -> dict:
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    from finetune_trainer.distributed.group import join
    from finetune_trainer.model import checkpoint
    from finetune_trainer.model.generate import greedy
    from finetune_trainer.model.load import load_model
    from finetune_trainer.model.score import score, score_when_called

    group = join("fsdp")
    ids = torch.randint(3, 200, (4, 24), generator=torch.Generator().manual_seed(1))
    labels = torch.where(torch.arange(24) > 8, ids, -100)

    def make(in_parts: bool):
        torch.manual_seed(5)
        lora = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
        model = get_peft_model(load_model(model_dir, "float32", None), lora)
        if in_parts:
            score_when_called(model)
            for layer in model.get_base_model().model.layers:
                fully_shard(layer)
            fully_shard(model)
        optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        return checkpoint.Parts(model, optimizer, schedule)

    def steps(parts: checkpoint.Parts, count: int, share: slice, scale: float) -> list[float]:
        losses = []
        for _ in range(count):
            result = score(parts.model, ids[share], labels[share])
            loss = result.nll * (scale / (4 * 15))
            loss.backward()
            parts.optimizer.step()
            parts.optimizer.zero_grad()
            losses.append(float(loss.detach()))
        return losses

    mine = slice(group.rank, None, group.size)
    split, alone = make(True), make(False)
    in_parts = all(isinstance(p, DTensor) for p in split.model.parameters())
    ours = [sum(group.reduce([loss])) / group.size for loss in steps(split, 3, mine, group.size)]
    theirs = steps(alone, 3, slice(None), 1)
    contents = checkpoint.collect(split)
    reference = checkpoint.collect(alone)
    gaps = [
        float((contents.weights[n] - reference.weights[n]).abs().max()) if n in contents.weights else 1e9
        for n in reference.weights
    ]
    state = {"stateful_callbacks": {checkpoint.OURS: {}}}
    base = {"id": "tiny", "revision": "r"}
    target = out / "step-3"
    if group.main:
        checkpoint.write_checkpoint(target, contents, state, base, [checkpoint.rng_state()])
    group.share()
    again = make(True)
    checkpoint.load_adapter(target, again.model)
    checkpoint.load_optimizer(target, again)
    back = checkpoint.collect(again)
    same = all(torch.equal(back.weights[n], contents.weights[n]) for n in contents.weights) and all(
        torch.equal(back.optimizer[n], contents.optimizer[n]) for n in contents.optimizer
    )
    went_on = steps(again, 2, mine, group.size) == steps(split, 2, mine, group.size)
    prompts = [[5, 6, 7], [8, 9, 10, 11]]
    options = {"max_new_tokens": 6, "batch_size": 2, "end_ids": {1}, "pad_id": 1}
    steps(alone, 2, slice(None), 1)
    answers = [sorted(greedy(model, prompts, **options)) for model in (split.model, alone.model)]
    slots = sorted(contents.optimizer) == sorted(reference.optimizer)
    return {
        "in_parts": in_parts, "ours": ours, "theirs": theirs, "gap": max(gaps), "slots": slots,
        "same": same, "went_on": went_on, "answers": answers,
    }  # fmt: skip
