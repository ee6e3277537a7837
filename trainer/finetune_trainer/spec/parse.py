"""A job spec from JSON, or BadSpec that names the field and says what is wrong with it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ..protocol.failures import BadSpec
from .models import EvaluateSpec, ExportSpec, Grpo, ServeSpec, SpecModel, TrainSpec

KINDS: dict[str, type[SpecModel]] = {
    "train": TrainSpec,
    "evaluate": EvaluateSpec,
    "serve": ServeSpec,
    "export": ExportSpec,
}
MAX_NAMED = 3
"""Problems that one message names."""


def parse_spec(kind: str, value: Any) -> TrainSpec | EvaluateSpec | ServeSpec | ExportSpec:
    """Checks a spec of the given kind and returns it typed. Raises BadSpec."""
    if kind not in KINDS:
        raise BadSpec(f"this trainer cannot do jobs of kind {kind!r}; it can do {', '.join(KINDS)}")
    try:
        spec = KINDS[kind].model_validate(value)
    except ValidationError as error:
        raise BadSpec(explain(error, value)) from None
    if isinstance(spec, TrainSpec):
        _check_together(spec)
    return spec


def explain(error: ValidationError, value: Any) -> str:
    """The problems of a spec, each with the field it is in. Fields of a spec hold no secrets, so their values are
    shown.
    """
    found = [(place(one["loc"], value, one["type"]), _problem(one)) for one in error.errors(include_url=False)]
    # Each variant of a union has its say: of a list with a wrong item, "should be 'all-linear'" is no help.
    outer = {path for path, _ in found if any(other.startswith((f"{path}.", f"{path}[")) for other, _ in found)}
    problems = list(dict.fromkeys(f"{path}: {problem}" for path, problem in found if path not in outer))
    more = len(problems) - MAX_NAMED
    return "; ".join(problems[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _problem(one: Any) -> str:
    kind = one["type"]
    if kind == "extra_forbidden":
        return "this trainer does not know the field; is it older than the server?"
    if kind in ("missing", "union_tag_not_found"):
        return "missing"
    if kind == "value_error":
        return str(one["ctx"]["error"])
    shown, wanted = repr(one["input"]), one["msg"].removeprefix("Input ")
    if kind == "union_tag_invalid":
        shown, wanted = repr(one["ctx"]["tag"]), f"should be one of {one['ctx']['expected_tags']}"
    return f"{shown if len(shown) <= 100 else shown[:99] + '…'} {wanted}"


def place(loc: tuple[str | int, ...], value: Any, kind: str) -> str:
    """Where a problem is, such as `spec.method.adapter.r`. Pydantic also names the variant of a
    union; it is left out.
    """
    path, here = "spec", value
    for index, step in enumerate(loc):
        if isinstance(here, dict) and step in here:
            path, here = f"{path}.{step}", here[step]
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            path, here = f"{path}[{step}]", here[step]
        elif kind == "missing" and index == len(loc) - 1:
            path = f"{path}.{step}"
    return f"{path}.type" if kind in ("union_tag_invalid", "union_tag_not_found") else path


def _check_together(spec: TrainSpec) -> None:
    """Rules over several fields, which a schema cannot hold."""
    h, p = spec.hyperparameters, spec.parallel
    if (p.strategy == "single") != (p.processes == 1):
        raise BadSpec(f"spec.parallel.strategy: {p.strategy!r} does not go with {p.processes} processes")
    rows = h.per_device_batch_size * h.gradient_accumulation * p.processes
    if h.batch_size != rows:
        raise BadSpec(
            f"spec.hyperparameters.batch_size: {h.batch_size} is not {rows}, "
            "which is per_device_batch_size x gradient_accumulation x processes"
        )
    if isinstance(spec.method, Grpo) and h.max_length <= spec.method.max_completion_length:
        raise BadSpec(
            f"spec.hyperparameters.max_length: {h.max_length} leaves no token for a prompt, "
            f"since max_completion_length is {spec.method.max_completion_length}"
        )
