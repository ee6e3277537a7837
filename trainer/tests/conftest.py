"""Fixtures: a tiny random Llama with a tokenizer made on the spot, rows, and attempts run as a provider runs them."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
os.environ["OMP_NUM_THREADS"] = (
    "1"  # a tiny model gains nothing from a second core, and waits for it when others use it
)

from home_server import TOKEN, HomeServer


def pytest_collection_finish() -> None:
    """Keeps what the imports made out of garbage collections, of which each training makes a full one at its end."""
    gc.collect()
    gc.freeze()


PACKAGE = Path(__file__).resolve().parent.parent
# A Python whose trainers are forks of a preloaded one, where the test command started that: for what trainers compute,
# not for how they start and end.
FORKED = os.environ.get("FTL_TEST_FORKED_PYTHON", sys.executable)
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if tools and loop.first %}"
    "{{ 'tools: ' + (tools | tojson) + '\\n' }}{% endif %}{{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}{{ '<call>' + (c.function | tojson) + '</call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def make_tiny_model(directory: Path, texts: tuple[str, ...] = (), template: str = TEMPLATE) -> Path:
    """Three layers, hidden 64, about 300 tokens, more for `texts`; random but seeded weights as safetensors."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        ["the user says a number", "the assistant says a colour", '{"colour": "red"}', *texts],
        trainers.BpeTrainer(vocab_size=320 + 40 * len(texts), special_tokens=special, initial_alphabet=alphabet),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = template
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=1,
        pad_token_id=1,
        bos_token_id=0,
        initializer_range=0.1,
    )
    model = LlamaForCausalLM(config)
    # The padding token ends answers too; its row is made zero, and with tied weights it could never be said.
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.3)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tool_base(tmp_path_factory) -> Path:
    """A tiny model whose chat template has tools as Hermes's has."""
    from tool_rows import TEMPLATE as template
    from tool_rows import TEXTS

    return make_tiny_model(tmp_path_factory.mktemp("tools"), TEXTS, template)


@pytest.fixture(scope="session")
def telling(tmp_path_factory) -> Path:
    """A tiny model whose merges know no words: where a text is split shows in its tokens."""
    import torch
    from llama_cpp import RECORDED
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = [one["text"] for one in RECORDED]
    directory = tmp_path_factory.mktemp("telling")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    pieces = [text[i : i + n] for text in texts for n in range(2, 7) for i in range(len(text))] * 2
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator(pieces, trainer)
    spec = json.loads(raw.to_str())
    # One word that only a tokenizer finds which takes whole tokens before it merges.
    merges = [merge for merge in spec["model"]["merges"] if "".join(merge) != "Total"]
    assert len(merges) == len(spec["model"]["merges"]) - 1
    spec["model"]["merges"] = merges
    raw = Tokenizer.from_str(json.dumps(spec))
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|im_start|>", **ends)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, tie_word_embeddings=True, **sizes)
    config.eos_token_id, config.pad_token_id, config.bos_token_id = 1, 1, 0
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


COLORS = ["red", "green", "blue"]


def make_rows(count: int, first: int = 1) -> list[dict]:
    rows = []
    for i in range(first, first + count):
        question = f"number {i % 3}" + " please" * (i % 5)
        answer = f'{{"colour": "{COLORS[i % 3]}"}}'
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"id": i, "messages": turns})
    return rows


