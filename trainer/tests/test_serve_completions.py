"""Completions and sampling options on the transformers engine: forms of prompts, log probabilities, and that every
option changes what it should.
"""

from __future__ import annotations

import math

import pytest
import torch
from endpoint import PROMPT
from transformers import AutoModelForCausalLM

from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.serving.detokenize import TextStream

SAID = '{"colour": "red"}'


@pytest.fixture(autouse=True, scope="module")
def engine_on_transformers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTL_ENGINE", "transformers")
        yield


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(tiny)


@pytest.fixture(scope="module")
def model(tiny):
    return AutoModelForCausalLM.from_pretrained(tiny).eval()


def complete(endpoint, prompt, **body) -> dict:
    given = {"model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": 30, **body}
    status, answer = endpoint.call("POST", "/v1/completions", given)
    assert status == 200, answer
    return answer


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def logprobs_after(model, ids: list[int]) -> torch.Tensor:
    """Log probabilities of every token at every next position, from a forward pass of our own."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)


def test_a_list_of_prompts_has_a_choice_for_each_and_for_each_of_n(endpoint, tokenizer):
    answer = complete(endpoint, [PROMPT, PROMPT + '{"'], model="ft:a.1")
    assert [(c["index"], c["text"]) for c in answer["choices"]] == [(0, SAID), (1, SAID[2:])]
    prompts = len(ids_of(tokenizer, PROMPT)) + len(ids_of(tokenizer, PROMPT + '{"'))
    assert answer["usage"]["prompt_tokens"] == prompts
    many = complete(endpoint, ["red", "user"], n=2, temperature=1.5, seed=3, max_tokens=6)["choices"]
    assert [c["index"] for c in many] == [0, 1, 2, 3] and len({c["text"] for c in many}) == 4
    alone = complete(endpoint, "user", n=2, temperature=1.5, seed=3, max_tokens=6)["choices"]
    assert [c["text"] for c in many[2:]] == [c["text"] for c in alone]


def test_token_ids_are_prompts(endpoint, tokenizer):
    ids = ids_of(tokenizer, PROMPT)
    expected = complete(endpoint, PROMPT, model="ft:a.1")["choices"][0]["text"]
    assert complete(endpoint, ids, model="ft:a.1")["choices"][0]["text"] == expected
    both = complete(endpoint, [ids, ids], model="ft:a.1")["choices"]
    assert [c["text"] for c in both] == [expected, expected]


def test_several_choices_of_a_stream_are_told_apart_by_index(endpoint):
    body = {"prompt": ["red", "user"], "n": 2, "temperature": 1.5, "seed": 3, "max_tokens": 6}
    whole = complete(endpoint, body["prompt"], **{k: v for k, v in body.items() if k != "prompt"})
    parts, ends = [""] * 4, []
    for chunk in endpoint.stream("/v1/completions", **body, stream_options={"include_usage": True}):
        for choice in chunk["choices"]:
            parts[choice["index"]] += choice["text"]
            ends += [choice["index"]] if choice["finish_reason"] else []
    assert parts == [c["text"] for c in whole["choices"]] and sorted(ends) == [0, 1, 2, 3]
    assert chunk["usage"] == whole["usage"]


def test_log_probabilities_are_those_of_the_model(endpoint, tokenizer, model):
    answer = complete(endpoint, "the user", logprobs=3, max_tokens=5)["choices"][0]
    got, ids = answer["logprobs"], ids_of(tokenizer, "the user")
    assert "".join(got["tokens"]) == answer["text"] and len(got["tokens"]) == 5
    assert got["text_offset"] == [len("".join(got["tokens"][:n])) for n in range(5)]
    for position in range(5):
        expected = logprobs_after(model, ids)[-1]
        token = int(expected.argmax())
        assert got["token_logprobs"][position] == pytest.approx(float(expected[token]), abs=1e-4)
        top = sorted(expected.topk(3).values.tolist(), reverse=True)
        assert sorted(got["top_logprobs"][position].values(), reverse=True) == pytest.approx(top, abs=1e-4)
        ids.append(token)


def test_echo_scores_the_prompt_as_evaluation_suites_need(endpoint, tokenizer, model):
    text = "the user says a number"
    ids = ids_of(tokenizer, text)
    answer = complete(endpoint, [ids], echo=True, logprobs=1, max_tokens=1)["choices"][0]
    got, expected = answer["logprobs"], logprobs_after(model, ids)
    assert answer["text"].startswith(text) and len(got["tokens"]) == len(ids) + 1
    assert got["token_logprobs"][0] is None and got["top_logprobs"][0] is None
    for place in range(1, len(ids)):
        row = expected[place - 1]
        assert got["token_logprobs"][place] == pytest.approx(float(row[ids[place]]), abs=1e-4)
        best = max(got["top_logprobs"][place], key=got["top_logprobs"][place].get)
        assert (best == got["tokens"][place]) == (int(row.argmax()) == ids[place]), "how lm-eval sees a greedy answer"
    only = complete(endpoint, text, echo=True, logprobs=0, max_tokens=0)
    assert only["choices"][0]["text"] == text and only["usage"]["completion_tokens"] == 0
    assert only["choices"][0]["logprobs"]["token_logprobs"] == pytest.approx(got["token_logprobs"][:-1], abs=1e-5)


def test_echo_of_a_prompt_longer_than_one_piece(endpoint, tokenizer, model):
    ids = (ids_of(tokenizer, "the user says a number ") * 80)[:400]
    got = complete(endpoint, ids, echo=True, logprobs=0, max_tokens=0)["choices"][0]["logprobs"]["token_logprobs"]
    expected = logprobs_after(model, ids)
    assert got[1:] == pytest.approx([float(expected[n - 1][ids[n]]) for n in range(1, 400)], abs=1e-3)


def test_echo_without_log_probabilities_puts_the_prompt_first(endpoint):
    assert complete(endpoint, PROMPT, model="ft:a.1", echo=True)["choices"][0]["text"] == PROMPT + SAID
    chunks = endpoint.stream("/v1/completions", model="ft:a.1", prompt=PROMPT, echo=True)
    assert "".join(c["choices"][0]["text"] for c in chunks) == PROMPT + SAID


def test_the_best_of_several_answers_is_the_most_likely_per_token(endpoint):
    body = {"temperature": 1.3, "seed": 5, "max_tokens": 8}
    every = complete(endpoint, "the user", n=6, logprobs=0, **body)["choices"]
    means = [math.fsum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["tokens"]) for c in every]
    best = complete(endpoint, "the user", best_of=6, **body)
    assert best["choices"][0]["text"] == every[means.index(max(means))]["text"] and best["choices"][0]["index"] == 0
    assert len(best["choices"]) == 1 and best["choices"][0]["logprobs"] is None
    assert best["usage"]["completion_tokens"] == sum(len(c["logprobs"]["tokens"]) for c in every)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt.0"),
        ({"prompt": [99999]}, "prompt"),
        ({"prompt": "word " * 2000}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
    ],
)
def test_refusals_name_the_field(endpoint, body, param):
    status, answer = endpoint.call("POST", "/v1/completions", {"model": "tiny", "prompt": "red", **body})
    assert (status, answer["error"]["param"]) == (400, param), answer


def test_a_prompt_that_is_too_long_is_refused_in_the_words_that_clients_look_for(endpoint):
    status, answer = endpoint.call("POST", "/v1/completions", {"model": "tiny", "prompt": [5] * 600})
    message = "This model's maximum context length is 512 tokens. However, your prompt resulted in 600 tokens."
    assert status == 400 and answer["error"]["message"].startswith(message)
    assert "(context_length_exceeded)" in answer["error"]["message"]
    assert answer["error"]["code"] == "context_length_exceeded"


def test_chat_log_probabilities_have_exact_bytes(endpoint):
    choice = endpoint.chat(model="ft:a.1", logprobs=True, top_logprobs=2)["choices"][0]
    content = choice["logprobs"]["content"]
    assert bytes(b for one in content for b in one["bytes"]).decode() == choice["message"]["content"] == SAID
    assert all(len(one["top_logprobs"]) == 2 and one["logprob"] <= 0 for one in content)
    assert all(one["top_logprobs"][0]["token"] == one["token"] for one in content), "greedy"
    chunks = endpoint.stream(model="ft:a.1", logprobs=True, top_logprobs=2)
    streamed = [one for c in chunks for one in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [one["token"] for one in streamed] == [one["token"] for one in content]
    assert endpoint.chat(model="ft:a.1", logprobs=True)["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def tokens_of(endpoint, **body) -> list[str]:
    given = {"max_tokens": 24, "ignore_eos": True, "logprobs": 0, **body}
    return complete(endpoint, "the user", **given)["choices"][0]["logprobs"]["tokens"]


def test_penalties_make_repetition_rarer(endpoint):
    plain = tokens_of(endpoint)
    assert len(set(plain)) < 12, "the tiny model repeats itself"
    for option in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 5}):
        assert len(set(tokens_of(endpoint, **option))) > len(set(plain)), option
    assert len(set(tokens_of(endpoint, frequency_penalty=-2))) <= len(set(plain))


def test_a_bias_forces_and_forbids_tokens(endpoint, tokenizer):
    red = ids_of(tokenizer, "red")[0]
    assert set(tokens_of(endpoint, logit_bias={str(red): 100})) == {tokenizer.decode([red])}
    usual = tokens_of(endpoint, max_tokens=1)
    said = next(i for i in range(len(tokenizer)) if tokenizer.decode([i]) == usual[0])
    other = tokens_of(endpoint, max_tokens=1, logit_bias={str(said): -100})
    assert other != usual


def test_answers_end_at_the_requested_tokens(endpoint, tokenizer):
    usual = complete(endpoint, PROMPT, model="ft:a.1", logprobs=0)["choices"][0]
    assert usual["finish_reason"] == "stop" and usual["logprobs"]["tokens"][-1] == "<|im_end|>"
    stop = ids_of(tokenizer, SAID)[3]
    early = complete(endpoint, PROMPT, model="ft:a.1", stop_token_ids=[stop])
    assert early["choices"][0]["text"] == tokenizer.decode(ids_of(tokenizer, SAID)[:3])
    assert early["choices"][0]["finish_reason"] == "stop" and early["usage"]["completion_tokens"] == 4
    on = complete(endpoint, PROMPT, model="ft:a.1", ignore_eos=True, max_tokens=40)
    assert on["choices"][0]["finish_reason"] == "length" and on["usage"]["completion_tokens"] == 40
    longer = complete(endpoint, PROMPT, model="ft:a.1", min_tokens=25, max_tokens=40)
    assert (
        longer["usage"]["completion_tokens"]
        >= 25
        > complete(endpoint, PROMPT, model="ft:a.1")["usage"]["completion_tokens"]
    )


def test_an_answer_without_a_limit_may_fill_the_context(endpoint, tokenizer):
    """Up to the limit of the endpoint, 200 tokens here, or what the context has left."""
    assert complete(endpoint, "red", ignore_eos=True, max_tokens=None)["usage"]["completion_tokens"] == 200
    close = complete(endpoint, [5] * 500, ignore_eos=True, max_tokens=None)
    assert close["usage"]["completion_tokens"] == 12 and close["choices"][0]["finish_reason"] == "length"


def test_a_limit_never_cuts_inside_a_character(tokenizer):
    """The tiny tokenizer has one token for each byte of an emoji."""
    ids = ids_of(tokenizer, "a🎉b")
    assert len(ids) == 6
    for count, text in enumerate(["", "a", "a", "a", "a", "a🎉", "a🎉b"]):
        stream = TextStream(tokenizer, [])
        assert "".join(stream.feed(one) for one in ids[:count]) + stream.finish() == text
