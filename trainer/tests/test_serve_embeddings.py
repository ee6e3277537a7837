"""Embeddings from the engine on transformers: pooling, adapters, forms, and refusals."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["number 1", "the user says a number and the assistant says a colour", "red"]


@pytest.fixture(autouse=True, scope="module")
def engine_on_transformers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTL_ENGINE", "transformers")
        yield


def ask(endpoint, **body) -> dict:
    status, answer = endpoint.call("POST", "/v1/embeddings", {"model": "tiny", **body})
    assert status == 200, answer
    return answer


def vectors(answer: dict) -> np.ndarray:
    return np.asarray([one["embedding"] for one in answer["data"]])


def test_a_vector_is_the_normalized_mean_of_the_last_hidden_states(endpoint, tiny):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    answer = ask(endpoint, input=TEXTS)
    assert answer["object"] == "list" and answer["model"] == "tiny"
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", i) for i in range(3)]
    count = 0
    for text, got in zip(TEXTS, vectors(answer), strict=True):
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        count += ids.shape[1]
        with torch.no_grad():
            mean = model.model(input_ids=ids).last_hidden_state[0].mean(0).numpy()
        assert got == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert answer["usage"] == {"prompt_tokens": count, "total_tokens": count}


def test_an_adapter_gives_its_own_vectors_and_leaves_the_base_alone(endpoint):
    base = vectors(ask(endpoint, input="number 1"))
    tuned = vectors(ask(endpoint, model="ft:b", input="number 1"))
    assert np.abs(base - tuned).max() > 1e-3
    assert vectors(ask(endpoint, input="number 1")) == pytest.approx(base, abs=1e-6)


def test_texts_and_their_token_ids_are_the_same(endpoint, tiny):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    ids = tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    assert vectors(ask(endpoint, input=ids)) == pytest.approx(vectors(ask(endpoint, input=TEXTS)), abs=1e-6)
    assert vectors(ask(endpoint, input=ids[0])) == pytest.approx(vectors(ask(endpoint, input=TEXTS[0])), abs=1e-6)


def test_base64_holds_the_same_floats_and_dimensions_are_normalized_again(endpoint):
    plain = vectors(ask(endpoint, input=TEXTS))
    packed = ask(endpoint, input=TEXTS, encoding_format="base64")["data"]
    read = np.asarray([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in packed])
    assert read == pytest.approx(plain, abs=1e-6)
    short = vectors(ask(endpoint, input=TEXTS, dimensions=8))
    expected = plain[:, :8] / np.linalg.norm(plain[:, :8], axis=1, keepdims=True)
    assert short.shape == (3, 8) and short == pytest.approx(expected, abs=1e-5)


def test_hundreds_of_inputs_are_split_into_batches(endpoint):
    many = [TEXTS[i % 3] * (1 + i % 7) for i in range(200)]
    whole = vectors(ask(endpoint, input=many))
    for index in (0, 99, 199):
        assert whole[index] == pytest.approx(vectors(ask(endpoint, input=many[index]))[0], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": []}, "input"),
        ({"input": [["a"]]}, "input.0"),
        ({"input": [99999]}, "input"),
        ({"input": "word " * 2000}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 65}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "task": "search"}, "task"),
        ({"input": "half \ud83d"}, "input"),
    ],
)
def test_refusals_name_the_field(endpoint, body, param):
    status, answer = endpoint.call("POST", "/v1/embeddings", {"model": "tiny", **body})
    assert (status, answer["error"]["param"]) == (400, param)
