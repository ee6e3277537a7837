"""Answers that are generated together are the ones they would be alone, whoever joins and leaves."""

from __future__ import annotations

import queue
import random

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from finetune_trainer.model import decoding
from finetune_trainer.model.load import load_model
from finetune_trainer.model.sampling import Sampling
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.serving import engine as engine_module
from finetune_trainer.serving.engine import Engine, Generation, Stopped

SMALL = {
    "vocab_size": 258,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "eos_token_id": 1,
}


def answers(engine: Engine, prompts: list[list[int]], options: list[Sampling], model: str = "tiny") -> list[list[int]]:
    """The tokens of each answer, all asked for at once."""
    out: queue.SimpleQueue = queue.SimpleQueue()
    engine.submit([Generation(model, p, o, i, out) for i, (p, o) in enumerate(zip(prompts, options, strict=True))])
    return read(out, len(prompts))


def read(out: queue.SimpleQueue, count: int) -> list[list[int]]:
    got: list[list[int]] = [[] for _ in range(count)]
    left = count
    while left:
        index, item = out.get(timeout=60)
        if item is None:
            left -= 1
        elif isinstance(item, Exception):
            raise item
        elif not isinstance(item, list):
            got[index].append(item.token)
    return got


def cases(count: int, **more) -> tuple[list[list[int]], list[Sampling]]:
    """Prompts from one token to some hundred, and answers of every length: rows join and leave all the time."""
    draw = random.Random(5)
    prompts = [[draw.randrange(2, 250) for _ in range(draw.choice([1, 3, 17, 40, 150, 300]))] for _ in range(count)]
    return prompts, [Sampling(draw.randrange(1, 30), ignore_end=True, **more) for _ in range(count)]


@pytest.fixture(scope="module")
def engine(tiny):
    one = Engine(load_model(tiny, "float32", torch.device("cpu")), load_tokenizer(tiny), "tiny", 512)
    yield one
    one.stop(10)


def alone(engine: Engine, prompts, options) -> list[list[int]]:
    return [answers(engine, [p], [o])[0] for p, o in zip(prompts, options, strict=True)]


def test_greedy_answers_of_a_batch_are_those_of_each_request_alone(engine):
    prompts, options = cases(24, temperature=0)
    expected = alone(engine, prompts, options)
    assert [len(one) for one in expected] == [o.max_new_tokens for o in options]
    assert answers(engine, prompts, options) == expected


def test_answers_longer_than_what_their_cache_reserved_join_and_leave(engine):
    prompts = [[7, 8], [9] * 5, [10, 11, 12]]
    options = [Sampling(count, ignore_end=True, temperature=0) for count in (150, 260, 200)]
    assert answers(engine, prompts, options) == alone(engine, prompts, options)


def test_a_failure_of_the_engine_ends_its_answers_and_calls_and_is_reported(tiny, monkeypatch):
    one = Engine(load_model(tiny, "float32", torch.device("cpu")), load_tokenizer(tiny), "tiny", 512)
    assert one.failure is None

    def fail() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(one, "_admit", fail)
    with pytest.raises(Stopped):
        answers(one, [[7, 8]], [Sampling(3)])
    one._thread.join(10)
    assert str(one.failure) == "broken"
    with pytest.raises(Stopped):
        answers(one, [[7, 8]], [Sampling(3)])
    with pytest.raises(Stopped):
        one.call(lambda: 1)


def test_a_seed_gives_the_same_answer_in_any_batch(engine):
    prompts, options = cases(16, temperature=1.2, top_p=0.9, seed=11)
    assert answers(engine, prompts, options) == alone(engine, prompts, options)


