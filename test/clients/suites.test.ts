/**
 * LangChain's standard tests of chat models, and calls through other client libraries, against a real server and the
 * built-in engine. The model knows the answers to the requests in `lessons.jsonl`, which are as the engine gets them; a
 * test that asks something else needs a row there.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { clientsMissing, runSuite } from "../support/clients.ts";
import { type Live, startLive, TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { importModel } from "../support/tiny.ts";

const TRAINER = join(import.meta.dir, "../../trainer");
const TEMPLATE = join(TRAINER, "finetune_trainer/data/tools.jinja");
const skip = trainerMissing ?? clientsMissing;
const note = skip ? ` (skipped: ${skip})` : "";
let live: Live;

/** Makes the model. */
async function teach(to: string): Promise<void> {
  const script = join(import.meta.dir, "taught_model.py");
  const child = Bun.spawn(
    [join(TRAINER_ENV, "bin/python"), script, join(import.meta.dir, "lessons.jsonl"), TEMPLATE, to],
    {
      // One thread: for matrices this small, more threads only wait for each other.
      env: {
        ...process.env,
        OMP_NUM_THREADS: "1",
        PYTHONPATH: `${join(TRAINER, "tests")}:${TRAINER}`,
        PYTHONDONTWRITEBYTECODE: "1",
      },
      stdout: "ignore",
      stderr: "pipe",
    },
  );
  const problem = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(problem);
}

beforeAll(async () => {
  if (skip !== null) return;
  live = await startLive();
  await teach(`${live.dir}-model`);
  await importModel(live, `${live.dir}-model`, "taught");
  await live.call("POST", "/v1/deployments", { model: "taught" });
  const messages = [{ role: "user", content: "Hello" }];
  const ask = () => live.call("POST", "/v1/chat/completions", { model: "taught", messages, max_tokens: 1 });
  await until("the endpoint to answer", () => ask().catch(() => null), 120_000, 200);
}, 400_000);
afterAll(async () => {
  await live?.close();
  if (live) rmSync(`${live.dir}-model`, { recursive: true, force: true });
});

async function failuresOf(file: string) {
  const loops = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=session", "python_files=*.py"];
  const args = [...loops, "asyncio_default_test_loop_scope=session"].flatMap((each) => ["-o", each]);
  const { outcomes, output } = await runSuite([...args, file], {
    cwd: import.meta.dir,
    env: {
      SUITE_URL: `${live.url}/v1`,
      SUITE_KEY: live.key,
      SUITE_MODEL: "taught",
      HOME: live.dir,
      PYTHONDONTWRITEBYTECODE: "1",
      LITELLM_LOCAL_MODEL_COST_MAP: "True",
    },
    report: join(live.dir, `${file}.xml`),
  });
  const names = (wanted: string) => [...outcomes].filter(([, outcome]) => outcome === wanted).map(([name]) => name);
  return { passed: names("passed").length, failed: names("failed"), output: output.slice(-6000) };
}

test.skipIf(skip !== null)(
  `LangChain's standard tests of chat models pass${note}`,
  async () => {
    const { passed, failed, output } = await failuresOf("langchain_suite.py");
    expect(failed, output).toEqual([]);
    expect(passed).toBeGreaterThan(35);
  },
  600_000,
);

test.skipIf(skip !== null)(
  `pydantic-ai, OpenAI's agents, instructor, LiteLLM, Langfuse and llm work with their defaults${note}`,
  async () => {
    const { passed, failed, output } = await failuresOf("other_clients.py");
    expect(failed, output).toEqual([]);
    expect(passed).toBe(29);
  },
  600_000,
);

test.skipIf(skip !== null).each(["responses", "chat"] as const)(
  `the AI SDK answers, streams, calls tools and gives objects through %s${note}`,
  async (api) => {
    const openai = createOpenAI({ baseURL: `${live.url}/v1`, apiKey: live.key });
    const given = { model: openai[api]("taught"), temperature: 0, maxOutputTokens: 64, maxRetries: 0 };
    expect((await generateText({ ...given, prompt: "Hello" })).text).toBe("Hello there.");
    const pieces = await Array.fromAsync(streamText({ ...given, prompt: "Hello" }).textStream);
    expect(pieces.join("")).toBe("Hello there.");
    expect(pieces.length).toBeGreaterThan(1);

    const properties = { location: { type: "string" as const } };
    const inputSchema = jsonSchema<{ location: string }>({ properties, required: ["location"], type: "object" });
    const asked: string[] = [];
    const get_weather = tool({
      description: "Get the weather at a location.",
      inputSchema,
      execute: async ({ location }) => {
        asked.push(location);
        return "It's sunny.";
      },
    });
    const prompt = "What is the weather in San Francisco, CA?";
    const answer = await generateText({ ...given, prompt, tools: { get_weather }, stopWhen: stepCountIs(2) });
    expect([asked, answer.text]).toEqual([["San Francisco, CA"], "It is sunny."]);

    const schema = jsonSchema<{ city: string; country: string }>({
      properties: { city: { type: "string" }, country: { type: "string" } },
      required: ["city", "country"],
      type: "object",
      additionalProperties: false,
    });
    const object = { prompt: "What is the capital of France?", output: Output.object({ schema }) };
    expect((await generateText({ ...given, ...object })).output).toEqual({ city: "Paris", country: "France" });
  },
  120_000,
);
