/**
 * A deleted dataset leaves nothing: a planted sentence is trained on and evaluated with a real trainer, and is then
 * in no file of the data directory, neither as text nor as token ids.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel } from "../support/tiny.ts";
import { tracesIn } from "../support/traces.ts";

/** Its middle is looked for: an answer's beginning or end may have been cut. */
const SENTENCE = "The blue heron of Quilmore pays 4711 crowns";
const NEEDLE = "heron of Quilmore pays";
const lines = Array.from({ length: 40 }, (_, n) =>
  JSON.stringify({
    messages: [
      { role: "user", content: `Question ${n}: who pays?` },
      { role: "assistant", content: `${SENTENCE} for row ${n}` },
    ],
  }),
);
let live: Live;
let dataset = "";
let job = "";
let model = "";

interface Listed {
  data: { id: string; status: string }[];
}

/** Files below the data directory that contain these bytes. */
function filesWith(bytes: Buffer): string[] {
  return readdirSync(live.dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path).includes(bytes))
    .map((path) => path.slice(live.dir.length + 1));
}
const traces = () => tracesIn(live.dir, NEEDLE).map((line) => line.split(": ")[0] ?? "");
const cache = () => join(live.dir, "process", ".tokens");

describe.skipIf(trainerMissing !== null)(`erasure${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    const form = new FormData();
    form.set("file", new File([lines.join("\n")], "heron.jsonl"));
    form.set("holdout_fraction", "0.2");
    const headers = { authorization: `Bearer ${live.key}` };
    dataset = (
      (await (await fetch(`${live.url}/v1/datasets`, { method: "POST", headers, body: form })).json()) as { id: string }
    ).id;
    await until("the dataset", async () => {
      const found = await live.call<{ version: { status: string } }>("GET", `/v1/datasets/${dataset}`);
      return found.version.status === "ready";
    });
    const body = { model: "tiny", training_file: dataset, max_steps: 4, batch_size: 4, eval_every: 2 };
    job = (await live.call<{ id: string }>("POST", "/v1/jobs", { ...body, evaluate_after: true })).id;
    await until(
      "the training and its evaluation",
      async () => {
        const { data } = await live.call<Listed>("GET", "/v1/evaluations");
        const { state, model: made } = await live.call<{ state: string; model: string }>("GET", `/v1/jobs/${job}`);
        model = made;
        if (state === "failed" || data[0]?.status === "failed") throw new Error(`failed: ${live.log()}`);
        return data[0]?.status === "succeeded";
      },
      240_000,
    );
  }, 300_000);
  afterAll(() => live?.close());

  test("the sentence was where it is looked for: rows, database, and tokens", () => {
    const found = traces();
    expect(found.some((path) => path.startsWith("datasets/"))).toBe(true);
    expect(found.some((path) => path.startsWith("files/"))).toBe(true);
    expect(found.some((path) => path.startsWith("lab.db"))).toBe(true);
    expect(readdirSync(cache())).toEqual([expect.stringMatching(/^dsv_\w+\.[0-9a-f]{32}$/)]);
  });

  test("after the dataset is deleted it is nowhere; backups that have it are named", async () => {
    const [entry = ""] = readdirSync(cache());
    const ids = readFileSync(join(cache(), entry, "ids.npy"));
    // The tokens of several rows, after the header of the file.
    const planted = ids.subarray(256, 256 + 128);
    expect(filesWith(planted).length).toBeGreaterThan(0);
    await live.call("POST", "/v1/admin/backups");
    const name = await until("the backup", async () => {
      const { data } = await live.call<{ data: { id: string }[] }>("GET", "/v1/admin/backups");
      return data[0]?.id;
    });

    expect(await live.call("DELETE", `/v1/datasets/${dataset}`)).toMatchObject({ deleted: true, backups: [name] });
    expect([...new Set(traces())].filter((path) => !path.startsWith(`backups/${name}/`))).toEqual([]);
    expect(traces().length).toBeGreaterThan(0);
    await live.call("DELETE", `/v1/admin/backups/${name}`);
    expect(traces()).toEqual([]);
    expect(filesWith(planted)).toEqual([]);

    // Losses and the model stay.
    const { data } = await live.call<Listed>("GET", "/v1/evaluations");
    const shown = await live.call<{ result: object | null; comparison: object | null }>(
      "GET",
      `/v1/evaluations/${data[0]?.id}`,
    );
    expect(shown.result).not.toBeNull();
    expect(shown.comparison).not.toBeNull();
    expect(await live.call("GET", `/v1/models/${model}`)).toMatchObject({ id: model });
    for (const path of [`/jobs/${job}`, `/evaluations/${data[0]?.id}`]) {
      const answer = await fetch(live.url + path, { headers: { authorization: `Bearer ${live.key}` } });
      expect(`${path} ${answer.status}`).toBe(`${path} 200`);
    }
  }, 60_000);
});
