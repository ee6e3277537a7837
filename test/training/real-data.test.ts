/**
 * Public datasets, each trained with the default method of its row type. Missing datasets are skipped by name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TrainSpec } from "../../src/contract/spec.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel } from "../support/tiny.ts";

/** See the README beside them. */
const DATA = join(import.meta.dir, "../../../shared/data");
const MAPPING = "mapping[prompt]=text&mapping[completion]=category";
const SETS: [file: string, method: string, query?: string][] = [
  ["alpaca_en_demo.json", "sft"],
  ["glaive_toolcall_en_demo.json", "sft"],
  ["v1_sft_demo.jsonl", "sft"],
  ["banking77-train.csv", "sft", MAPPING],
  ["banking77-test.csv", "sft", MAPPING],
  ["dpo_en_demo.json", "dpo"],
  ["v1_dpo_demo.jsonl", "dpo"],
  ["kto_en_demo.json", "kto"],
  ["c4_demo.jsonl", "pretrain"],
];

interface JobView {
  state: string;
  spec: TrainSpec;
  error: { message: string } | null;
  result: { steps: number; train_loss: number } | null;
}

describe.skipIf(trainerMissing !== null)("real data", () => {
  let live: Live;
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
  }, 60_000);
  afterAll(() => live.close());

  for (const [file, method, query] of SETS)
    test.skipIf(!existsSync(join(DATA, file)))(
      `${file} trains by ${method}, and nobody has to say so`,
      async () => {
        const answer = await fetch(`${live.url}/v1/datasets?filename=${file}${query ? `&${query}` : ""}`, {
          method: "POST",
          body: readFileSync(join(DATA, file)),
          headers: { authorization: `Bearer ${live.key}`, "content-type": "application/octet-stream" },
        });
        expect(answer.status).toBeLessThan(300);
        const dataset = (await answer.json()) as { id: string };
        const ready = await until("the data", async () => {
          const { version } = await live.call<{ version: { status: string; error: string | null } }>(
            "GET",
            `/v1/datasets/${dataset.id}`,
          );
          return version.status === "validating" ? null : version;
        });
        expect(ready).toMatchObject({ status: "ready" });
        const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", {
          model: "tiny",
          training_file: dataset.id,
          max_steps: 2,
          batch_size: 2,
          max_length: 256,
          evaluate_after: false,
        });
        const job = await until(
          "the run",
          async () => {
            const now = await live.call<JobView>("GET", `/v1/jobs/${id}`);
            return ["succeeded", "failed"].includes(now.state) ? now : null;
          },
          100_000,
        );
        expect([job.state, job.error?.message, job.spec.method.type]).toEqual(["succeeded", undefined, method]);
        expect(job.result?.steps).toBe(2);
        expect(Number.isFinite(job.result?.train_loss)).toBe(true);
      },
      150_000,
    );
});
