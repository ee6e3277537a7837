"""The job spec as pydantic models. `schema.json`, generated from `src/contract/spec-schema.ts`, describes the same
specs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _refuse_null(value: Any) -> Any:
    """An optional field is left out, it is never null."""
    if value is None:
        raise ValueError("null is not a value here; leave the field out")
    return value


def _refuse_other_types(value: Any) -> Any:
    """Python takes True and 1.0 for 1; a version is the whole number."""
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


class SpecModel(BaseModel):
    """What all models of the spec share: no unknown field, no conversion between types, no NaN, no change once built.

    Models are built when they are first used, so that a job pays for its own kind alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


Absent = BeforeValidator(_refuse_null)
"""Marks a field that may be left out but not be null; its default is None."""
Version = Annotated[Literal[1], BeforeValidator(_refuse_other_types)]
Precision = Literal["float32", "bfloat16"]
Quantization = Literal["none", "nf4", "int8"]
RowType = Literal["chat", "preference", "unpaired", "text", "prompt"]
DpoLoss = Literal[
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "sppo_hard", "apo_zero", "apo_down", "discopop"
]
GrpoLoss = Literal["grpo", "dr_grpo", "bnpo", "dapo"]
Scheduler = Literal["linear", "cosine", "constant", "cosine_with_restarts", "polynomial", "inverse_sqrt"]
Optimizer = Literal["adamw", "adamw_8bit", "adafactor", "lion", "sgd"]
Format = Literal["safetensors", "gguf-f16", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m"]
SpecialTokens = Literal["escape", "strip", "keep"]
TemplateErrors = Literal["fail", "leave_out"]
ReasoningOption = Literal["train", "mask"]
ChatTemplate = Literal["default", "tools"]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(gt=0, le=100)]
"""The strength of a term of a loss."""


class HubRef(SpecModel):
    """A repository on the hub; `revision` is null when the files are not known to be those of a commit."""

    repo: str
    revision: str | None


class BaseModelRef(SpecModel):
    """The base model as it was when the job was created. `hash` is the sha256 of its manifest; models without a
    repository have no `hub`.
    """

    id: str
    revision: str
    hash: str
    parameters: float
    context_length: float
    hub: Annotated[HubRef | None, Absent] = None


class DatasetRef(SpecModel):
    """The data as it was when the job was created. `hash` is the version's content hash."""

    dataset_id: str
    version_id: str
    file_id: str | None
    hash: str
    train_rows: float
    holdout_rows: float
    row_type: RowType = "chat"


class TrainerRef(SpecModel):
    """What runs the job: hash of the trainer's sources, name of its set of packages, id of the image for containers."""

    version: str
    environment: str
    image: Annotated[str | None, Absent] = None


class Need(SpecModel):
    """What a provider must offer. Memory in MiB, price in USD per hour."""

    gpus: float
    gpu_memory_mb: float
    cpus: float
    memory_mb: float
    disk_mb: float
    max_price_per_hour: float | None
    provider: str | None
    formula_mb: Annotated[float | None, Absent] = None


class Limits(SpecModel):
    """Timeouts in seconds: waiting in the queue, no progress, the whole attempt; and how often a job is tried."""

    queued_s: float
    no_progress_s: float
    total_s: float
    max_attempts: float


class Lora(SpecModel):
    """LoRA settings; scale = alpha / r, with `rslora` alpha / sqrt(r). `layers` null means all, n the top n layers
    only.
    """

    type: Literal["lora"]
    r: Annotated[int, Field(ge=1, le=1024)]
    alpha: float
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: Literal["all-linear"] | list[str]
    layers: Positive | None
    rslora: bool = False
    dora: bool = False


class Full(SpecModel):
    """Full fine-tuning: every weight is trained, and the result is a full model."""

    type: Literal["full"]


Adapter = Annotated[Lora | Full, Field(discriminator="type")]


class AnyMethod(SpecModel):
    """What every method has."""

    adapter: Adapter
    quantization: Quantization = "none"


class Sft(AnyMethod):
    """Supervised fine-tuning on chat rows."""

    type: Literal["sft"]
    loss_on: Literal["completion", "all"]


class Pretrain(AnyMethod):
    """Continued pre-training on text rows."""

    type: Literal["pretrain"]


class Dpo(AnyMethod):
    """Direct preference optimization on preference rows; names and meanings are TRL's."""

    type: Literal["dpo"]
    loss: DpoLoss
    beta: Weight
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)]


class Orpo(AnyMethod):
    """Odds-ratio preference optimization on preference rows; `beta` weighs the odds-ratio term."""

    type: Literal["orpo"]
    beta: Weight


class Kto(AnyMethod):
    """Kahneman-Tversky optimization on unpaired rows."""

    type: Literal["kto"]
    beta: Weight
    desirable_weight: Weight
    undesirable_weight: Weight


class Reward(AnyMethod):
    """A reward model from preference rows."""

    type: Literal["reward"]
    center: Annotated[float, Field(ge=0, le=10)]


