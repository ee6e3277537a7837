/** Runs python_client.py: OpenAI's own Python client against a real server and a real trainer. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Live, startLive, TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, SMOLLM2_MODEL, trainingLines } from "../support/tiny.ts";

const ROOT = join(import.meta.dir, "../..");

const python = join(TRAINER_ENV, "bin/python");
const hasClient = !trainerMissing && Bun.spawnSync([python, "-c", "import openai"]).exitCode === 0;
const skip = trainerMissing ?? (hasClient ? null : `no openai package in ${TRAINER_ENV}`);
let live: Live;

describe.skipIf(skip !== null)(`the openai package from PyPI${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive({ env: { FTL_PREPARED_MODELS: dirname(SMOLLM2_MODEL) } });
    await importTinyModel(live);
  }, 120_000);
  afterAll(() => live?.close());

  test("uploads, trains, lists, chats, refuses and deletes like the OpenAI API", async () => {
    const data = join(live.dir, "train.jsonl");
    writeFileSync(data, trainingLines(40));
    const run = Bun.spawn([python, join(import.meta.dir, "python_client.py"), live.url, live.key, data], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, problem] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
    expect(await run.exited, `${problem}\n${live.log().slice(-3000)}`).toBe(0);
    const said = JSON.parse(out.trim().split("\n").at(-1) ?? "{}");
    expect(said.model).toStartWith("ft:tiny:");
    expect(said.answers).toBeGreaterThan(15);
  }, 240_000);

  // Only the address and the key are replaced, and the model is copied from a prepared directory.
  test("the example of the README runs word for word on a server without models: the job installs its base model", async () => {
    const blocks = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/```python\n([\s\S]*?)```/g)];
    expect(blocks.length).toBe(1);
    const example = (blocks[0]?.[1] ?? "").replace("http://127.0.0.1:3900", live.url).replace("ftl-…", live.key);
    expect(await live.call("GET", "/v1/base_models/smollm2-135m-instruct")).toMatchObject({ status: "available" });
    const run = Bun.spawn([python, "-c", `${example}\nprint(job.id)`], {
      cwd: join(ROOT, "examples"),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, problem] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
    expect(await run.exited, problem).toBe(0);
    const id = out.trim();
    const messages = async () =>
      (await live.call<{ data: { message: string }[] }>("GET", `/v1/fine_tuning/jobs/${id}/events?limit=100`)).data.map(
        (one) => one.message,
      );
    const started = await until(
      "the training to start",
      async () => {
        const job = await live.call<{ state: string; error: { message: string } | null; progress: { phase?: string } }>(
          "GET",
          `/v1/jobs/${id}`,
        );
        if (job.state === "failed") throw new Error(job.error?.message);
        return job.progress.phase === "training" ? messages() : null;
      },
      180_000,
    );
    expect(started).toContain("Base model smollm2-135m-instruct installed");
    await live.call("POST", `/v1/fine_tuning/jobs/${id}/cancel`);
  }, 240_000);
});
