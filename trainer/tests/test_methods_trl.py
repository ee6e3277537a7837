"""The configuration of TRL: every method's configuration from a spec, and our DPO beside a plain TRL script
on the same rows.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from pathlib import Path

import pytest
from conftest import losses
from jobs import METHODS, full_reply, rows_of, train_reply

from finetune_trainer.spec.parse import parse_spec

GOLDEN = Path(__file__).parent / "golden"
DPO_LOSSES = [
    "sigmoid",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
]


@pytest.mark.parametrize("method", METHODS)
def test_the_configuration_of_trl_is_that_of_the_golden_file(tiny, tmp_path, method):
    golden = json.loads((GOLDEN / f"{method}.json").read_text("utf-8"))
    reply = train_reply(tiny, method=method, settings=golden["method"])
    reply["spec"]["hyperparameters"] |= golden["hyperparameters"]
    spec = parse_spec("train", reply["spec"])
    module = importlib.import_module(f"finetune_trainer.training.methods.{'sft' if method == 'pretrain' else method}")
    name = "sft" if method == "pretrain" else method
    config = getattr(module, f"{name}_config")(spec, tmp_path, golden["total_steps"])
    found = config.to_dict()
    assert {key: found[key] for key in golden["config"]} == golden["config"]


def plain_trl(
    model_dir: Path, rows: list[dict], loss: str, smoothing: float, steps: int, monkeypatch, *, whole: bool = False
) -> list[float]:
    """Losses by step of TRL as its documentation shows it: conversations in, its own tokenization, batches and
    reference.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import DPOConfig, DPOTrainer
    from trl.trainer import utils

    try:  # as it is without us
        from trl.kernels.chunked_logprob import _use_triton

        monkeypatch.setattr(utils, "_use_triton", _use_triton)
    except ImportError:
        pass
    data = [{"prompt": r["messages"], "chosen": r["chosen"], "rejected": r["rejected"]} for r in rows]
    args = DPOConfig(
        output_dir=str(model_dir / "plain"),
        max_steps=steps,
        per_device_train_batch_size=len(rows),
        learning_rate=2e-3 if whole else 1e-2,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        seed=1,
        loss_type=[loss],
        beta=0.1,
        label_smoothing=smoothing,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
    )
    names = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    set_seed(1)  # older TRL does not before it makes the adapter
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32),
        args=args,
        train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(model_dir),
        peft_config=None if whole else LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=names),
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture(scope="module")
def plain_model(tiny, tmp_path_factory) -> Path:
    """The tiny model with a template that prints nothing behind the end of a turn: TRL would train
    on that, we do not.
    """
    directory = shutil.copytree(tiny, tmp_path_factory.mktemp("plain") / "model")
    template = directory / "chat_template.jinja"
    text = template.read_text("utf-8")
    assert "<|im_end|>\\n" in text
    template.write_text(text.replace("<|im_end|>\\n", "<|im_end|>"), "utf-8")
    return directory


@pytest.mark.parametrize("loss", DPO_LOSSES)
def test_dpo_has_the_losses_of_a_plain_trl_run(here, plain_model, loss, monkeypatch):
    rows, steps = rows_of("preference", 8), 3
    smoothing = {"robust": 0.1, "exo_pair": 0.001}.get(loss, 0.0)
    settings = {"loss": loss, "beta": 0.1, "label_smoothing": smoothing}
    run = here(train_reply(plain_model, method="dpo", settings=settings, total=steps, batch=8, rate=1e-2), rows=rows)
    assert run.run() == 0
    with monkeypatch.context() as undone_before_the_next:
        plain = plain_trl(plain_model, rows, loss, smoothing, steps, undone_before_the_next)
    ours = list(losses(run.server).values())
    assert len(ours) == len(plain) == steps
    assert ours == pytest.approx(plain, rel=1e-4, abs=1e-5)
    assert ours[0] != pytest.approx(ours[-1], rel=1e-3)  # the weights have moved


def test_full_dpo_has_the_losses_of_a_plain_trl_run(here, plain_model, monkeypatch):
    rows, steps = rows_of("preference", 8), 3
    settings = {"loss": "sigmoid", "beta": 0.1, "label_smoothing": 0.0}
    run = here(full_reply(plain_model, method="dpo", settings=settings, total=steps, batch=8), rows=rows)
    assert run.run() == 0
    with monkeypatch.context() as undone:
        plain = plain_trl(plain_model, rows, "sigmoid", 0.0, steps, undone, whole=True)
    ours = list(losses(run.server).values())
    assert ours == pytest.approx(plain, rel=1e-4, abs=1e-5)
    assert ours[0] == pytest.approx(math.log(2), rel=1e-4) and ours[-1] < 0.9 * ours[0]


def test_full_fine_tuning_has_the_losses_of_a_plain_trl_run(here, plain_model):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows, steps = rows_of("chat", 8), 4
    job = here(full_reply(plain_model, total=steps, batch=8), rows=rows)
    assert job.run() == 0
    data = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    args = SFTConfig(
        output_dir=str(plain_model / "plain"),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=2e-3,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        seed=1,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
    )
    model = AutoModelForCausalLM.from_pretrained(plain_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(plain_model)
    plain = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(data), processing_class=tokenizer)
    plain.train()
    theirs = [entry["loss"] for entry in plain.state.log_history if "loss" in entry]
    ours = list(losses(job.server).values())
    assert len(ours) == steps and ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    assert ours[-1] < 0.9 * ours[0]
