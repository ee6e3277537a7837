/** Runs python_client.py: OpenAI's own Python client against a real server and a real trainer. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Live, startLive, TRAINER_ENV, trainerMissing } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const python = join(TRAINER_ENV, "bin/python");
const hasClient = !trainerMissing && Bun.spawnSync([python, "-c", "import openai"]).exitCode === 0;
const skip = trainerMissing ?? (hasClient ? null : `no openai package in ${TRAINER_ENV}`);
let live: Live;

describe.skipIf(skip !== null)(`the openai package from PyPI${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
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
});
