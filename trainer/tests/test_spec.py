"""The models of the spec accept and refuse what the JSON Schema does, which is made from the server's own schema."""

from __future__ import annotations

import json
from pathlib import Path

import json_schema
import pytest
from jobs import METHODS, evaluate_reply, export_reply, serve_reply, train_reply
from pydantic import ValidationError

from finetune_trainer.protocol.failures import BadSpec
from finetune_trainer.spec import parse

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = json.loads((ROOT / "trainer/finetune_trainer/spec/schema.json").read_text("utf-8"))
GOLDEN = sorted((ROOT / "test/golden").glob("*.json"))
TUNED = {"model": "ft:tiny", "checkpoint_id": "c", "artifact_id": "a"}
FULL_NEED = {"formula_mb": 100, "max_price_per_hour": 1.5, "provider": "process"}


def complete(spec: dict) -> dict:
    """The spec with every field that may be left out."""
    spec["need"] |= FULL_NEED
    spec["trainer"]["image"] = "sha256:1"
    if spec["kind"] == "train":
        spec |= {"start": TUNED, "validation": spec["dataset"], "suffix": "s"}
        spec["parallel"] = {"processes": 1, "strategy": "single"}
        spec["dataset"]["row_type"] = METHODS[spec["method"]["type"]][0]
        spec["method"]["quantization"] = "nf4"
        if spec["method"]["adapter"]["type"] == "lora":
            spec["method"]["adapter"] |= {"rslora": True, "dora": False, "target_modules": ["q_proj"], "layers": 2}
        flags = ("packing", "padding_free", "keep_best", "liger_kernel", "torch_compile")
        spec["hyperparameters"] |= dict.fromkeys(flags, False) | {"neftune_alpha": 5, "early_stopping": 2}
        spec["hyperparameters"]["attention"] = "sdpa"
    if spec["kind"] == "serve":
        spec |= {"whole": spec["adapters"][0], "gpu_memory_fraction": 0.5}
    if spec["kind"] == "evaluate":
        spec["quantization"] = "int8"
    return spec


def examples(root: Path) -> dict[str, dict]:
    """Specs of every kind and of every method, as short as they may be and with every field."""
    makers = {f"train-{method}": lambda m=method: train_reply(root, method=m) for method in METHODS}
    makers["evaluate"] = lambda: evaluate_reply(root, root)
    makers["serve"] = lambda: serve_reply(root, {"ft:a": root})
    makers["export"] = lambda: export_reply(root, root, "gguf-f16")
    found = {name: make()["spec"] for name, make in makers.items()}
    found |= {f"{name}-complete": complete(make()["spec"]) for name, make in makers.items()}
    whole = train_reply(root)["spec"]
    whole["method"]["adapter"] = {"type": "full"}
    return {**found, "train-full": whole}


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> dict[str, dict]:
    return examples(tmp_path_factory.mktemp("model"))


def problem(spec: dict) -> str | None:
    """What the models say against a spec, without the rules over several fields."""
    try:
        parse.KINDS[spec["kind"]].model_validate(spec)
    except ValidationError as error:
        return parse.explain(error, spec)
    return None


def test_the_examples_fit(specs):
    for name, spec in specs.items():
        assert json_schema.valid(SCHEMAS[spec["kind"]], spec), name
        assert problem(spec) is None, name


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_frozen_numbers_of_the_server_fit(specs, path):
    frozen = json.loads(path.read_text("utf-8"))["frozen"]
    parts = {name: frozen[name] for name in ("method", "hyperparameters", "schedule", "parallel")}
    spec = {**specs["train-sft"], **parts}
    assert json_schema.valid(SCHEMAS["train"], spec)
    assert parse.parse_spec("train", spec).method.type == parts["method"]["type"]


def test_models_and_schema_agree_on_every_field_that_is_missing_unknown_or_wrong(specs):
    judged = refused = 0
    for name, spec in specs.items():
        schema = SCHEMAS[spec["kind"]]
        for place, changed in json_schema.mutations(schema, spec):
            if not isinstance(changed, dict) or changed.get("kind") != spec["kind"]:
                continue
            said, fits = problem(changed), json_schema.valid(schema, changed)
            assert (said is None) == fits, f"{name}: {place}: schema {fits}, models {said}"
            judged += 1
            if said is not None:
                refused += 1
                # A value of another type may lack several fields: the place is at least the start of the first one.
                assert said.startswith(f"spec.{place}") or said.startswith("spec.method: "), f"{name}: {place}: {said}"
    assert judged > 5000 and refused > 3000


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("hyperparameters", "seed"), 1.5, "spec.hyperparameters.seed: 1.5 should be a valid integer"),
        (("hyperparameters", "warm_up"), 5, "spec.hyperparameters.warm_up: this trainer does not know the field"),
        (("method", "adapter", "r"), 0, "spec.method.adapter.r: 0 should be greater than or equal to 1"),
        (("method", "type"), "ppo", "spec.method.type: 'ppo' should be one of 'sft', 'pretrain'"),
        (("method", "loss_on"), "all tokens", "spec.method.loss_on: 'all tokens' should be 'completion' or 'all'"),
        (("hyperparameters", "neftune_alpha"), None, "spec.hyperparameters.neftune_alpha: null is not a value here"),
        (("version",), True, "spec.version: True is not a whole number"),
        (("parallel",), {"processes": 2, "strategy": "single"}, "spec.parallel.strategy: 'single' does not go with 2"),
        (("hyperparameters", "batch_size"), 5, "spec.hyperparameters.batch_size: 5 is not 4"),
    ],
)
def test_a_message_names_the_field_and_the_value(tmp_path, path, value, message):
    spec = train_reply(tmp_path)["spec"]
    inner = spec
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(BadSpec) as failure:
        parse.parse_spec("train", spec)
    assert str(failure.value).startswith(message)


def test_a_message_names_three_problems_and_counts_the_rest():
    with pytest.raises(BadSpec, match=r"^spec\.version: missing; spec\.kind: missing; .*; and \d+ more$"):
        parse.parse_spec("train", {})


def test_anything_but_an_object_is_refused():
    with pytest.raises(BadSpec, match=r"^spec: \[\] should be a valid dictionary"):
        parse.parse_spec("train", [])


def test_a_spec_cannot_be_changed(tmp_path):
    spec = parse.parse_spec("train", train_reply(tmp_path)["spec"])
    with pytest.raises(ValidationError, match="frozen"):
        spec.hyperparameters.seed = 2