@pytest.mark.parametrize(
    "model",
    [
        lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=8)),
        lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=12)),
    ],
    ids=["a sliding window", "a head size of its own"],
)
def test_other_kinds_of_attention_are_padded_rightly(tiny, model):
    torch.manual_seed(3)
    one = Engine(model().eval(), load_tokenizer(tiny), "tiny", 512)
    prompts, options = cases(12, temperature=0)
    joined = answers(one, prompts, options)
    one.stop(10)
    other = model()
    other.load_state_dict(one._causal.state_dict())
    for prompt, tokens in zip(prompts, joined, strict=True):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            whole = other.eval().generate(
                ids, do_sample=False, max_new_tokens=len(tokens), min_new_tokens=len(tokens), eos_token_id=None
            )
        assert whole[0, len(prompt) :].tolist() == tokens


def test_a_model_whose_state_cannot_be_padded_is_decoded_alone(tiny, engine, monkeypatch):
    prompts, options = cases(6, temperature=0)
    monkeypatch.setattr(engine_module, "can_join", lambda _: False)
    apart = Engine(load_model(tiny, "float32", torch.device("cpu")), load_tokenizer(tiny), "tiny", 512)
    assert answers(apart, prompts, options) == alone(engine, prompts, options)
    apart.stop(10)


def test_only_known_kinds_of_attention_are_joined(tiny):
    model = load_model(tiny, "float32", torch.device("cpu"))
    assert decoding.can_join(model)
    model.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    assert not decoding.can_join(model)


def test_answers_that_memory_has_no_room_for_are_set_back_and_continue_where_they_were(tiny, engine, monkeypatch):
    prompts, options = cases(12, temperature=0.8, seed=3)
    tight = Engine(load_model(tiny, "float32", torch.device("cpu")), load_tokenizer(tiny), "tiny", 512)
    tight._cache_tokens = 340
    backs = []
    real = Engine._set_back
    monkeypatch.setattr(Engine, "_set_back", lambda self, one: (backs.append(one), real(self, one)))
    assert answers(tight, prompts, options) == alone(engine, prompts, options)
    assert backs, "the test has to reach the limit"
    tight.stop(10)


def test_running_answers_take_a_step_between_the_pieces_of_a_long_prompt(engine, monkeypatch):
    monkeypatch.setattr(engine_module, "PREFILL_TOKENS", {"cpu": 16})
    out: queue.SimpleQueue = queue.SimpleQueue()
    engine.submit([Generation("tiny", [5, 6, 7], Sampling(200, temperature=0, ignore_end=True), 0, out)])
    assert out.get(timeout=60)[0] == 0
    engine.submit([Generation("tiny", [9] * 400, Sampling(1, temperature=0, ignore_end=True), 1, out)])
    before = 0
    while (item := out.get(timeout=60))[0] == 0:
        before += 1
    assert 20 <= before < 200, "25 pieces, with a token of the other answer after each"
    while item != (0, None):
        item = out.get(timeout=60)


def test_answers_to_one_prompt_share_its_reading(engine, monkeypatch):
    pieces = []
    real = decoding.Prefill.advance
    monkeypatch.setattr(
        decoding.Prefill, "advance", lambda self, *rest: (pieces.append(len(self.sequences)), real(self, *rest))[1]
    )
    prompt = [4, 5, 6, 7]
    got = answers(engine, [prompt] * 5, [Sampling(6, seed=n, ignore_end=True) for n in range(5)])
    assert pieces == [5] and len({tuple(one) for one in got}) == 5
    assert got[3] == answers(engine, [prompt], [Sampling(6, seed=3, ignore_end=True)])[0]


def test_a_sequence_joins_a_batch_only_where_padding_is_small():
    class Rows:
        lengths = [3000]
        width = 3000

    batch = decoding.Batch.__new__(decoding.Batch)
    batch.key, batch.joinable, batch.sequences, batch._cache = None, True, [object()], Rows()
    assert batch.fits(None, 2500) and batch.fits(None, 600) and not batch.fits("a0", 2500)
    batch.sequences, Rows.lengths = [object()] * 3, [3000, 600, 600]
    assert not batch.fits(None, 10)
