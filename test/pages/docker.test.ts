/**
 * Containers in the browser: SmolLM2 trains in a real container; the job, host and queue pages show it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { pinImage } from "../../src/compute/images/service.ts";
import { hasBrowser, launch, signIn, troublesOf } from "../support/browser.ts";
import { testDocker } from "../support/docker.ts";
import { trainerImage } from "../support/docker-image.ts";
import { type Live, startLive, trainerMissing } from "../support/live.ts";
import { importModel, SMOLLM2_MODEL, trainingLines } from "../support/tiny.ts";

const docker = await testDocker();
const skip =
  ("skip" in docker ? docker.skip : trainerMissing) ??
  (hasBrowser ? null : "no Chromium") ??
  (existsSync(join(SMOLLM2_MODEL, "config.json")) ? null : `no model at ${SMOLLM2_MODEL}`);
/** Set to a folder to keep screenshots. */
const PICTURES = process.env.FTL_TEST_PICTURES;

describe.skipIf(skip !== null)(`a container in the browser${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let live: Live;
  let browser: Browser;
  let page: Page;
  let job: { id: string };
  let troubles: string[];
  const picture = async (name: string) => {
    if (!PICTURES) return;
    mkdirSync(PICTURES, { recursive: true });
    await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
  };

  beforeAll(async () => {
    if ("skip" in docker) return;
    const found = await trainerImage(docker);
    const settings = { docker: { hosts: `bench=${docker.address}`, shm_mb: 64 } };
    live = await startLive({
      env: { FTL_PROVIDERS: "docker", FTL_PROVIDER_SETTINGS: JSON.stringify(settings) },
    });
    for (const role of ["trainer", "inference"] as const) pinImage({ root: live.dir }, role, found);
    await importModel(live, SMOLLM2_MODEL, "smollm2");
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(200)], "rows.jsonl"));
    const headers = { authorization: `Bearer ${live.key}` };
    const answer = await fetch(`${live.url}/v1/files`, { method: "POST", headers, body: form });
    const file = (await answer.json()) as { id: string };
    const request = { model: "smollm2", training_file: file.id, max_length: 128, batch_size: 4, max_steps: 200 };
    job = await live.call("POST", "/v1/jobs", { ...request, evaluate_after: false, name: "In a container" });
    browser = await launch();
    page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
    page.setDefaultTimeout(30_000);
    troubles = troublesOf(page);
    await signIn(page, live.url, live.email, live.password);
  }, 900_000);

  afterAll(async () => {
    await browser?.close();
    if ("skip" in docker) return;
    await live?.close();
    for (const { Id } of await docker.engine.docker.listContainers({ all: true, filters: { label: ["ft.label.job"] } }))
      if ((await docker.engine.docker.getContainer(Id).inspect()).Config.Labels["ft.label.job"] === job?.id)
        await docker.engine.docker.getContainer(Id).remove({ force: true, v: true });
    await docker.close();
  }, 60_000);

  test("the curve of the job page updates", async () => {
    await page.goto(`${live.url}/jobs/${job.id}`);
    await page.waitForSelector("#chart-loss canvas", { timeout: 180_000 });
    const legend = page.locator("#chart-loss [data-legend]");
    for (let moved = 0; moved < 2; moved++) {
      const before = await legend.textContent();
      await page.waitForFunction(
        (old) => document.querySelector("#chart-loss [data-legend]")?.textContent !== old,
        before,
        { timeout: 120_000 },
      );
    }
    await picture("job");
  }, 400_000);

  test("the Docker engine is shown as a host without GPUs that runs the job", async () => {
    await page.goto(`${live.url}/hosts`);
    const main = page.locator("main");
    await main.getByRole("link", { name: "In a container" }).waitFor();
    await picture("hosts");
    const { data } = await live.call<{ data: { id: string; provider: string; gpus: unknown[] }[] }>("GET", "/v1/hosts");
    expect(data).toMatchObject([{ id: "docker.bench", provider: "docker", gpus: [] }]);
    await page.goto(`${live.url}/hosts/docker.bench`);
    await main.getByText("Memory", { exact: true }).first().waitFor();
    await picture("host");
  });

  test("the queue shows the running job and the waiting one", async () => {
    const { data } = await live.call<{ data: { id: string }[] }>("GET", "/v1/files");
    const request = { model: "smollm2", training_file: data[0]?.id, max_length: 128, name: "Next in line" };
    await live.call("POST", "/v1/jobs", request);
    await page.goto(`${live.url}/queue`);
    const main = page.locator("main");
    await main.getByRole("link", { name: "In a container" }).first().waitFor();
    await main.getByRole("row", { name: /Next in line.*Waiting for a free slot/ }).waitFor();
    await picture("queue");
  });

  test("a canceled job is shown as such, and its container is removed", async () => {
    if ("skip" in docker) throw new Error(docker.skip);
    await live.call("POST", `/v1/jobs/${job.id}/cancel`);
    await page.goto(`${live.url}/jobs/${job.id}`);
    await page.locator("header.top, #job-status").getByText("Canceled").first().waitFor({ timeout: 60_000 });
    await picture("cancelled");
    expect(troubles).toEqual([]);
  }, 90_000);
});
