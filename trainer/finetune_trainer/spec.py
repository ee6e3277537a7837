"""The job spec as typed Python: every field the trainer reads is checked on arrival, an unknown or missing one is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .typed import BadSpec, build

Json = dict[str, Any]
Precision = Literal["float32", "bfloat16"]


Quantization = Literal["none", "nf4", "int8"]
DpoLoss = Literal[
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "sppo_hard", "apo_zero", "apo_down", "discopop"
]


@dataclass(frozen=True)
class Lora:
    """LoRA settings; scale = alpha / r, with `rslora` alpha / sqrt(r). `layers` null means all, n the top n layers alone."""

    type: Literal["lora"]
    r: int
    alpha: float
    dropout: float
    target_modules: Literal["all-linear"] | list[str]
    layers: int | None
    rslora: bool = False
    dora: bool = False


@dataclass(frozen=True)
class Full:
    """Every weight of the model is trained, and the result is a whole model."""

    type: Literal["full"]


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning on chat rows."""

    type: Literal["sft"]
    adapter: Lora | Full
    loss_on: Literal["completion", "all"]
    quantization: Quantization = "none"


@dataclass(frozen=True)
class Pretrain:
    """Continued pre-training on text rows."""

    type: Literal["pretrain"]
    adapter: Lora | Full
    quantization: Quantization = "none"


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimisation on preference rows; names and meanings are TRL's."""

    type: Literal["dpo"]
    adapter: Lora | Full
    loss: DpoLoss
    beta: float
    label_smoothing: float
    quantization: Quantization = "none"


@dataclass(frozen=True)
class Orpo:
    """Odds-ratio preference optimisation on preference rows; `beta` weighs the odds-ratio term."""

    type: Literal["orpo"]
    adapter: Lora | Full
    beta: float
    quantization: Quantization = "none"


@dataclass(frozen=True)
class Kto:
    """Kahneman-Tversky optimisation on unpaired rows."""

    type: Literal["kto"]
    adapter: Lora | Full
    beta: float
    desirable_weight: float
    undesirable_weight: float
    quantization: Quantization = "none"


@dataclass(frozen=True)
class Reward:
    """A reward model from preference rows."""

    type: Literal["reward"]
    adapter: Lora | Full
    center: float
    quantization: Quantization = "none"


@dataclass(frozen=True)
class Grpo:
    """Group-relative policy optimisation on prompt rows: the model's own answers, graded by the server. Names are TRL's."""

    type: Literal["grpo"]
    adapter: Lora | Full
    loss_type: Literal["grpo", "dr_grpo", "bnpo", "dapo"]
    beta: float
    num_generations: int
    max_completion_length: int
    temperature: float
    grader: Json
    quantization: Quantization = "none"


Method = Sft | Pretrain | Dpo | Orpo | Kto | Reward | Grpo
"""How the weights change."""


@dataclass(frozen=True)
class Start:
    """The tuned model or checkpoint a run goes on from; its adapter, or all of its weights, is the input `start`."""

    model: str
    checkpoint_id: str
    artifact_id: str


@dataclass(frozen=True)
class Hyperparameters:
    """Every number training uses; all resolved."""

    n_epochs: float
    max_steps: int | None
    batch_size: int
    per_device_batch_size: int
    gradient_accumulation: int
    learning_rate: float
    scheduler: Literal["linear", "cosine", "constant", "cosine_with_restarts", "polynomial", "inverse_sqrt"]
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    max_length: int
    seed: int
    precision: Precision
    gradient_checkpointing: bool
    neftune_alpha: float | None = None
    packing: bool = False
    padding_free: bool = False
    early_stopping: int | None = None
    keep_best: bool = False
    attention: Literal["sdpa", "flash_attention_2"] = "sdpa"
    liger_kernel: bool = False
    torch_compile: bool = False


@dataclass(frozen=True)
class Schedule:
    """When to report, evaluate and save, in optimizer steps."""

    total_steps: int
    log_every: int
    eval_every: int
    save_every: int
    keep_checkpoints: int
    sample_rows: int
    eval_rows: int
    sample_max_tokens: int


@dataclass(frozen=True)
class Parallel:
    """How many processes train together, and what they share: gradients (ddp), or weights and optimizer in parts too."""

    processes: int
    strategy: Literal["single", "ddp", "fsdp", "zero2", "zero3"]


@dataclass(frozen=True)
class TrainSpec:
    """A training job. Plain dictionaries are parts that others read."""

    version: Literal[1]
    kind: Literal["train"]
    base_model: Json
    dataset: Json
    validation: Json | None
    method: Method
    hyperparameters: Hyperparameters
    schedule: Schedule
    suffix: str | None
    output_model: str
    evaluate_after: bool
    trainer: Json
    need: Json
    limits: Json
    parallel: Parallel = field(default_factory=lambda: Parallel(1, "single"))  # specs of before have none
    start: Start | None = None


@dataclass(frozen=True)
class EvaluateSpec:
    """Base and tuned model answer the rows of a split."""

    version: Literal[1]
    kind: Literal["evaluate"]
    base_model: Json
    tuned: Json | None
    dataset: Json
    split: Literal["holdout", "train", "validation"]
    max_rows: int
    max_new_tokens: int
    batch_size: int
    precision: Precision
    seed: int
    trainer: Json
    need: Json
    limits: Json
    quantization: Quantization = "none"