class Grader(BaseModel):
    """What grades completions. The server runs it and knows its other fields."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, defer_build=True)

    type: str
    name: str


class Grpo(AnyMethod):
    """Group-relative policy optimization on prompt rows: the model's own completions, graded by the server. Names are
    TRL's.
    """

    type: Literal["grpo"]
    loss_type: GrpoLoss
    beta: Weight
    num_generations: Annotated[int, Field(ge=2, le=64)]
    max_completion_length: Positive
    temperature: Annotated[float, Field(gt=0, le=2)]
    grader: Grader


Method = Sft | Pretrain | Dpo | Orpo | Kto | Reward | Grpo
"""How the weights change."""


class TunedRef(SpecModel):
    """A fine-tuned model by the checkpoint and the artifact that hold its adapter or weights."""

    model: str
    checkpoint_id: str
    artifact_id: str


class DataSettings(SpecModel):
    """How rows are read: by which chat template, special tokens within texts, rows that the template refuses, and
    whether reasoning is in the loss.
    """

    chat_template: Annotated[ChatTemplate | None, Absent] = None
    special_tokens: Annotated[SpecialTokens | None, Absent] = None
    on_template_error: Annotated[TemplateErrors | None, Absent] = None
    reasoning: Annotated[ReasoningOption | None, Absent] = None


class Hyperparameters(SpecModel):
    """Every number training uses; all resolved."""

    n_epochs: Annotated[float, Field(gt=0)]
    max_steps: Positive | None
    batch_size: int
    per_device_batch_size: Positive
    gradient_accumulation: Positive
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    optimizer: Optimizer = "adamw"
    scheduler: Scheduler
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(ge=0)]
    max_length: Annotated[int, Field(ge=8)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    precision: Precision
    gradient_checkpointing: bool
    neftune_alpha: Annotated[Weight | None, Absent] = None
    packing: bool = False
    padding_free: bool = False
    early_stopping: Annotated[Positive | None, Absent] = None
    keep_best: bool = False
    attention: Literal["sdpa", "flash_attention_2"] = "sdpa"
    liger_kernel: bool = False
    torch_compile: bool = False


class Schedule(SpecModel):
    """When to report, evaluate and save, in optimizer steps."""

    total_steps: Positive
    log_every: Positive
    eval_every: Count
    save_every: Count
    keep_checkpoints: Positive
    sample_rows: int
    eval_rows: int
    sample_max_tokens: int


class Parallel(SpecModel):
    """How many processes train together, and what they share: gradients (ddp), or weights and optimizer shards too."""

    processes: Annotated[int, Field(ge=1, le=64)]
    strategy: Literal["single", "ddp", "fsdp", "zero2", "zero3"]


class TrainSpec(SpecModel):
    """A training job. The adapter, or all weights, of `start` are the input `start`."""

    version: Version
    kind: Literal["train"]
    base_model: BaseModelRef
    dataset: DatasetRef
    validation: DatasetRef | None
    method: Annotated[Method, Field(discriminator="type")]
    start: Annotated[TunedRef | None, Absent] = None
    data: Annotated[DataSettings | None, Absent] = None
    hyperparameters: Hyperparameters
    schedule: Schedule
    parallel: Parallel = Field(default_factory=lambda: Parallel(processes=1, strategy="single"))
    suffix: str | None
    output_model: str
    evaluate_after: bool
    trainer: TrainerRef
    need: Need
    limits: Limits


class EvaluateSpec(SpecModel):
    """Base and fine-tuned model answer the rows of a split."""

    version: Version
    kind: Literal["evaluate"]
    base_model: BaseModelRef
    tuned: TunedRef | None
    against: Annotated[TunedRef | None, Absent] = None
    dataset: DatasetRef
    split: Literal["holdout", "train", "validation"]
    max_rows: int
    max_new_tokens: int
    batch_size: int
    precision: Precision
    quantization: Quantization = "none"
    seed: int
    trainer: TrainerRef
    need: Need
    limits: Limits


class FidelityLimits(SpecModel):
    """Beyond these an export is not published: nats a token, and a share of positions."""

    kl_mean: float
    top1_same: float


class About(SpecModel):
    """What is stored with the files of an export: the base model's license, and the model card as Markdown."""

    license: str
    card: str


class ExportSpec(SpecModel):
    """A fine-tuned model as files of a format. `dataset`: whose validation rows it is compared by; null asks general
    questions.
    """

    version: Version
    kind: Literal["export"]
    base_model: BaseModelRef
    tuned: TunedRef
    format: Format
    dataset: DatasetRef | None
    prompts: int
    limits_of_fidelity: FidelityLimits
    about: Annotated[About | None, Absent] = None
    precision: Precision
    trainer: TrainerRef
    need: Need
    limits: Limits


class AdapterRef(SpecModel):
    """An adapter or full model to serve: `name` as requests call it, `input` its entry among the job's inputs."""

    name: str
    artifact_id: str
    input: str


class ServeSpec(SpecModel):
    """An endpoint: one base model and the adapters on it, or one fully fine-tuned model.

    `gpu_memory_fraction` is of each GPU; specs for CPUs have none. `max_new_tokens` limits every answer. `max_waiting`
    is the number of answers that may wait in the queue; more get 429. `idle_after_s` is the time without the server
    after which the endpoint ends itself; absent for one that never sleeps.
    """

    version: Version
    kind: Literal["serve"]
    base_model: BaseModelRef
    adapters: list[AdapterRef]
    whole: Annotated[AdapterRef | None, Absent] = None
    max_new_tokens: int
    max_waiting: Annotated[int, Field(ge=1)] = 512
    idle_after_s: Annotated[int | None, Absent] = None
    precision: Precision
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=0.95)] = 0.9
    trainer: TrainerRef
    need: Need
    limits: Limits


def served_name(spec: ServeSpec) -> str:
    """The name by which requests call the model that is loaded."""
    return spec.whole.name if spec.whole else spec.base_model.id