class Attempt:
    """One attempt: a server of its own and a trainer process."""

    def __init__(self, root: Path, reply: dict, data: dict, **env: str):
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.scratch = root, root / "scratch"
        self.server = HomeServer(root / "home.sock", root / "artifacts", reply, data).start()
        self.env = env
        self.process: subprocess.Popen | None = None

    def start(self, python: str = sys.executable) -> Attempt:
        environment = {
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PACKAGE),
            "FTL_HOME_URL": f"unix:{self.server.path}",
            "FTL_ATTEMPT_TOKEN": TOKEN,
            "FTL_SCRATCH": str(self.scratch),
            **self.env,
        }
        self.log = (self.root / "log").open("ab")
        command = [python, "-m", "finetune_trainer"]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        return self

    def wait(self, code: int | None = 0, timeout: float = 60) -> list[dict]:
        """Waits for the end and checks the exit code; returns the events."""
        got = self.process.wait(timeout)
        assert code is None or got == code, f"exit {got}\n{(self.root / 'log').read_text()[-3000:]}"
        return self.server.events

    def until(self, condition, timeout: float = 60):
        """Waits for a condition while the trainer lives; returns its value."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            assert self.process.poll() is None, (self.root / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, "took too long"
            time.sleep(0.01)
        return value

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.server.stop()


@pytest.fixture
def attempt(tmp_path):
    """Makes attempts; ends what is left of them."""
    made: list[Attempt] = []

    def make(reply: dict, rows: list[dict] | None = None, holdout: list[dict] | None = None, **env: str) -> Attempt:
        data = {"train": rows if rows is not None else make_rows(24), "holdout": holdout or make_rows(6, first=101)}
        made.append(Attempt(tmp_path / f"attempt{len(made)}", reply, data, **env))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Here:
    """An attempt run inside the test's own process: no import time. `run` returns the exit code."""

    def __init__(self, root: Path, reply: dict, data: dict):
        root.mkdir(parents=True, exist_ok=True)
        self.scratch = root / "scratch"
        self.server = HomeServer(root / "home.sock", root / "artifacts", reply, data).start()
        self.code: int | None = None

    def run(self) -> int:
        from finetune_trainer.launch.attempt import attempt as run_attempt

        self.code = run_attempt(f"unix:{self.server.path}", TOKEN, self.scratch, signals=False)
        return self.code

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def here(tmp_path):
    """Makes in-process attempts."""
    made: list[Here] = []

    def make(reply: dict, rows: list[dict] | None = None, holdout: list[dict] | None = None) -> Here:
        data = {"train": rows if rows is not None else make_rows(24), "holdout": holdout or make_rows(6, first=101)}
        made.append(Here(tmp_path / f"here{len(made)}", reply, data))
        return made[-1]

    yield make
    for one in made:
        one.server.stop()


def losses(server: HomeServer) -> dict[int, float]:
    """Training loss by step."""
    return {e["step"]: e["values"]["train/loss"] for e in server.of("metrics") if "train/loss" in e["values"]}


@pytest.fixture(scope="session")
def adapters(tiny, tmp_path_factory) -> dict[str, Path]:
    """`ft:a.1` always says {"colour": "red"}, `ft:b` "the assistant"."""
    from jobs import train_reply

    made = {}
    for name, seed in (("ft:a.1", 1), ("ft:b", 2)):
        rows = make_rows(24)
        for row in rows:
            row["messages"][1]["content"] = {"ft:a.1": '{"colour": "red"}', "ft:b": "the assistant"}[name]
        reply = train_reply(tiny, total=24, batch=6, rate=1e-2, rank=8, seed=seed)
        job = Here(tmp_path_factory.mktemp("train"), reply, {"train": rows})
        assert job.run() == 0 and losses(job.server)[24] < 0.1
        job.server.stop()
        made[name] = job.server.complete("adapter")[0]["folder"]
    return made


@pytest.fixture(scope="session")
def caller(tool_base, tmp_path_factory) -> HomeServer:
    """The server of an attempt that has trained the tiny model to call a tool."""
    from jobs import train_reply
    from tool_rows import tool_rows

    options = {"total": 60, "batch": 12, "rate": 2e-2, "rank": 8, "eval_every": 60, "sample_rows": 4, "eval_rows": 4}
    training = train_reply(tool_base, max_length=512, **options)
    training["spec"]["schedule"]["sample_max_tokens"] = 60
    job = Here(tmp_path_factory.mktemp("caller"), training, {"train": tool_rows(24), "holdout": tool_rows(4)})
    assert job.run() == 0
    job.server.stop()
    return job.server


@pytest.fixture(scope="module")
def tools(tool_base, caller, tmp_path_factory):
    """The base that has tools, with the adapter `ft` that calls `pick`."""
    from endpoint import Endpoint
    from jobs import serve_reply

    adapter = caller.complete("adapter")[0]["folder"]
    one = Endpoint(tmp_path_factory.mktemp("tools"), serve_reply(tool_base, {"ft": adapter}))
    yield one
    one.end()


@pytest.fixture(scope="module")
def endpoint(tiny, adapters, tmp_path_factory):
    """The base `tiny` and both adapters; ends well, and leaves no socket."""
    from endpoint import Endpoint
    from jobs import serve_reply

    one = Endpoint(tmp_path_factory.mktemp("serve"), serve_reply(tiny, adapters))
    yield one
    assert one.end()["outcome"] == "cancelled"
