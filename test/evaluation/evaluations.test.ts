/** Evaluations over HTTP: created by hand and after training, compared by rows, read side by side. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import type { EvaluateResult, EvaluateSpec, SideScore } from "../../src/contract/spec.ts";
import { dataset, datasetVersion } from "../../src/db/schema/datasets.ts";
import { answer, evaluation } from "../../src/db/schema/evaluations.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { startEvaluations, sweepEvaluations } from "../../src/evaluation/sweep.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { until } from "../support/live.ts";
import { insertTuned, readyBase } from "../support/models.ts";

let t: TestApp;
beforeEach(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
});
afterEach(() => t.close());

const noModel = () => Promise.reject(new Error("no grader of these tests asks a model"));
const interval = { mean: 0.5, low: 0.4, high: 0.6 };
const score: SideScore = {
  rows: 20,
  tokens: 100,
  loss: interval,
  perplexity: 1.6,
  token_accuracy: interval,
  exact_match: { ...interval, count: 10 },
};
const result: EvaluateResult = { base: score, tuned: score };

type Row = {
  row_id: number;
  base: { output: string; exact: boolean };
  tuned: { output: string; exact: boolean } | null;
};
type View = {
  id: string;
  job_id: string;
  status: string;
  comparison: { verdict: string; fixed: number; broken: number; sentence: string } | null;
};

/** Stores answers; `right` has for each row the sides that match exactly. */
async function insertAnswers(jobId: string, right: [base: boolean, tuned: boolean][]) {
  const rows = right.flatMap(([base, tuned], rowId) =>
    (["base", "tuned"] as const).map((side) => ({
      jobId,
      rowId,
      side,
      prompt: [{ role: "user", content: `question ${rowId}` }],
      expected: "yes",
      output: (side === "base" ? base : tuned) ? "yes" : `no, says ${side}`,
      exact: side === "base" ? base : tuned,
      loss: side === "base" ? 2 : 0.5,
      tokenAccuracy: 0.5,
      tokens: 5,
    })),
  );
  await t.ctx.write((tx) => tx.insert(answer).values(rows));
}

async function finish(jobId: string) {
  await t.ctx.write((tx) =>
    tx
      .update(job)
      .set({ state: "succeeded", result: { ...result }, finishedAt: t.ctx.clock.now() })
      .where(eq(job.id, jobId)),
  );
  await Promise.all(await sweepEvaluations(t.ctx, noModel));
}

describe("after training", () => {
  test("a job that requests one gets exactly one, with its own data, checkpoint and settings", async () => {
    const stop = startEvaluations(t.ctx, noModel);
    const { jobId, id, checkpoints } = await insertTuned(t.ctx, t.orgs.a, { spec: { evaluate_after: true } });
    t.ctx.bus.emit("job.changed", { org: t.orgs.a, jobId, kind: "train", state: "succeeded" });
    t.ctx.bus.emit("job.changed", { org: t.orgs.a, jobId, kind: "train", state: "succeeded" });
    const list = () => t.json<{ data: View[] }>("GET", `/v1/evaluations?job=${jobId}`);
    const made = await until("the evaluation", async () => (await list()).data[0]);
    await sweepEvaluations(t.ctx, noModel);
    expect((await list()).data.length).toBe(1);
    const [row] = await t.ctx.db.select().from(job).where(eq(job.id, made.job_id));
    expect(row).toMatchObject({ kind: "evaluate", state: "queued", parentId: jobId, createdBy: "system" });
    const spec = row?.spec as EvaluateSpec;
    expect(spec).toMatchObject({
      split: "holdout",
      max_rows: 10,
      max_new_tokens: 32,
      precision: "float32",
      seed: 7,
      dataset: { version_id: "dsv_t" },
    });
    expect(spec.tuned).toEqual({
      model: id,
      checkpoint_id: checkpoints[1]?.id ?? "",
      artifact_id: checkpoints[1]?.artifactId ?? "",
    });
    stop();
  });

  test("a stop between job and evaluation row does not create a second job", async () => {
    const { jobId } = await insertTuned(t.ctx, t.orgs.a, { spec: { evaluate_after: true } });
    await sweepEvaluations(t.ctx, noModel);
    await t.ctx.write((tx) => tx.delete(evaluation));
    await sweepEvaluations(t.ctx, noModel);
    const jobs = await t.ctx.db.select().from(job).where(eq(job.parentId, jobId));
    const rows = await t.ctx.db.select().from(evaluation);
    expect([jobs.length, rows.map((row) => row.jobId)]).toEqual([1, [jobs[0]?.id ?? ""]]);
  });

  test("nothing is created when it is not requested or there are no validation rows", async () => {
    await insertTuned(t.ctx, t.orgs.a, { spec: { evaluate_after: false } });
    const dataset = {
      dataset_id: "ds_t",
      version_id: "dsv_t",
      file_id: null,
      hash: "h",
      train_rows: 9,
      holdout_rows: 0,
    };
    await insertTuned(t.ctx, t.orgs.a, { spec: { evaluate_after: true, dataset } });
    await sweepEvaluations(t.ctx, noModel);
    expect(await t.ctx.db.select().from(evaluation)).toEqual([]);
  });
});

