/**
 * OpenAI's own JavaScript client through a whole reinforcement job: prompts, a grader, and a real trainer whose answers
 * the server grades.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import OpenAI, { toFile } from "openai";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";
import { importTinyModel } from "../support/tiny.ts";

let live: Live;
let client: OpenAI;

describe.skipIf(trainerMissing !== null)(
  `reinforcement${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`,
  () => {
    beforeAll(async () => {
      live = await startLive();
      await importTinyModel(live);
      client = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: live.key });
    }, 120_000);
    afterAll(() => live?.close());

    test("a reinforcement job is trained on answers its grader rewarded", async () => {
      const rows = Array.from({ length: 16 }, (_, i) =>
        JSON.stringify({ messages: [{ role: "user", content: `Number ${i}, please` }], letter: "e" }),
      );
      const file = await client.files.create({
        file: await toFile(Buffer.from(rows.join("\n")), "prompts.jsonl"),
        purpose: "fine-tune",
      });
      await client.files.waitForProcessing(file.id, { pollInterval: 100 });
      const grader = {
        ...({ type: "string_check", name: "has the letter", operation: "like" } as const),
        input: "{{sample.output_text}}",
        reference: "{{item.letter}}",
      };
      const request = {
        model: "tiny",
        training_file: file.id,
        seed: 7,
        method: {
          type: "reinforcement",
          reinforcement: {
            grader,
            hyperparameters: { n_epochs: 8, batch_size: 4, compute_multiplier: 1, eval_interval: 2 },
          },
        },
        ftl: { max_completion_length: 6, max_steps: 3 },
      } as const;
      const job = await client.fineTuning.jobs.create(request);
      expect(job.method?.reinforcement?.grader).toEqual(grader);
      const done = await until(
        `job ${job.id} to end`,
        async () => {
          const now = await client.fineTuning.jobs.retrieve(job.id);
          return ["succeeded", "failed", "cancelled"].includes(now.status) ? now : null;
        },
        120_000,
        200,
      );
      expect(contractMissing ? [] : contractProblems("FineTuningJob", done)).toEqual([]);
      expect([done.error?.message ?? null, done.status]).toEqual([null, "succeeded"]);
      const checkpoints = await client.fineTuning.jobs.checkpoints.list(job.id);
      const [newest] = checkpoints.data;
      expect(newest?.step_number).toBe(3);
      expect(newest?.metrics).toMatchObject({ train_mean_reward: expect.any(Number) });
      const answer = await fetch(`${live.url}/v1/jobs/${job.id}/metrics?keys=train/reward,train/grader_errors`, {
        headers: { authorization: `Bearer ${live.key}` },
      });
      const { series } = (await answer.json()) as { series: Record<string, { points: [number, number][] }> };
      // Most answers of a random model contain an e; eight times four answers per step were graded.
      const rewards = series["train/reward"]?.points.map((point) => point[1]) ?? [];
      expect(rewards.length).toBe(3);
      for (const reward of rewards) expect([reward > 0.2, reward <= 1, (reward * 32) % 1]).toEqual([true, true, 0]);
      expect(series["train/grader_errors"]?.points.map((point) => point[1])).toEqual([0, 0, 0]);
    }, 120_000);
  },
);
