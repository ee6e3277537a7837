"""vLLM's process: how it is started (golden files), which engine is chosen, and that it starts, fails and ends as it
should.

A stand-in package answers for vLLM here; answers themselves are tested by `FTL_ENGINE=vllm pytest tests/test_serve.py`
where vLLM is.
`UPDATE_GOLDEN=1 pytest tests/test_serve_vllm.py` rewrites the golden files.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from conftest import PACKAGE, Attempt
from jobs import need, serve_reply

from finetune_trainer.data.tool_calls.families import FAMILIES
from finetune_trainer.protocol.connection import UnixConnection
from finetune_trainer.protocol.failures import BadSpec, ModelLoad
from finetune_trainer.serving import serve
from finetune_trainer.serving.vllm_command import command, environment
from finetune_trainer.spec.parse import parse_spec

GOLDEN = Path(__file__).parent / "golden"
STAND_IN = Path(__file__).parent / "stand_in"
SOCKET = Path("/scratch/serve.sock")

# Adapters with their configuration, changes of the spec, and the base's chat template.
CASES = {
    "vllm-base-alone": ({}, {}, ""),
    "vllm-one-adapter": ({"ft:base:lab:mail:1": {"r": 16}}, {"precision": "bfloat16", "need": need(gpus=1)}, ""),
    "vllm-checkpoints-of-mixed-ranks": (
        {"ft:x": {"r": 8}, "ft:x:ckpt-step-20": {"r": 8, "rank_pattern": {"q_proj": 48}}, 'ft:"q", =': {"r": 4}},
        {"precision": "bfloat16", "max_new_tokens": 64},
        "",
    ),
    "vllm-four-gpus-and-tools": (
        {},
        {"precision": "bfloat16", "need": need(gpus=4), "gpu_memory_fraction": 0.45},
        "{{ '<tool_call>' }}",
    ),
}


def spec_of(adapters: dict, changes: dict):
    raw = serve_reply(PACKAGE, {}, tokens=4096)["spec"] | changes
    raw["base_model"] = {**raw["base_model"], "id": "smollm2-135m-instruct"}
    raw["adapters"] = [
        {"name": name, "artifact_id": f"a{n}", "input": f"adapter-{n}"} for n, name in enumerate(adapters)
    ]
    return parse_spec("serve", raw)


def adapter_dirs(root: Path, adapters: dict) -> dict[str, Path]:
    found = {}
    for number, (name, config) in enumerate(adapters.items()):
        found[name] = root / f"a{number}"
        found[name].mkdir(parents=True)
        (found[name] / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    return found


@pytest.mark.parametrize("name", CASES)
def test_arguments_and_environment_are_as_documented(name, tmp_path):
    adapters, changes, template = CASES[name]
    base = tmp_path / "base"
    base.mkdir()
    (base / "chat_template.jinja").write_text(template)
    argv = command(spec_of(adapters, changes), base, adapter_dirs(tmp_path, adapters), SOCKET)
    assert argv[0] == sys.executable
    found = {
        "argv": ["python", *[one.replace(str(tmp_path), "/data") for one in argv[1:]]],
        "environment": environment(Path("/scratch"), Path("/tmp/ftl-x")),
    }
    text = json.dumps(found, indent=2) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.parser)
def test_vllm_reads_calls_with_the_parser_of_the_same_table(family, tmp_path):
    templates = {
        **{"hermes": "<tool_call>", "qwen3_coder": "<tool_call><function=f>", "mistral": "[TOOL_CALLS] ["},
        **{"phi4_mini_json": "functools[", "llama3_json": "<|start_header_id|><|python_tag|>"},
        **{"phi4_mini_tags": "<|tool_call|><|/tool_call|>", "granite": "<|tool_call|>", "pythonic": "[func_name1("},
        **{"functiongemma": "<start_function_call>", "gemma4": "<|tool_call>", "tool_code": "```tool_code"},
    }
    (tmp_path / "chat_template.jinja").write_text(templates[family.parser])
    argv = command(spec_of({}, {}), tmp_path, {}, SOCKET)
    if family.parser in ("phi4_mini_tags", "tool_code"):  # vLLM refuses tools then
        assert "--tool-call-parser" not in argv
    else:
        assert argv[-3:] == ["--enable-auto-tool-choice", "--tool-call-parser", family.parser]


def test_vllm_gets_the_parser_of_a_base_that_was_saved_with_its_tokenizer(tool_base, tiny):
    assert command(spec_of({}, {}), tool_base, {}, SOCKET)[-1] == "hermes"
    assert "--tool-call-parser" not in command(spec_of({}, {}), tiny, {}, SOCKET)


@pytest.mark.parametrize("config", [{"r": 1024}, {"r": 8, "rank_pattern": {"x": 513}}, {"r": 0}, {"r": "8"}, {}])
def test_ranks_without_kernels_are_refused(config, tmp_path):
    with pytest.raises(ModelLoad, match="adapter odd"):
        command(spec_of({"odd": config}, {}), tmp_path, adapter_dirs(tmp_path, {"odd": config}), SOCKET)


@pytest.mark.parametrize(
    ("named", "installed", "gpus", "chosen"),
    [
        (None, True, 1, "vllm"),
        (None, True, 0, "transformers"),
        (None, False, 1, "transformers"),
        ("transformers", True, 1, "transformers"),
        ("vllm", False, 0, "vllm"),
        ("", True, 2, "vllm"),
    ],
)
def test_the_engine_is_chosen_by_what_is_there(monkeypatch, named, installed, gpus, chosen):
    monkeypatch.delenv("FTL_ENGINE", raising=False)
    if named is not None:
        monkeypatch.setenv("FTL_ENGINE", named)
    if installed:
        monkeypatch.syspath_prepend(STAND_IN)
    monkeypatch.setattr(serve, "gpu_count", lambda: gpus)
    assert serve.choose_engine() == chosen


def test_an_unknown_engine_is_refused(monkeypatch):
    monkeypatch.setenv("FTL_ENGINE", "tgi")
    with pytest.raises(BadSpec, match="FTL_ENGINE='tgi'"):
        serve.choose_engine()


@pytest.fixture
def served(tmp_path):
    """Starts attempts whose vLLM is the stand-in; whatever is left of them afterwards is an error of the test."""
    made: list[Attempt] = []

    def make(mode: str = "", **env: str) -> Attempt:
        model = tmp_path / "model"
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text("{}")
        env = {
            "PYTHONPATH": f"{PACKAGE}:{STAND_IN}",
            "FTL_ENGINE": "vllm",
            "STAND_IN": mode,
            "TETHER_GRACE_S": "1",
            **env,
        }
        one = Attempt(tmp_path / "attempt", serve_reply(model, {}), {}, STAND_IN_FILE=str(tmp_path / "started"), **env)
        made.append(one.start())
        return one

    yield make
    for one in made:
        one.close()


def started(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "started").read_text())


def gone(pids: list[int], within: float = 12.0) -> bool:
    """Whether none of the processes is there any more; a zombie that only waits to be counted is gone."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        stats = [Path(f"/proc/{pid}/stat") for pid in pids]
        if all(not s.exists() or s.read_text().rsplit(")", 1)[1].split()[0] in "ZX" for s in stats):
            return True
        time.sleep(0.05)
    return False


