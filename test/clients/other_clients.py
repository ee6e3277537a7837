"""Calls through other client libraries with their defaults, run against this server by suites.test.ts."""

from __future__ import annotations

import os
from pathlib import Path

import agents
import instructor
import litellm
import llm
import openai
import pytest
from agents import Agent, Runner
from instructor import Mode
from langfuse.openai import OpenAI as LangfuseOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

URL, KEY, MODEL = (os.environ[name] for name in ("SUITE_URL", "SUITE_KEY", "SUITE_MODEL"))
CAPITAL = "What is the capital of France?"
WEATHER = "What is the weather in San Francisco, CA?"
SETTINGS = {"temperature": 0.0, "max_tokens": 64}


class City(BaseModel):
    city: str
    country: str


def get_weather(location: str) -> str:
    """Get the weather at a location."""
    asked.append(location)
    return "It's sunny."


asked: list[str] = []
PARIS = City(city="Paris", country="France")


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel])
def pydantic_model(request):
    return request.param(MODEL, provider=OpenAIProvider(base_url=URL, api_key=KEY))


@pytest.mark.parametrize("output", [City, ToolOutput(City), NativeOutput(City), PromptedOutput(City)])
async def test_pydantic_ai_gives_the_output_of_every_mode(pydantic_model, output):
    agent = PydanticAgent(pydantic_model, output_type=output, model_settings=SETTINGS)
    result = await agent.run(CAPITAL)
    assert result.output == PARIS
    assert result.usage.output_tokens > 0


async def test_pydantic_ai_calls_a_tool_and_streams_the_answer(pydantic_model):
    asked.clear()
    agent = PydanticAgent(pydantic_model, tools=[get_weather], model_settings=SETTINGS)
    async with agent.run_stream(WEATHER) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert asked == ["San Francisco, CA"]
    assert "".join(pieces) == "It is sunny."
    assert len(pieces) > 1


async def test_pydantic_ai_reports_a_refused_request(pydantic_model):
    agent = PydanticAgent(pydantic_model, model_settings={"max_tokens": -1})
    with pytest.raises(ModelHTTPError) as refused:
        await agent.run("Hello")
    assert refused.value.status_code == 400


@pytest.fixture
def agents_client():
    agents.set_default_openai_client(openai.AsyncOpenAI(base_url=URL, api_key=KEY), use_for_tracing=False)
    agents.set_tracing_disabled(True)


def agent_of(**more) -> Agent:
    settings = agents.ModelSettings(temperature=0, max_tokens=64)
    return Agent(name="helper", model=MODEL, model_settings=settings, **more)


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
async def test_openai_agents_call_tools_and_give_structured_output(agents_client, api):
    agents.set_default_openai_api(api)
    asked.clear()
    answer = await Runner.run(agent_of(tools=[agents.function_tool(get_weather)]), WEATHER)
    assert (asked, answer.final_output) == (["San Francisco, CA"], "It is sunny.")
    answer = await Runner.run(agent_of(output_type=City), CAPITAL)
    assert answer.final_output == PARIS


async def test_openai_agents_stream_and_continue_a_conversation(agents_client):
    agents.set_default_openai_api("responses")
    first = Runner.run_streamed(agent_of(), "Hello")
    events = [event.data.type async for event in first.stream_events() if event.type == "raw_response_event"]
    assert (events[0], events[-1]) == ("response.created", "response.completed")
    assert first.final_output == "Hello there."
    again = await Runner.run(agent_of(), "how are you", previous_response_id=first.last_response_id)
    assert again.final_output == "I am well."


@pytest.mark.parametrize(
    "mode",
    [Mode.TOOLS, Mode.TOOLS_STRICT, Mode.FUNCTIONS, Mode.JSON, Mode.JSON_O1, Mode.JSON_SCHEMA, Mode.MD_JSON]
    + [Mode.RESPONSES_TOOLS, Mode.RESPONSES_TOOLS_WITH_INBUILT_TOOLS],
)
def test_instructor_gets_the_object_in_every_mode(mode):
    client = instructor.from_openai(openai.OpenAI(base_url=URL, api_key=KEY), mode=mode)
    asking = [{"role": "user", "content": CAPITAL}]
    limit = {"max_output_tokens": 64} if mode.name.startswith("RESPONSES") else {"max_tokens": 64}
    given = {"model": MODEL, "messages": asking, "max_retries": 0, "temperature": 0, **limit}
    # It adds the answer of the API to the object, which then equals no other.
    assert client.create(response_model=City, **given).model_dump() == PARIS.model_dump()


