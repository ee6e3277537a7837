/**
 * Two more methods in a real browser with a real trainer: DPO on preference pairs, and QLoRA on conversations; each
 * evaluated before and after.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { hasBrowser, launch, signIn, troublesOf } from "../support/browser.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = trainerMissing ?? (hasBrowser ? null : "no Chromium");
let live: Live;
let browser: Browser;
let page: Page;
let troubles: string[];

const TOPICS = ["a stolen card", "a late transfer", "the opening hours", "a lost password", "a strange fee"];
/** `n` pairs in OpenAI's form: the plain answer is preferred over the exaggerated one. */
const pairLines = (n: number) =>
  Array.from({ length: n }, (_, i) => {
    const topic = TOPICS[i % TOPICS.length];
    return JSON.stringify({
      input: { messages: [{ role: "user", content: `Case ${i}: who helps me with ${topic}?` }] },
      preferred_output: [{ role: "assistant", content: `The desk for ${topic}.` }],
      non_preferred_output: [{ role: "assistant", content: `Wow! What a great question about ${topic}!!!` }],
    });
  }).join("\n");

async function upload(name: string, lines: string): Promise<void> {
  writeFileSync(join(live.dir, name), `${lines}\n`);
  await page.goto(`${live.url}/datasets`);
  await page.setInputFiles("#upload-file", join(live.dir, name));
  await page.waitForURL(/\/datasets\/ds_/);
  await page.getByText("Ready", { exact: true }).first().waitFor();
  await page.locator("#next a.primary").click();
  await page.waitForURL(/\/jobs\/new/);
}

/** Sets hyperparameters, starts the job and waits for its end. */
async function train(numbers: Record<string, string>, choices: Record<string, string> = {}): Promise<void> {
  await page.click("details:has([name=max_steps]) > summary");
  for (const [name, value] of Object.entries(numbers)) await page.fill(`[name=${name}]`, value);
  for (const [name, value] of Object.entries(choices)) await page.selectOption(`[name=${name}]`, value);
  await page.locator("#plan dl").first().waitFor();
  await page.click("#job-form button.primary:not([formaction])");
  await page.waitForURL(/\/jobs\/ftjob-/);
  const id = new URL(page.url()).pathname.split("/")[2];
  const ended = await until(
    "the job to end",
    async () => {
      const job = await live.call<{ state: string; error: unknown }>("GET", `/v1/jobs/${id}`);
      return ["succeeded", "failed", "cancelled"].includes(job.state) ? job : null;
    },
    480_000,
    500,
  );
  expect(ended).toMatchObject({ state: "succeeded", error: null });
  await page.locator("header.top, #job-status").getByText("Succeeded").first().waitFor();
}

const metrics = async (key: string): Promise<number[]> => {
  const id = new URL(page.url()).pathname.split("/")[2];
  const { series } = await live.call<{ series: Record<string, { points: [number, number][] }> }>(
    "GET",
    `/v1/jobs/${id}/metrics?keys=${key}`,
  );
  return (series[key]?.points ?? []).map(([, value]) => value);
};

/** The text of the before-and-after panel, once the evaluation has finished. */
async function outcome(): Promise<string> {
  await page.locator("#job-outcome .before-after").waitFor({ timeout: 240_000 });
  return (await page.locator("#job-outcome .before-after").textContent()) ?? "";
}

describe.skipIf(skip !== null)(`methods in the browser${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    browser = await launch();
    page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
    page.setDefaultTimeout(30_000);
    troubles = troublesOf(page);
    await signIn(page, live.url, live.email, live.password);
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await live?.close();
  });

  test("DPO on preference pairs raises the share of preferred answers", async () => {
    await upload("pairs.jsonl", pairLines(48));
    await page.locator("label:has([name=method])", { hasText: "(DPO)" }).waitFor();
    expect(await page.locator("[name=method][value=sft]").count()).toBe(0);
    await train({ max_steps: "30", batch_size: "4", learning_rate: "0.005", eval_every: "30", save_every: "30" });
    await page.locator("#chart-train-reward-accuracy canvas").waitFor();
    const [first, last] = [(await metrics("train/loss")).at(0), (await metrics("train/loss")).at(-1)];
    expect(first).toBeCloseTo(Math.LN2, 2); // model and reference are identical at the start
    expect(last).toBeLessThan(0.4);
    expect((await metrics("train/reward_margin")).at(-1)).toBeGreaterThan(0.5);
    const [, before, after] = /Preference accuracy(\d+)% before, after (\d+)%/.exec(await outcome()) ?? [];
    expect(Number(after)).toBe(100);
    expect(Number(before)).toBeLessThanOrEqual(100);
  }, 900_000);

  test("QLoRA trains on conversations with a 4-bit base model", async () => {
    await upload("bank.jsonl", trainingLines(60));
    await page.locator("label:has([name=method])", { hasText: /Supervised/ }).waitFor();
    await train(
      { max_steps: "60", batch_size: "4", learning_rate: "0.02", eval_every: "60", save_every: "60" },
      { quantization: "nf4" },
    );
    await page.getByText(/nf4/).first().waitFor();
    const losses = await metrics("train/loss");
    // The weights of the tiny model are random: it learns a little.
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) - 0.3);
    const [, before, after] = /Token accuracy([\d.]+)% before, after ([\d.]+)%/.exec(await outcome()) ?? [];
    expect(Number(after)).toBeGreaterThan(Number(before) + 20);
  }, 900_000);

  test("no script errors and no policy violations", () => {
    expect(troubles).toEqual([]);
  });
});
