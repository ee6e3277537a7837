/**
 * Graders that ask models: through the gateway, on behalf of the caller, with every kind of answer of an engine.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { deployment } from "../../src/db/schema/deployments.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { graderCalls, multi } from "../support/graders.ts";
import { insertTuned, readyBase } from "../support/models.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
});
afterAll(() => t.close());
const { run, refusal } = graderCalls(() => t);

describe("models that grade", () => {
  let engine: TestEngine;
  let deploymentId: string;
  let answers: unknown[];
  beforeEach(async () => {
    engine = startEngine();
    deploymentId = (await deployEngine(t.ctx, engine, { org: t.orgs.a, model: "tiny" })).id;
    answers = [];
    engine.instead = () => {
      const next = answers.length > 1 ? answers.shift() : answers[0];
      if (next instanceof Response) return next.clone();
      const message = typeof next === "string" ? { role: "assistant", content: next } : next;
      const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
      return Response.json({ model: "tiny", choices: [{ index: 0, message, finish_reason: "stop" }], usage });
    };
  });
  afterEach(async () => {
    await t.ctx.write((tx) => tx.update(deployment).set({ deletedAt: 1, wanted: "stopped", state: "stopped" }));
    t.ctx.bus.emit("deployment.changed", { org: t.orgs.a, deploymentId, state: "stopped" });
    await engine.stop();
  });

  const score = {
    type: "score_model",
    name: "judge",
    model: "tiny",
    input: [
      { role: "developer", content: "You grade." },
      { role: "user", content: [{ type: "input_text", text: "Wanted {{item.w}}, said {{sample.output_text}}." }] },
    ],
    range: [0, 10],
    sampling_params: { temperature: 0, seed: 42, top_p: 1, max_completions_tokens: 64, reasoning_effort: null },
  };
  const label = { ...score, type: "label_model", range: undefined, labels: ["good", "bad"], passing_labels: ["good"] };

  test("are asked through the gateway on behalf of the caller, and their tokens are counted", async () => {
    answers = ['{"result": 7.5}'];
    const found = await run(score, "Rom", { w: "Rome" });
    expect([found.reward, found.metadata.token_usage, found.metadata.sampled_model_name]).toEqual([7.5, 15, "tiny"]);
    expect(found.model_grader_token_usage_per_model).toEqual({
      tiny: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, cached_tokens: 0 } as { total_tokens: number },
    });
    const { body, path } = engine.requests[0] ?? {};
    expect(path).toBe("/v1/chat/completions");
    expect(body).toMatchObject({ temperature: 0, seed: 42, top_p: 1, max_completion_tokens: 64 });
    expect(body).not.toHaveProperty("reasoning_effort");
    const messages = body?.messages as { role: string; content: string }[];
    expect(messages.map(({ role }) => role)).toEqual(["system", "user"]);
    expect(messages[1]?.content).toStartWith("Wanted Rome, said Rom.\n\nAnswer with JSON alone");
    await flushUsage(t.ctx);
    const rows = await t.ctx.db.select().from(inference).where(eq(inference.deploymentId, deploymentId));
    expect(rows.map((row) => [row.userId, row.keyId, row.org, row.promptTokens, row.status])).toEqual([
      [t.users.member, t.keyIds.member, t.orgs.a, 10, 200],
    ]);
  });

  test.each<[string, unknown[], number, number, string | null]>([
    ["a bare number", ["3"], 3, 1, null],
    ["JSON in a fence", ['```json\n{"result": 3}\n```'], 3, 1, null],
    ["a second try", ["I would say 3", '{"result": 3}'], 3, 2, null],
    ["a score out of range, then one within", ['{"result": 11}', '{"result": 10}'], 10, 2, null],
    ["words in every try", ["three"], 0, 3, "model_grader_parse_error"],
    ["a number in quotes", ['{"result": "3"}'], 0, 3, "model_grader_parse_error"],
    ["a refusal", [{ role: "assistant", content: null, refusal: "I will not." }], 0, 1, "model_grader_refusal_error"],
    [
      "an engine that refuses",
      [Response.json({ error: { message: "too long" } }, { status: 400 })],
      0,
      1,
      "model_grader_server_error",
    ],
    ["an engine that breaks", [new Response("oops", { status: 500 })], 0, 1, "model_grader_server_error"],
  ])("%s", async (_, given, reward, asked, flag) => {
    answers = [...given];
    const found = await run(score, "Rom", { w: "Rome" });
    expect([found.reward, engine.requests.length]).toEqual([reward, asked]);
    const { model_grader_server_error_details: details, ...flags } = found.metadata.errors;
    expect(Object.keys(flags).filter((name) => flags[name] === true)).toEqual(flag ? [flag] : []);
    expect(typeof details === "string").toBe(flag === "model_grader_server_error");
    expect(found.metadata.token_usage).toBe(flag === "model_grader_server_error" ? 0 : 15 * asked);
  });

  test("an answer of 100,000 line breaks after a fence is parsed quickly, and only up to the requested length", async () => {
    const held = async (given: object, answer: string) => {
      answers = [answer];
      let [longest, last] = [0, performance.now()];
      const timer = setInterval(() => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      }, 5);
      const found = await run({ ...score, sampling_params: given }, "x", { w: "y" });
      clearInterval(timer);
      return { longest: Math.max(longest, performance.now() - last), reward: found.reward };
    };
    const blank = "\n".repeat(100_000);
    const hostile = await held({ max_completions_tokens: 4096 }, `\`\`\`json${blank}x`);
    expect(hostile.reward).toBe(0);
    expect(hostile.longest).toBeLessThan(500);
    const fenced = `\`\`\`json\n{"result": 3}${" ".repeat(1000)}\n\`\`\``;
    expect((await held({ max_completions_tokens: 200 }, fenced)).reward).toBe(3);
    // 100 tokens are at most 800 characters: the end of the fence comes later.
    expect((await held({ max_completions_tokens: 100 }, fenced)).reward).toBe(0);
  });

  test.each<[string, string, number, string | null]>([
    ["a passing label", '{"label": "good"}', 1, null],
    ["another label", '{"label": "bad"}', 0, null],
    ["a label as bare text", "good", 1, null],
    ["a label that does not exist", '{"label": "fine"}', 0, "model_grader_parse_error"],
  ])("label_model: %s", async (_, answer, reward, flag) => {
    answers = [answer];
    const found = await run(label, "Rom", { w: "Rome" });
    expect(found.reward).toBe(reward);
    expect(Object.entries(found.metadata.errors).find(([, value]) => value === true)?.[0] ?? null).toBe(flag);
  });

  test("the tokens of two of them in a multi grader are added up", async () => {
    answers = ['{"result": 4}', '{"label": "good"}'];
    const found = await run(multi({ score, label }, "score / 10 * label"), "x", { w: "y" });
    expect([found.reward, found.metadata.token_usage]).toEqual([0.4, 30]);
  });

  test("another organization's fine-tuned model does not exist, and its engine is not asked", async () => {
    const { id } = await insertTuned(t.ctx, t.orgs.a);
    const body = { grader: { ...score, model: id }, model_sample: "x", item: { w: "y" } };
    expect(await refusal("run", body, "other")).toEqual([400, "model_not_found", "grader.model"]);
    expect(engine.requests.length).toBe(0);
  });
});