describe("the outcome", () => {
  test("is computed from the rows and shown with both scores when the job is done", async () => {
    const { jobId } = await insertTuned(t.ctx, t.orgs.a);
    const made = await t.json<View>("POST", "/v1/evaluations", { body: { job: jobId, max_rows: 10 } });
    expect(made).toMatchObject({ object: "evaluation", status: "queued", result: null, comparison: null });
    await insertAnswers(
      made.job_id,
      Array.from({ length: 20 }, (_, n) => [n < 2, n !== 1 && n < 18]),
    );
    await finish(made.job_id);
    const done = await t.json<View>("GET", `/v1/evaluations/${made.id}`);
    expect(done).toMatchObject({
      status: "succeeded",
      result: { base: { rows: 20 } },
      comparison: {
        rows: 20,
        fixed: 16,
        broken: 1,
        both_right: 1,
        both_wrong: 2,
        verdict: "better",
        decided_by: "exact_match",
      },
    });
    expect(done.comparison?.sentence).toStartWith(
      "Better: 17 of 20 answers match exactly after fine-tuning, 2 before (+75.0 points",
    );
  });

  test("rows are filtered, ordered and paged", async () => {
    const { jobId } = await insertTuned(t.ctx, t.orgs.a);
    const made = await t.json<View>("POST", "/v1/evaluations", { body: { job: jobId } });
    await insertAnswers(made.job_id, [
      [false, true],
      [true, false],
      [true, true],
      [false, false],
      [false, true],
    ]);
    const rows = (query: string) =>
      t.json<{ data: Row[]; has_more: boolean; last_id: string }>("GET", `/v1/evaluations/${made.id}/rows${query}`);
    const ids = async (filter: string) => (await rows(`?filter=${filter}`)).data.map((row) => row.row_id);
    expect(await ids("all")).toEqual([0, 1, 2, 3, 4]);
    expect(await ids("fixed")).toEqual([0, 4]);
    expect(await ids("broken")).toEqual([1]);
    expect(await ids("both_right")).toEqual([2]);
    expect(await ids("both_wrong")).toEqual([3]);
    expect(await ids("changed")).toEqual([0, 1, 3, 4]);
    const first = await rows("?limit=3");
    const rest = await rows(`?limit=3&after=${first.last_id}`);
    expect([first.has_more, rest.has_more, rest.data.map((row) => row.row_id)]).toEqual([true, false, [3, 4]]);
    expect(first.data[0]).toMatchObject({
      expected: "yes",
      base: { output: "no, says base", loss: 2 },
      tuned: { output: "yes", exact: true },
    });
  });

  test("rows of the base are listed while the fine-tuned side still answers", async () => {
    const { jobId } = await insertTuned(t.ctx, t.orgs.a);
    const made = await t.json<View>("POST", "/v1/evaluations", { body: { job: jobId } });
    await insertAnswers(made.job_id, [[true, true]]);
    await t.ctx.write((tx) => tx.delete(answer).where(eq(answer.side, "tuned")));
    const { data } = await t.json<{ data: Row[] }>("GET", `/v1/evaluations/${made.id}/rows`);
    expect(data).toMatchObject([{ row_id: 0, tuned: null, base: { exact: true } }]);
  });
});

