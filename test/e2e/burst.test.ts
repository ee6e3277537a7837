/**
 * The main workflow on rented machines, in a real browser: a pod of the fake RunPod and a machine of the fake Lambda
 * are real trainer processes that call home over TLS. RunPod takes its pod back in mid-run; the job resumes at Lambda,
 * is evaluated there, and its model answers on this machine.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { systemClock } from "../../src/lib/clock.ts";
import { hasBrowser, launch, troublesOf } from "../support/browser.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { bootOf } from "../support/fake-cloud/boot.ts";
import { FakeCloud, type Machine } from "../support/fake-cloud/core.ts";
import { serveCloud } from "../support/fake-cloud/server.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";
import { freePort, type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = trainerMissing ?? (hasBrowser ? null : "no Chromium");
/** What RunPod gives a pod between its notice and its end. */
const NOTICE_S = 20;

interface JobView {
  state: string;
  error: unknown;
}

describe.skipIf(skip !== null)(`the main workflow on rented machines${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let certificates: Certificates;
  let live: Live;
  let browser: Browser;
  let page: Page;
  let troubles: string[];
  let root: string;
  let jobId = "";
  const clouds: Record<string, FakeCloud> = {};
  const served: Awaited<ReturnType<typeof serveCloud>>[] = [];
  const cloud = (vendor: string) => clouds[vendor] as FakeCloud;
  const inUse = (vendor: string) => cloud(vendor).alive()[0];

  beforeAll(async () => {
    certificates = makeCertificates();
    root = mkdtempSync(join(tmpdir(), "ftl-burst-"));
    const settings: Record<string, Record<string, unknown>> = {};
    for (const [vendor, { dialect, config }] of Object.entries(VENDORS)) {
      const fake = new FakeCloud(
        { ...dialect, bootMs: 200, endMs: 100 },
        { clock: systemClock, onBoot: bootOf(vendor, root) },
      );
      const address = await serveCloud(fake);
      clouds[vendor] = fake;
      served.push(address);
      settings[vendor] = { ...config, api_url: address.url, api_key: fake.account.apiKey };
    }
    settings.runpod = { ...settings.runpod, spot: true };
    const port = await freePort();
    live = await startLive({
      env: {
        FTL_PROVIDERS: "process,runpod,lambda",
        FTL_PROVIDER_SETTINGS: JSON.stringify(settings),
        // Trainings have no room here; endpoints do.
        FTL_TRAIN_SLOTS: "0",
        FTL_TRAINER_LISTEN: `127.0.0.1:${port}`,
        FTL_TRAINER_CERT_FILE: certificates.chainFile,
        FTL_TRAINER_KEY_FILE: certificates.keyFile,
        FTL_TRAINER_URL: `https://127.0.0.1:${port}`,
        FTL_TRAINER_FINGERPRINT: certificates.ca,
        FTL_LISTEN_TRAINERS: "false",
      },
    });
    await importTinyModel(live);
    browser = await launch();
    page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
    page.setDefaultTimeout(30_000);
    troubles = troublesOf(page);
    await page.goto(`${live.url}/login`);
    await page.fill("[name=email]", live.email);
    await page.fill("[name=password]", live.password);
    await page.locator("form[action^='/login'] button.primary").click();
    await page.waitForURL(`${live.url}/`);
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    for (const one of served) await one.stop();
    await live?.close();
    certificates?.remove();
    if (root) rmSync(root, { recursive: true, force: true });
  });

  test("the plan shows what RunPod and Lambda ask, and the job starts on a spot pod", async () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(120)], "bank.jsonl"));
    const headers = { authorization: `Bearer ${live.key}` };
    const answer = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
    const { id: file } = (await answer.json()) as { id: string };
    await until("the rows", async () => (await live.call("GET", `/v1/files/${file}`)).status === "processed");
    const sets = await live.call<{ data: { id: string }[] }>("GET", "/v1/datasets");
    await page.goto(`${live.url}/datasets/${sets.data[0]?.id}`);
    await page.locator("#next a.primary").click();
    await page.waitForURL(/\/jobs\/new/);
    await page.locator("#plan", { hasText: "RunPod" }).waitFor();
    await page.locator("#plan", { hasText: "Lambda" }).first().waitFor();
    await page.locator("#job-form button.primary:not([formaction])").click();
    await page.waitForURL(/\/jobs\/ftjob-/);
    jobId = page.url().split("/").at(-1) ?? "";
    await until("the pod", async () => inUse("runpod"), 60_000);
    expect(inUse("runpod")?.spot).toBe(true);
    expect(cloud("lambda").alive()).toEqual([]);
  }, 120_000);

  test("the curve moves while the trainer runs elsewhere", async () => {
    await page.waitForSelector("#chart-loss canvas", { timeout: 120_000 });
  }, 130_000);

  test("RunPod takes the pod back: the job saves a checkpoint and resumes at Lambda", async () => {
    const pod = inUse("runpod") as Machine;
    cloud("runpod").faults.chaos({ no_capacity: 1 });
    cloud("runpod").preempt(pod.id, NOTICE_S);
    await until("the machine at Lambda", async () => inUse("lambda"), 240_000);
    await until("the pod to be deleted", async () => cloud("runpod").alive().length === 0, 60_000);
    const done = await until(
      "the end of the job",
      async () => {
        const now = await live.call<JobView>("GET", `/v1/jobs/${jobId}`);
        if (["failed", "cancelled"].includes(now.state)) throw new Error(JSON.stringify(now.error));
        return now.state === "succeeded" ? now : null;
      },
      240_000,
      500,
    );
    expect(done.state).toBe("succeeded");
    const { data } = await live.call<{ data: { provider: string; outcome: string }[] }>(
      "GET",
      `/v1/jobs/${jobId}/attempts`,
    );
    // RunPod is asked again, up to its rate limit, where Lambda's offers come late.
    const ran = data.filter(({ outcome }) => !["no_capacity", "launch_refused"].includes(outcome));
    expect(ran.map(({ provider, outcome }) => [provider, outcome])).toEqual([
      ["runpod", expect.stringMatching(/^(interrupted|preempted)$/)],
      ["lambda", "succeeded"],
    ]);
  }, 600_000);

  test("the model is evaluated there, deployed here, and answers", async () => {
    await page.reload();
    await page.locator("form[action='/deployments'] button.primary").first().click();
    await page.waitForURL(/\/deployments\/dep_/);
    await page.locator("header.top a.primary[href^='/playground']").first().click();
    await page.waitForURL(/\/playground/);
    await page.fill("[name=prompt]", "My card was stolen");
    await page.locator("[data-playground] button.primary").click();
    await page.waitForFunction(
      () => /\d+ tokens/.test(document.querySelector("[data-numbers]")?.textContent ?? ""),
      undefined,
      { timeout: 120_000 },
    );
    const evaluations = await live.call<{ data: { status: string }[] }>("GET", "/v1/evaluations");
    expect(evaluations.data.length).toBeGreaterThan(0);
  }, 240_000);

  test("no machine is left at either vendor, and each has its cost", async () => {
    await until("both vendors to be empty", async () => !inUse("runpod") && !inUse("lambda"), 120_000);
    expect(cloud("runpod").cost()).toBeGreaterThan(0);
    expect(cloud("lambda").cost()).toBeGreaterThan(0);
    expect(troubles).toEqual([]);
  }, 130_000);
});
