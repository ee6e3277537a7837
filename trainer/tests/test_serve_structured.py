"""Structured output on the transformers engine: whatever the model would say, the answer matches the schema."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest
import torch
from endpoint import QUESTION
from pydantic import BaseModel

from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.serving.constraints import BadSchema, Grammars, constraint_for_schema


@pytest.fixture(autouse=True, scope="module")
def engine_on_transformers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTL_ENGINE", "transformers")
        yield


def schema_of(schema: dict, **more) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True, **more}}


@pytest.fixture(scope="module")
def compact(tiny) -> dict[str, int]:
    """A `logit_bias` against white space, of which a random model writes as much as it may."""
    return {str(i): -100 for text, i in load_tokenizer(tiny).get_vocab().items() if set(text) & set("ĠĊĉ")}


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "kind": {"enum": ["cat", "dog"]},
        "age": {"type": "integer", "minimum": 3, "maximum": 40},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "kind", "age", "tags"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 1.8])
@pytest.mark.parametrize("model", ["tiny", "ft:a.1"])
def test_an_answer_matches_the_schema(endpoint, compact, model, temperature):
    for seed in range(4):
        answer = endpoint.chat(
            model=model,
            response_format=schema_of(PERSON),
            temperature=temperature,
            seed=seed,
            max_tokens=150,
            logit_bias=compact,
        )
        assert answer["choices"][0]["finish_reason"] == "stop"
        value = json.loads(answer["choices"][0]["message"]["content"])
        assert list(value) == ["name", "kind", "age", "tags"]
        assert len(value["name"]) <= 8 and value["kind"] in ("cat", "dog") and 3 <= value["age"] <= 40
        assert 1 <= len(value["tags"]) <= 2 and all(type(one) is bool for one in value["tags"])


def test_a_stream_adds_up_to_the_same_answer(endpoint, compact):
    body = {"response_format": schema_of(PERSON), "temperature": 1.5, "seed": 5, "logit_bias": compact}
    chunks = endpoint.stream(**body)
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
    assert text == endpoint.chat(**body)["choices"][0]["message"]["content"] and json.loads(text)


def test_a_json_object_is_one_whatever_is_sampled(endpoint):
    for seed in range(6):
        answer = endpoint.chat(response_format={"type": "json_object"}, temperature=1.5, seed=seed, max_tokens=200)[
            "choices"
        ][0]
        assert answer["message"]["content"].startswith("{")
        if answer["finish_reason"] == "stop":
            assert isinstance(json.loads(answer["message"]["content"]), dict)


def test_a_limit_may_cut_json_and_says_so(endpoint):
    answer = endpoint.chat(response_format=schema_of(PERSON), max_tokens=4)["choices"][0]
    assert answer["finish_reason"] == "length" and answer["message"]["content"].startswith("{")


def test_several_answers_each_match(endpoint, compact):
    choices = endpoint.chat(response_format=schema_of(PERSON), temperature=1.5, n=3, seed=1, logit_bias=compact)[
        "choices"
    ]
    assert len({c["message"]["content"] for c in choices}) > 1
    assert all(json.loads(c["message"]["content"])["kind"] in ("cat", "dog") for c in choices)


def test_text_is_the_default_format(endpoint):
    plain = endpoint.chat(model="ft:b")["choices"][0]["message"]
    assert endpoint.chat(model="ft:b", response_format={"type": "text"})["choices"][0]["message"] == plain


def test_the_official_client_parses_an_answer_into_a_class(endpoint, compact):
    class Pet(BaseModel):
        name: str
        legs: int | None

    with openai.OpenAI(
        api_key="none",
        base_url="http://localhost/v1",
        http_client=httpx2.Client(transport=httpx2.HTTPTransport(uds=endpoint.path)),
    ) as client:
        for seed in range(20):
            try:
                got = client.chat.completions.parse(
                    model="tiny", messages=QUESTION, response_format=Pet, temperature=1, seed=seed, logit_bias=compact
                )
            except openai.LengthFinishReasonError:
                continue  # a random model may never close a text
            assert isinstance(got.choices[0].message.parsed, Pet)
            return
    pytest.fail("no answer of 20 was complete")


@pytest.mark.parametrize(
    ("format", "param"),
    [
        ("json", "response_format.type"),
        ({"type": "yaml"}, "response_format.type"),
        ({"type": "json_object", "schema": {}}, "response_format.schema"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema.name"),
        (schema_of({}, extra=1), "response_format.json_schema.extra"),
        (schema_of([]), "response_format.json_schema.schema"),
        (
            schema_of({"type": "object", "properties": {"a": {"not": {}}}}),
            "response_format.json_schema.schema.properties.a.not",
        ),
        (
            schema_of({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
            "response_format.json_schema.schema.uniqueItems",
        ),
        (
            schema_of({"type": "object", "properties": {"a": {"type": "strng"}}}),
            "response_format.json_schema.schema.properties.a.type",
        ),
        (
            schema_of({"anyOf": [{"type": "string", "format": "zip"}]}),
            "response_format.json_schema.schema.anyOf.0.format",
        ),
        (schema_of({"$ref": "#/$defs/none"}), "response_format.json_schema.schema.$ref"),
        (schema_of({"$ref": "#"}), "response_format.json_schema.schema"),
        (schema_of({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}), "response_format.json_schema.schema"),
        (schema_of({"type": "object", "properties": {str(n): {} for n in range(3000)}}), "response_format"),
        (schema_of({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "response_format.json_schema.schema.oneOf"),
        (schema_of({"type": "string", "pattern": "(?=a)"}), "response_format.json_schema.schema"),
    ],
)
def test_a_schema_that_cannot_be_obeyed_is_refused_at_its_place(endpoint, format, param):
    status, answer = endpoint.call(
        "POST", "/v1/chat/completions", {"model": "tiny", "messages": QUESTION, "response_format": format}
    )
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert len(answer["error"]["message"]) < 500


def test_a_schema_between_exact_texts(tiny):
    """As tool calls are written: the texts around come out letter by letter, special tokens as tokens."""
    tokenizer = load_tokenizer(tiny)
    grammars = Grammars(tokenizer, len(tokenizer), {1})
    grammar = constraint_for_schema(grammars, {"const": {"a": 1}}, before='<call name="x">\n', after="</call>")
    constraint, said = grammar.constraint(), []
    while 1 not in said:
        logits = constraint.allow(torch.zeros(len(tokenizer)))
        said.append(int(logits.argmax()))
        constraint.advance(said[-1])
    text = tokenizer.decode(said[:-1])
    assert text.startswith('<call name="x">\n{') and text.endswith("}</call>")
    assert json.loads(text[16:-7]) == {"a": 1}
    assert grammars.literal("a<|im_end|>b") == '"a" <[1]> "b"'
    with pytest.raises(BadSchema):
        constraint_for_schema(grammars, {"not": {}}, before="x")