describe("by hand", () => {
  const version = async (holdoutRows: number) => {
    await t.ctx.write(async (tx) => {
      await tx.insert(dataset).values({ id: "ds_own", org: t.orgs.a, name: "own", createdBy: "system", createdAt: 1 });
      await tx.insert(datasetVersion).values({
        id: "dsv_own",
        org: t.orgs.a,
        datasetId: "ds_own",
        number: 1,
        hash: "abc",
        status: "ready",
        format: "chat",
        splitSeed: 1,
        holdoutFraction: 100_000,
        rows: 100,
        trainRows: 100 - holdoutRows,
        holdoutRows,
        createdAt: 1,
        finishedAt: 2,
      });
    });
  };

  test("any model answers the validation rows of any ready version; the base alone too", async () => {
    await version(10);
    const { id, checkpoints } = await insertTuned(t.ctx, t.orgs.a);
    for (const model of [`${id}:ckpt-step-10`, "tiny"]) {
      const made = await t.json<View>("POST", "/v1/evaluations", { body: { model, dataset: "dsv_own" } });
      const [row] = await t.ctx.db.select().from(job).where(eq(job.id, made.job_id));
      const spec = row?.spec as EvaluateSpec;
      expect(spec.dataset).toMatchObject({ version_id: "dsv_own", hash: "abc" });
      expect(spec.tuned?.checkpoint_id ?? null).toBe(model === "tiny" ? null : (checkpoints[0]?.id ?? ""));
    }
  });

  test("every row of test data is answered", async () => {
    await version(0);
    const asked = { model: "tiny", dataset: "dsv_own", split: "all", max_rows: 5000 };
    const made = await t.json<View>("POST", "/v1/evaluations", { body: asked });
    const [row] = await t.ctx.db.select().from(job).where(eq(job.id, made.job_id));
    expect(row?.spec).toMatchObject({ split: "validation", max_rows: 100 });
  });

  test("two fine-tuned models of one base are compared, and named with their data, also once they are deleted", async () => {
    await version(10);
    const [one, other] = [await insertTuned(t.ctx, t.orgs.a), await insertTuned(t.ctx, t.orgs.a)];
    const body = { model: one.id, against: other.id, dataset: "ds_own", split: "train" };
    const made = await t.json<View>("POST", "/v1/evaluations", { body });
    expect(made).toMatchObject({
      tuned_model: one.id,
      against_model: other.id,
      train_job_id: null,
      split: "train",
      dataset: { id: "ds_own", name: "own", version: 1, deleted: false },
      deleted_models: [],
    });
    const [row] = await t.ctx.db.select().from(job).where(eq(job.id, made.job_id));
    expect(row?.spec).toMatchObject({ split: "train", against: { model: other.id } });
    await t.ctx.write((tx) => tx.delete(answer));
    await insertAnswers(
      made.job_id,
      Array.from({ length: 12 }, () => [false, true]),
    );
    await finish(made.job_id);
    await t.request("DELETE", `/v1/models/${encodeURIComponent(other.id)}`);
    await t.request("DELETE", "/v1/datasets/ds_own");
    const shown = await t.json<View>("GET", `/v1/evaluations/${made.id}`);
    expect(shown).toMatchObject({ dataset: { name: "own", deleted: true }, deleted_models: [other.id] });
    expect(shown.comparison?.sentence).toBe(
      `Better: 12 of 12 answers match exactly with ${one.id}, 0 with ${other.id} (+100.0 points, 95% interval +65.7 to +100.0).`,
    );
  });

  test("a grader grades every answer of both sides and decides", async () => {
    await version(10);
    const { id } = await insertTuned(t.ctx, t.orgs.a);
    const grader = {
      type: "string_check",
      name: "polite",
      operation: "like",
      input: "{{item.prompt}}: {{sample.output_text}}",
      reference: "{{item.expected}}",
    };
    const made = await t.json<View>("POST", "/v1/evaluations", { body: { model: id, dataset: "dsv_own", grader } });
    await insertAnswers(
      made.job_id,
      Array.from({ length: 20 }, (_, n) => [n < 2, true]),
    );
    await finish(made.job_id);
    const done = await t.json<View>("GET", `/v1/evaluations/${made.id}`);
    expect(done).toMatchObject({
      status: "succeeded",
      grader: { name: "polite" },
      rewards: { base: { mean: 0.1, graded: 20, failed: 0 }, tuned: { mean: 1 } },
      comparison: { verdict: "better", decided_by: "reward", reward: { mean: 0.9 } },
    });
    const { data } = await t.json<{ data: Row[] }>("GET", `/v1/evaluations/${made.id}/rows?limit=3`);
    expect(data.map((row) => [row.base, row.tuned])).toMatchObject([
      [{ reward: 1 }, { reward: 1 }],
      [{ reward: 1 }, { reward: 1 }],
      [{ reward: 0 }, { reward: 1 }],
    ]);
  });

  const check = { type: "string_check", name: "n", operation: "eq", input: "{{sample.output_text}}" };
  test.each([
    ["an unknown field of a grader", { grader: { ...check, reference: "x", weight: 2 } }, "grader.weight"],
    ["a row field that does not exist", { grader: { ...check, reference: "{{item.label}}" } }, "grader.reference"],
    ["a base model on the other side of a base model", { model: "tiny", against: "ft:x" }, "against"],
    ["a model against itself", { against: "self" }, "against"],
    ["a model of another base", { against: "other" }, "against"],
    ["an unknown field", { weight: 1 }, "weight"],
  ])("refuses %s", async (_, given: Record<string, unknown>, param) => {
    await version(10);
    await readyBase(t.ctx, "other-base");
    const { id } = await insertTuned(t.ctx, t.orgs.a);
    const other = (await insertTuned(t.ctx, t.orgs.a, { base: "other-base" })).id;
    const against = { self: id, other }[String(given.against)] ?? given.against;
    const body = { model: id, dataset: "dsv_own", ...given, ...(given.against ? { against } : {}) };
    const reply = await t.request("POST", "/v1/evaluations", { body });
    expect([reply.status, (await reply.json()).error.param]).toEqual([400, param]);
  });

  const wrong: [string, () => Promise<unknown>, number, string][] = [
    ["neither job nor model", async () => ({}), 400, "invalid_type"],
    ["too many rows", async () => ({ job: "x", max_rows: 10_001 }), 400, "invalid_value"],
    ["an unknown job", async () => ({ job: "ftjob-x" }), 404, "job_not_found"],
    ["an unknown model", async () => ({ model: "nothing", dataset: "dsv_x" }), 404, "model_not_found"],
    ["another's job", async () => ({ job: (await insertTuned(t.ctx, t.orgs.b)).jobId }), 404, "job_not_found"],
    [
      "data without validation rows",
      async () => {
        await version(0);
        return { model: "tiny", dataset: "dsv_own" };
      },
      400,
      "no_holdout_rows",
    ],
  ];
  test.each(wrong)("refuses %s", async (_, body, status, code) => {
    const reply = await t.request("POST", "/v1/evaluations", { body: await body() });
    expect([reply.status, (await reply.json()).error.code]).toEqual([status, code]);
  });

  test("is deleted with its job and answers once it has ended, and not created again", async () => {
    const { jobId } = await insertTuned(t.ctx, t.orgs.a);
    const made = await t.json<View>("POST", "/v1/evaluations", { body: { job: jobId } });
    const path = `/v1/evaluations/${made.id}`;
    const refused = await t.request("DELETE", path);
    expect([refused.status, (await refused.json()).error.code]).toEqual([409, "job_not_ended"]);
    await insertAnswers(made.job_id, [[true, true]]);
    await finish(made.job_id);
    expect((await t.request("DELETE", path, { as: "other" })).status).toBe(404);
    expect(await t.json("DELETE", path)).toEqual({ object: "evaluation", id: made.id, deleted: true });
    expect((await t.request("GET", path)).status).toBe(404);
    expect((await t.request("GET", `/v1/jobs/${made.job_id}`)).status).toBe(404);
    expect(await t.ctx.db.select().from(answer).where(eq(answer.jobId, made.job_id))).toEqual([]);
    const log = await t.json<{ data: { target: string }[] }>("GET", "/v1/admin/audit?action=evaluation.delete");
    expect(log.data[0]?.target).toBe(made.id);
    await t.ctx.write((tx) =>
      tx
        .update(job)
        .set({ spec: sql`json_set(${job.spec}, '$.evaluate_after', json('true'))`, finishedAt: t.ctx.clock.now() })
        .where(eq(job.id, jobId)),
    );
    await sweepEvaluations(t.ctx, async () => {
      throw new Error("no grader is asked");
    });
    const { data } = await t.json<{ data: View[] }>("GET", `/v1/evaluations?job=${jobId}`);
    expect(data).toEqual([]);
  });

  test("others see neither evaluation nor rows", async () => {
    const { jobId } = await insertTuned(t.ctx, t.orgs.a);
    const made = await t.json<View>("POST", "/v1/evaluations", { body: { job: jobId } });
    for (const path of [made.id, `${made.id}/rows`])
      expect((await t.request("GET", `/v1/evaluations/${path}`, { as: "other" })).status).toBe(404);
    expect((await t.json<{ data: View[] }>("GET", "/v1/evaluations", { as: "other" })).data).toEqual([]);
  });
});