def test_litellm_answers_streams_calls_tools_and_names_its_errors():
    given = {"model": f"openai/{MODEL}", "api_base": URL, "api_key": KEY, "temperature": 0, "max_tokens": 64}
    hello = [{"role": "user", "content": "Hello"}]
    assert litellm.completion(messages=hello, **given).choices[0].message.content == "Hello there."
    pieces = [
        chunk.choices[0].delta.content or "" for chunk in litellm.completion(messages=hello, stream=True, **given)
    ]
    assert "".join(pieces) == "Hello there."
    parameters = {"properties": {"location": {"type": "string"}}, "required": ["location"], "type": "object"}
    function = {"name": "get_weather", "description": "Get the weather at a location.", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    answer = litellm.completion(messages=[{"role": "user", "content": WEATHER}], tools=tools, **given)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"location": "San Francisco, CA"}')
    answer = litellm.completion(messages=[{"role": "user", "content": CAPITAL}], response_format=City, **given)
    assert City.model_validate_json(answer.choices[0].message.content) == PARIS
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(messages=[{"role": "user", "content": "word " * 20_000}], **given)
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(messages=hello, **{**given, "api_key": "ftl-wrong"})


def test_langfuse_passes_answers_and_streams_on():
    os.environ["LANGFUSE_TRACING_ENABLED"] = "false"
    client = LangfuseOpenAI(base_url=URL, api_key=KEY)
    given = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 64}
    assert client.chat.completions.create(**given).choices[0].message.content == "Hello there."
    stream = client.chat.completions.create(**given, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Hello there."


@pytest.fixture(scope="module")
def llm_model(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("llm")
    os.environ["LLM_USER_PATH"] = str(folder)
    config = f"- model_id: {MODEL}\n  model_name: {MODEL}\n  api_base: {URL}\n  api_key_name: here\n"
    (folder / "extra-openai-models.yaml").write_text(f"{config}  supports_schema: true\n  supports_tools: true\n")
    model = llm.get_model(MODEL)
    model.key = KEY
    return model


def test_llm_streams_continues_and_counts(llm_model):
    conversation = llm_model.conversation()
    first = conversation.prompt("Hello", temperature=0, max_tokens=64)
    assert "".join(first) == "Hello there."
    assert first.usage().output > 0
    assert conversation.prompt("how are you", temperature=0, stream=False).text() == "I am well."


def test_llm_gets_schemas_and_tools(llm_model):
    answer = llm_model.prompt(CAPITAL, schema=City, temperature=0, max_tokens=64).text()
    assert City.model_validate_json(answer) == PARIS
    asked.clear()
    assert llm_model.chain(WEATHER, tools=[get_weather], options={"temperature": 0}).text() == "It is sunny."
    assert asked == ["San Francisco, CA"]


def lm_eval_scores(prompts: list[str] | list[list[int]]) -> list:
    """Sends and reads what lm-eval's `local-completions` does for tasks with choices: the logprobs of each prompt."""
    client = openai.OpenAI(base_url=URL, api_key=KEY)
    answer = client.completions.create(
        model=MODEL, prompt=prompts, max_tokens=1, temperature=0, logprobs=1, echo=True, seed=1234
    )
    # The last token is the generated one.
    return [choice.logprobs for choice in sorted(answer.choices, key=lambda each: each.index)]


def test_requests_of_lm_eval_rank_the_right_choice_first():
    context = "<|im_start|>user\nhow are you<|im_end|>\n<|im_start|>assistant\n"
    scores = lm_eval_scores([f"{context}I am well.", f"{context}Paris"])
    right, wrong = (
        sum(each.token_logprobs[n] for n, at in enumerate(each.text_offset[:-1]) if at >= len(context))
        for each in scores
    )
    assert right > -1 > wrong
    (tokens,) = lm_eval_scores([[0, 1]])
    assert tokens.tokens[:-1] == ["<|im_start|>", "<|im_end|>"]
    assert tokens.token_logprobs[0] is None
    assert tokens.token_logprobs[1] < 0
    assert len(tokens.top_logprobs[1]) >= 1