def ready(one: Attempt) -> str:
    one.until(lambda: one.server.of("ready"))
    return one.server.of("ready")[0]["address"].removeprefix("unix:")


def health(path: str) -> int:
    connection = UnixConnection(path, timeout=5)
    connection.request("GET", "/health")
    return connection.getresponse().status


def test_it_starts_reports_progress_and_ends_on_command(served, tmp_path):
    one = served()
    path = ready(one)
    assert health(path) == 200 and Path(path).stat().st_mode & 0o777 == 0o600
    assert one.server.of("ready")[0]["models"] == ["tiny"]
    phases = [(e["phase"], e["message"]) for e in one.server.of("phase")]
    assert ("loading_model", "engine: vllm") in phases and phases[-1][0] == "serving"
    assert any("checkpoint shards" in e["message"] for e in one.server.of("log"))
    environment = started(tmp_path)["environment"]
    assert environment["VLLM_NO_USAGE_STATS"] == "1" and not [k for k in environment if k.startswith("FTL_")]
    one.server.command("cancel")
    events = one.wait(4)
    assert events[-1]["outcome"] == "cancelled" and not Path(path).exists()
    assert gone(started(tmp_path)["pids"], 2) and not (one.scratch / "cache").exists()
    assert not Path(environment["VLLM_RPC_BASE_PATH"]).exists()


def test_the_socket_has_the_mode_that_the_provider_sets(served):
    path = ready(served(FTL_SOCKET_MODE="666"))
    assert Path(path).stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize(
    ("mode", "reason", "words"),
    [("fails", "model_load", "this GPU is too old for bfloat16"), ("no memory", "out_of_memory", "CUDA out of memory")],
)
def test_a_failed_start_is_reported_with_its_last_lines(served, tmp_path, mode, reason, words):
    failed = served(mode).wait(1)[-1]
    assert failed["type"] == "failed" and failed["reason"] == reason
    assert failed["message"].startswith("vLLM ended with exit code 1: ") and words in failed["message"]
    assert gone(started(tmp_path)["pids"], 2)


def test_a_crash_in_service_is_reported(served, tmp_path):
    one = served()
    ready(one)
    os.kill(started(tmp_path)["pids"][0], signal.SIGKILL)
    failed = one.wait(1)[-1]
    assert failed["reason"] == "internal" and failed["message"].startswith("vLLM was ended by signal 9")
    assert gone(started(tmp_path)["pids"], 2)


def test_sigterm_ends_it_while_it_still_starts(served, tmp_path):
    one = served("never ready")
    one.until(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text())
    one.process.send_signal(signal.SIGTERM)
    assert one.wait(4)[-1]["outcome"] == "paused"
    assert gone(started(tmp_path)["pids"], 2)


def test_one_that_does_not_end_is_killed(served, tmp_path):
    one = served("stubborn")
    ready(one)
    one.server.command("cancel")
    assert one.wait(4)[-1]["outcome"] == "cancelled"
    assert gone(started(tmp_path)["pids"], 2)


@pytest.mark.parametrize("mode", ["", "stubborn"])
def test_nothing_is_left_when_the_trainer_is_killed(served, tmp_path, mode):
    one = served(mode)
    ready(one)
    one.process.kill()
    one.process.wait()
    assert gone(started(tmp_path)["pids"])