@dataclass(frozen=True)
class ExportSpec:
    """A tuned model as files of a format. `dataset`: whose hold-out rows it is compared by; None asks general questions."""

    version: Literal[1]
    kind: Literal["export"]
    base_model: Json
    tuned: Json
    format: Literal["safetensors", "gguf-f16", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m"]
    dataset: Json | None
    prompts: int
    limits_of_fidelity: Json
    precision: Precision
    trainer: Json
    need: Json
    limits: Json


@dataclass(frozen=True)
class AdapterRef:
    """An adapter or whole model to serve: `name` as requests call it, `input` its entry among the job's inputs."""

    name: str
    artifact_id: str
    input: str


@dataclass(frozen=True)
class ServeSpec:
    """An endpoint: one base model and the adapters on it, or one model that was trained whole."""

    version: Literal[1]
    kind: Literal["serve"]
    base_model: Json
    adapters: list[AdapterRef]
    max_new_tokens: int
    precision: Precision
    trainer: Json
    need: Json
    limits: Json
    gpu_memory_fraction: float = 0.9  # of each GPU; specs for processors have none
    whole: AdapterRef | None = None  # served in place of base and adapters


def served_name(spec: ServeSpec) -> str:
    """What requests call the model that is loaded."""
    return spec.whole.name if spec.whole else str(spec.base_model["id"])


KINDS: dict[str, type] = {"train": TrainSpec, "evaluate": EvaluateSpec, "serve": ServeSpec, "export": ExportSpec}


def parse_spec(kind: str, value: Any) -> TrainSpec | EvaluateSpec | ServeSpec | ExportSpec:
    """Checks a spec of the given kind and returns it typed. Raises BadSpec."""
    if kind not in KINDS:
        raise BadSpec(f"this trainer cannot do jobs of kind {kind!r}; it can do {', '.join(KINDS)}")
    spec = build(KINDS[kind], value, "spec")
    if isinstance(spec, TrainSpec):
        _check_train(spec)
    if isinstance(spec, ServeSpec) and not 0 < spec.gpu_memory_fraction <= 0.95:
        raise BadSpec("spec.gpu_memory_fraction: the value is out of range")
    return spec


def _check_train(spec: TrainSpec) -> None:
    h, s, p = spec.hyperparameters, spec.schedule, spec.parallel
    rules = [
        ("hyperparameters.n_epochs", h.n_epochs > 0),
        ("hyperparameters.max_steps", h.max_steps is None or h.max_steps >= 1),
        ("hyperparameters.per_device_batch_size", h.per_device_batch_size >= 1),
        ("hyperparameters.gradient_accumulation", h.gradient_accumulation >= 1),
        ("parallel.processes", 1 <= p.processes <= 64),
        ("parallel.strategy", (p.strategy == "single") == (p.processes == 1)),
        (
            "hyperparameters.batch_size",
            h.batch_size == h.per_device_batch_size * h.gradient_accumulation * p.processes,
        ),
        ("hyperparameters.learning_rate", 0 < h.learning_rate <= 10),
        ("hyperparameters.warmup_ratio", 0 <= h.warmup_ratio < 1),
        ("hyperparameters.weight_decay", h.weight_decay >= 0),
        ("hyperparameters.max_grad_norm", h.max_grad_norm >= 0),
        ("hyperparameters.max_length", h.max_length >= 8),
        ("hyperparameters.seed", 0 <= h.seed < 2**32),
        ("schedule.total_steps", s.total_steps >= 1),
        ("schedule.log_every", s.log_every >= 1),
        ("schedule.eval_every", s.eval_every >= 0),
        ("schedule.save_every", s.save_every >= 0),
        ("schedule.keep_checkpoints", s.keep_checkpoints >= 1),
        *_lora_rules(spec.method.adapter),
        ("hyperparameters.neftune_alpha", h.neftune_alpha is None or 0 < h.neftune_alpha <= 100),
        ("hyperparameters.early_stopping", h.early_stopping is None or h.early_stopping >= 1),
        *_method_rules(spec.method),
        (
            "hyperparameters.max_length",
            not isinstance(spec.method, Grpo) or h.max_length > spec.method.max_completion_length,
        ),
    ]
    for name, good in rules:
        if not good:
            raise BadSpec(f"spec.{name}: the value is out of range")


def _lora_rules(adapter: Lora | Full) -> list[tuple[str, bool]]:
    if isinstance(adapter, Full):
        return []
    return [
        ("method.adapter.r", 1 <= adapter.r <= 1024),
        ("method.adapter.dropout", 0 <= adapter.dropout < 1),
        ("method.adapter.layers", adapter.layers is None or adapter.layers >= 1),
    ]


def _method_rules(method: Method) -> list[tuple[str, bool]]:
    rules = []
    if not isinstance(method, (Sft, Pretrain, Reward)):
        rules.append(("method.beta", 0 < method.beta <= 100))
    if isinstance(method, Dpo):
        rules.append(("method.label_smoothing", 0 <= method.label_smoothing < 0.5))
    if isinstance(method, Kto):
        rules.append(("method.desirable_weight", 0 < method.desirable_weight <= 100))
        rules.append(("method.undesirable_weight", 0 < method.undesirable_weight <= 100))
    if isinstance(method, Grpo):
        rules += [
            ("method.num_generations", 2 <= method.num_generations <= 64),
            ("method.max_completion_length", method.max_completion_length >= 1),
            ("method.temperature", 0 < method.temperature <= 2),
        ]
    if isinstance(method, Reward):
        rules.append(("method.center", 0 <= method.center <= 10))
    return rules
