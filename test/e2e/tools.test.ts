/**
 * Function calling from data to playground, with a real server and a real trainer: rows with tool calls train the tiny
 * model, the evaluation compares calls, and both official clients and a browser get them from the endpoint.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";
import type { Browser, Page } from "playwright-core";
import { hasBrowser, launch, signIn, troublesOf } from "../support/browser.ts";
import { type Live, startLive, TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { importModel } from "../support/tiny.ts";
import { COLORS, makeToolModel, question, TOOLS, toolLines } from "../support/tool-rows.ts";

const skip = trainerMissing;
const python = join(TRAINER_ENV, "bin/python");
let live: Live;
let model = "";
let evaluationId = "";

const ended = <T extends { status?: string; state?: string }>(path: string) =>
  until(
    `${path} to end`,
    async () => {
      const found = await live.call<T>("GET", path);
      return ["succeeded", "failed", "cancelled"].includes(found.state ?? found.status ?? "") ? found : null;
    },
    600_000,
    500,
  );

/** @returns the id of a new dataset with `rows` calls, once it is ready */
async function upload(name: string, rows: number): Promise<string> {
  const form = new FormData();
  form.set("file", new File([toolLines(rows)], name));
  const headers = { authorization: `Bearer ${live.key}` };
  const uploaded = await fetch(`${live.url}/v1/datasets`, { method: "POST", headers, body: form });
  const { id } = (await uploaded.json()) as { id: string };
  await until("the dataset", async () => {
    const found = await live.call<{ version: { status: string } }>("GET", `/v1/datasets/${id}`);
    return found.version.status === "ready";
  });
  return id;
}

describe.skipIf(skip !== null)(`function calling${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    makeToolModel(`${live.dir}-model`);
    await importModel(live, `${live.dir}-model`, "tool-tiny");
  }, 120_000);
  afterAll(async () => {
    await live?.close();
    rmSync(`${live.dir}-model`, { recursive: true, force: true });
  });

  test("rows with tool calls train a model that makes the 20 calls of the validation rows", async () => {
    // The rows ask what those of the training ask: how far a model this small generalizes differs between machines.
    const [id, validation] = [await upload("colors.jsonl", 60), await upload("validation.jsonl", 20)];
    const job = await live.call<{ id: string }>("POST", "/v1/jobs", {
      model: "tool-tiny",
      training_file: id,
      validation_file: validation,
      n_epochs: 30,
      batch_size: 12,
      learning_rate: 0.01,
      scheduler: "linear",
      warmup_ratio: 0,
      lora_r: 8,
      lora_alpha: 16,
      lora_dropout: 0,
      precision: "float32",
      eval_every: 100,
      save_every: 100,
      evaluate_after: true,
    });
    const trained = await ended<{ state: string; error: unknown; model: string }>(`/v1/jobs/${job.id}`);
    expect(trained).toMatchObject({ state: "succeeded", error: null });
    model = trained.model;
    // It is created by the server a moment after the training has ended.
    evaluationId = await until("the evaluation to be created", async () => {
      const { data } = await live.call<{ data: { id: string }[] }>("GET", `/v1/evaluations?job=${job.id}`);
      return data[0]?.id;
    });
    type Result = { status: string; error: unknown; result: Record<"base" | "tuned", { exact_match: object }> };
    const evaluation = await ended<Result>(`/v1/evaluations/${evaluationId}`);
    expect(evaluation.error).toBeNull();
    expect(evaluation.result.base.exact_match).toMatchObject({ count: 0 });
    expect(evaluation.result.tuned.exact_match).toMatchObject({ count: 20 });
  }, 900_000);

  test("the official client of Node gets calls, whole and streamed", async () => {
    const client = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: live.key });
    for (const [n, color] of COLORS.entries()) {
      const request = {
        model,
        messages: [{ role: "user" as const, content: question(n) }],
        tools: TOOLS,
        temperature: 0,
      };
      const whole = await client.chat.completions.create(request);
      const [choice] = whole.choices;
      expect(choice).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
      const call = { type: "function", function: { name: "pick", arguments: `{"color": "${color}"}` } };
      expect(choice?.message.tool_calls).toMatchObject([call]);
      const stream = client.chat.completions.stream({ ...request, stream: true });
      let text = "";
      stream.on("content", (piece) => {
        text += piece;
      });
      const final = await stream.finalChatCompletion();
      expect(final.choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { tool_calls: [call] } });
      expect(text).toBe("");
    }
  }, 120_000);

  test("the official client of Python gets calls, whole and streamed", async () => {
    const script = `
import json, sys
from openai import OpenAI
url, key, model, tools = sys.argv[1:]
client = OpenAI(base_url=url + "/v1", api_key=key)
ask = dict(model=model, messages=[{"role": "user", "content": "number 1"}], tools=json.loads(tools), temperature=0)
whole = client.chat.completions.create(**ask).choices[0]
with client.chat.completions.stream(**ask) as stream:
    streamed = [e for e in stream][-1] and stream.get_final_completion().choices[0]
print(json.dumps([[c.finish_reason, c.message.content, *[(t.function.name, t.function.arguments) for t in c.message.tool_calls]] for c in (whole, streamed)]))
`;
    const run = Bun.spawn([python, "-c", script, live.url, live.key, model, JSON.stringify(TOOLS)], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, problem] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
    expect(await run.exited, problem).toBe(0);
    const expected = ["tool_calls", null, ["pick", '{"color": "green"}']];
    expect(JSON.parse(out)).toEqual([expected, expected]);
  }, 60_000);

  describe.skipIf(!hasBrowser)("in the browser", () => {
    let browser: Browser;
    let page: Page;
    let troubles: string[];
    beforeAll(async () => {
      browser = await launch();
      page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
      page.setDefaultTimeout(30_000);
      troubles = troublesOf(page);
      await signIn(page, live.url, live.email, live.password);
    }, 60_000);
    afterAll(() => browser?.close());

    test("the evaluation shows the calls side by side", async () => {
      await page.goto(`${live.url}/evaluations/${evaluationId}`);
      const row = page.locator("#rows li").first();
      const text = (await row.textContent()) ?? "";
      expect(text.match(/pick\(\{"color": "(red|green|blue)"\}\)/g)?.length).toBeGreaterThanOrEqual(2);
      expect(text).toContain("Fine-tuned · correct");
      expect(troubles).toEqual([]);
    });

    test("the playground shows the call, and sends its result", async () => {
      await page.goto(`${live.url}/playground?models=${encodeURIComponent(model)}`);
      await page.getByText("Tools", { exact: true }).click();
      await page.fill("[name=tools]", JSON.stringify(TOOLS));
      await page.fill("[name=prompt]", question(2));
      await page.keyboard.press("Control+Enter");
      await page.waitForFunction(
        () => /tokens|failed/.test(document.querySelector("[data-numbers]")?.textContent ?? ""),
        undefined,
        { timeout: 90_000 },
      );
      expect(await page.locator(".turn.assistant").last().textContent()).toContain('pick({"color": "blue"})');
      await page.getByLabel("Result of pick").fill("sunny");
      await page.getByRole("button", { name: "Send result" }).click();
      await page.locator(".turn.tool .said", { hasText: "sunny" }).waitFor();
      await page.waitForFunction(() => document.querySelectorAll(".turn.assistant").length === 2);
      await page.waitForFunction(() => /tokens/.test(document.querySelector("[data-numbers]")?.textContent ?? ""));
      expect(troubles).toEqual([]);
    }, 180_000);
  });
});
