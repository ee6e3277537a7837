/**
 * `quickstart` as a user runs it, with a tiny model so that it takes seconds: on a server that runs, and starting one
 * of its own.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Live, processesOf, startLive, TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { PROGRAM } from "../support/program.ts";
import { importTinyModel, TINY_MODEL } from "../support/tiny.ts";

const skip = trainerMissing ?? (existsSync(join(TINY_MODEL, "config.json")) ? null : `no tiny model at ${TINY_MODEL}`);
const KEYS = [
  "base_url",
  "page_url",
  "api_key",
  "base_model",
  "model",
  "dataset_id",
  "job_id",
  "before",
  "after",
  "seconds",
];

interface Result {
  base_url: string;
  page_url: string;
  api_key: string;
  base_model: string;
  model: string;
  job_id: string;
  before: { rows: number; loss: number };
  after: { rows: number; loss: number };
}

const INTENTS = ["card_lost", "balance", "loan", "address"];
/** Forty rows with the columns of a well-known intent data set. */
const csv = () =>
  [
    "text,category",
    ...Array.from({ length: 40 }, (_, i) => `"Message ${i}, about my ${INTENTS[i % 4]}",${INTENTS[i % 4]}`),
  ].join("\n");

describe.skipIf(skip !== null)(`quickstart${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let live: Live;
  let data: string;
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    data = join(live.dir, "rows.csv");
    writeFileSync(data, `${csv()}\n`);
  }, 120_000);
  afterAll(() => live?.close(), 60_000);

  async function run(...args: string[]): Promise<{ code: number; result: Result; err: string }> {
    const argv = [...PROGRAM, "quickstart", "--json", "--no-keep", "--data-dir", live.dir, "--model", "tiny", ...args];
    const env = { PATH: process.env.PATH ?? "", HOME: live.dir, FTL_TRAINER_ENV: TRAINER_ENV };
    const child = Bun.spawn(argv, { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    const code = await child.exited;
    if (code !== 0) throw new Error(`exit code ${code}\n${err}\n${live.log().slice(-2000)}`);
    return { code, err, result: JSON.parse(out.trim().split("\n").at(-1) ?? "") as Result };
  }

  test("uses the server that runs, maps the columns of CSV, trains, compares, serves and answers", async () => {
    const { result, err } = await run("--data", data, "--max-steps", "4");
    expect(Object.keys(result)).toEqual(expect.arrayContaining(KEYS));
    expect(result.base_url).toBe(`${live.url}/v1`);
    expect(result.page_url).toBe(`${live.url}/jobs/${result.job_id}`);
    expect(result.base_model).toBe("tiny");
    expect(result.model).toStartWith("ft:tiny:");
    expect(result.before.rows).toBe(4);
    expect(result.after.loss).toBeLessThan(result.before.loss);
    expect(err).toContain("text is the prompt");
    expect(err).toContain("36 for training, 4 for validation");
    expect(err).toMatch(/answered /);
    const models = await fetch(`${result.base_url}/models`, { headers: { authorization: `Bearer ${result.api_key}` } });
    expect(JSON.stringify(await models.json())).toContain(result.model);
    // The server was there before and stays.
    expect((await fetch(`${live.url}/healthz`)).ok).toBe(true);
  }, 400_000);

  test("starts a server of its own on the same data, and leaves nothing running with --no-keep", async () => {
    process.kill(live.pid(), "SIGTERM");
    while (await fetch(`${live.url}/healthz`).catch(() => null)) await Bun.sleep(50);
    const { result, err } = await run("--data", data, "--max-steps", "3", "--listen", "127.0.0.1:0");
    expect(result.base_url).not.toStartWith(live.url);
    expect(err).toContain("Done in");
    expect(await fetch(`${result.base_url}/models`).catch(() => null)).toBeNull();
    // Endpoints that both runs made sleep, and so have no process; a moment for the last one to be reaped.
    const gone = async () => processesOf(live.dir).length === 0;
    await until("the last process to end", gone, 10_000).catch(() => null);
    const left = processesOf(live.dir).map((pid) =>
      Bun.spawnSync(["ps", "-o", "args=", "-p", String(pid)]).stdout.toString(),
    );
    expect(left).toEqual([]);
  }, 400_000);
});
