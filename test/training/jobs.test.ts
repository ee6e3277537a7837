/**
 * Jobs over HTTP: OpenAI's form and our own, errors by field, repeated requests, paging, filters, and isolation between
 * organizations.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { datasetVersion } from "../../src/db/schema/datasets.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { startPipeline } from "../../src/training/queue/pipeline.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { chatLines } from "../support/datasets.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";

interface FineTuningJob {
  id: string;
  status: string;
  error: { code: string; message: string; param: string | null } | null;
  hyperparameters: Record<string, number | string>;
  metadata: Record<string, string>;
  [field: string]: unknown;
}

const JOBS = "/v1/fine_tuning/jobs";
let lab: TestApp;
let fileId: string;

async function upload(name: string, text: string, wait = true): Promise<string> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([text], name));
  const { id } = await lab.json<{ id: string }>("POST", "/v1/files", { raw: form });
  const settled = async () => (await lab.json("GET", `/v1/files/${id}`)).status !== "uploaded";
  if (wait) await until("the file", settled, 45_000, 20);
  return id;
}
const body = (extra: Record<string, unknown> = {}) => ({ model: "tiny", training_file: fileId, ...extra });
const create = (extra: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
  lab.json<FineTuningJob>("POST", JOBS, { body: body(extra), headers });
async function refused(extra: Record<string, unknown>, path = JOBS) {
  const answer = await lab.request("POST", path, { body: body(extra) });
  return {
    status: answer.status,
    ...((await answer.json()) as { error: { code: string; message: string; param: string } }).error,
  };
}

// No pipeline runs here, so that jobs stay queued.
beforeAll(async () => {
  lab = await createTestApp();
  await readyBase(lab.ctx);
  fileId = await upload("rows.jsonl", `${chatLines(30).join("\n")}\n`);
}, 60_000);
afterAll(() => lab.close());

describe("creating in OpenAI's form", () => {
  test("returns the full job object with resolved hyperparameters", async () => {
    const made = await create({ suffix: "bank-bot", seed: 9, metadata: { team: "a" } });
    expect(made).toMatchObject({
      object: "fine_tuning.job",
      status: "queued",
      model: "tiny",
      training_file: fileId,
      validation_file: null,
      fine_tuned_model: null,
      finished_at: null,
      trained_tokens: null,
      error: null,
      result_files: [],
      integrations: [],
      seed: 9,
      metadata: { team: "a" },
      hyperparameters: { n_epochs: 18, batch_size: 4, learning_rate_multiplier: 1 },
      method: { type: "supervised" },
    });
    expect(made.id).toStartWith("ftjob-");
    expect(await lab.json<FineTuningJob>("GET", `${JOBS}/${made.id}`)).toEqual(made);
  });

  test("reads hyperparameters from the method, from the deprecated field, and extensions from ftl", async () => {
    const given = { n_epochs: 2, batch_size: 4, learning_rate_multiplier: 0.5 };
    const first = await create({ method: { type: "supervised", supervised: { hyperparameters: given } } });
    expect(first.hyperparameters).toEqual(given);
    const second = await create({
      hyperparameters: { ...given, batch_size: "auto" },
      ftl: { rank: 4, max_steps: 7, evaluate_after: false },
    });
    expect(second.hyperparameters.n_epochs).toBe(2);
    const { spec } = await lab.json<{
      spec: {
        method: { adapter: { r: number; alpha: number } };
        evaluate_after: boolean;
        schedule: { total_steps: number };
      };
    }>("GET", `/v1/jobs/${second.id}`);
    expect(spec.method.adapter).toMatchObject({ r: 4, alpha: 8 });
    expect(spec.schedule.total_steps).toBe(7);
    expect(spec.evaluate_after).toBe(false);
  });

  const under = (field: string, value: unknown) => ({
    method: { type: "supervised", supervised: { hyperparameters: { [field]: value } } },
  });
  test.each([
    [under("n_epochs", 0), "method.supervised.hyperparameters.n_epochs"],
    [under("n_epochs", 51), "method.supervised.hyperparameters.n_epochs"],
    [under("n_epochs", 1.5), "method.supervised.hyperparameters.n_epochs"],
    [under("batch_size", 257), "method.supervised.hyperparameters.batch_size"],
    [under("batch_size", "8"), "method.supervised.hyperparameters.batch_size"],
    [under("learning_rate_multiplier", 0), "method.supervised.hyperparameters.learning_rate_multiplier"],
    [under("learning_rate_multiplier", -1), "method.supervised.hyperparameters.learning_rate_multiplier"],
    [under("beta", 1), "method.supervised.hyperparameters.beta"],
    [{ hyperparameters: { n_epochs: "many" } }, "hyperparameters.n_epochs"],
    [{ seed: -1 }, "seed"],
    [{ seed: 2 ** 31 }, "seed"],
    [{ suffix: "" }, "suffix"],
    [{ suffix: "x".repeat(65) }, "suffix"],
    [{ suffix: "a:b" }, "suffix"],
    [{ metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, "v"])) }, "metadata"],
    [{ metadata: { k: "v".repeat(513) } }, "metadata.k"],
    [{ ftl: { rank: 0 } }, "ftl.rank"],
    [{ ftl: { rank: 4096 } }, "ftl.rank"],
    [{ ftl: { max_length: 129 } }, "ftl.max_length"],
    [{ ftl: { provider: "nowhere" } }, "ftl.provider"],
    [{ ftl: { rnak: 4 } }, "ftl.rnak"],
    [{ model: "gpt-4o" }, "model"],
    [{ training_file: "file-none" }, "training_file"],
    [{ validation_file: "file-none" }, "validation_file"],
    [{ method: { type: "reinforcement", reinforcement: {} } }, "method.reinforcement.grader"],
  ])("refuses %j, naming the field", async (extra, param) => {
    const answer = await refused(extra);
    expect({ status: answer.status, param: answer.param }).toEqual({ status: 400, param });
    expect(answer.message.length).toBeGreaterThan(10);
    expect(answer.message).not.toContain("Expected (");
  });

  test("names the invalid line of a file", async () => {
    const lines = chatLines(12);
    lines[6] = "{not json";
    const bad = await upload("bad.jsonl", lines.join("\n"));
    const answer = await refused({ training_file: bad });
    expect(answer).toMatchObject({ status: 400, param: "training_file" });
    expect(answer.message).toContain("7");
  });
});

describe("a repeated request", () => {
  test("with the same Idempotency-Key creates one job; another body is refused", async () => {
    const headers = { "idempotency-key": "once-1" };
    const first = await create({ suffix: "idem" }, headers);
    expect((await create({ suffix: "idem" }, headers)).id).toBe(first.id);
    const other = await lab.request("POST", JOBS, { body: body({ suffix: "else" }), headers });
    expect(other.status).toBe(409);
    expect(other.headers.get("x-should-retry")).toBe("false");
  });

  test("as a client's retry returns the first job; a new request creates another", async () => {
    const first = await create({ suffix: "again" });
    expect((await create({ suffix: "again" }, { "x-stainless-retry-count": "1" })).id).toBe(first.id);
    expect((await create({ suffix: "again" }, { "x-stainless-retry-count": "0" })).id).not.toBe(first.id);
    expect((await create({ suffix: "never-sent" }, { "x-stainless-retry-count": "2" })).id).not.toBe(first.id);
  });

  test("sent five times at once with one key creates one job", async () => {
    const headers = { "idempotency-key": "five" };
    const ids = await Promise.all(
      Array.from({ length: 5 }, async () => (await create({ suffix: "five" }, headers)).id),
    );
    expect(new Set(ids).size).toBe(1);
  });
});

describe("lists", () => {
  test("page by the last id, newest first, each job once", async () => {
    const seen: string[] = [];
    for (let after = "", more = true; more; ) {
      const page = await lab.json<{ data: FineTuningJob[]; has_more: boolean; last_id: string }>(
        "GET",
        `${JOBS}?limit=3${after && `&after=${after}`}`,
      );
      expect(page.data.length).toBeLessThanOrEqual(3);
      seen.push(...page.data.map((one) => one.id));
      after = page.last_id;
      more = page.has_more;
    }
    const all = await lab.json<{ data: FineTuningJob[] }>("GET", `${JOBS}?limit=100`);
    expect(seen).toEqual(all.data.map((one) => one.id));
    expect(new Set(seen).size).toBe(seen.length);
    expect((await lab.request("GET", `${JOBS}?after=ftjob-none`)).status).toBe(404);
    expect((await lab.request("GET", `${JOBS}?limit=0`)).status).toBe(400);
  });

  test("filter by metadata, and by missing metadata as each client spells it", async () => {
    const marked = await create({ metadata: { color: "green", "odd key'": 'a"b' } });
    const list = async (query: string) =>
      (await lab.json<{ data: FineTuningJob[] }>("GET", `${JOBS}?limit=100&${query}`)).data;
    expect((await list("metadata%5Bcolor%5D=green")).map((one) => one.id)).toEqual([marked.id]);
    expect(
      (await list(`metadata[${encodeURIComponent("odd key'")}]=${encodeURIComponent('a"b')}`)).map((one) => one.id),
    ).toEqual([marked.id]);
    expect(await list("metadata[color]=red")).toEqual([]);
    for (const spelling of ["metadata=null", "metadata="]) {
      const none = await list(spelling);
      expect(none.length).toBeGreaterThan(3);
      expect(none.every((one) => Object.keys(one.metadata).length === 0)).toBe(true);
    }
  });

  test("in our own form filter by kind, state and text", async () => {
    const list = (query: string) => lab.json<{ data: { id: string; kind: string }[] }>("GET", `/v1/jobs?${query}`);
    expect((await list("kind=serve")).data).toEqual([]);
    expect((await list("kind=train&state=queued,running&limit=5")).data.length).toBe(5);
    expect((await list("state=paused")).data).toEqual([]);
    expect((await list("search=BANK-bot")).data.length).toBe(1);
    expect((await list("search=%25")).data).toEqual([]);
    expect((await lab.request("GET", "/v1/jobs?state=odd")).status).toBe(400);
  });
});

describe("our own form", () => {
  test("a job without a name is named after its base model and the name of its dataset", async () => {
    const { id } = await create();
    expect((await lab.json<{ name: string }>("GET", `/v1/jobs/${id}`)).name).toBe("tiny on rows");
  });
  test("a plan has hyperparameters, reasons and costs, and creates nothing", async () => {
    const count = async () => (await lab.json<{ data: unknown[] }>("GET", "/v1/jobs?limit=100")).data.length;
    const before = await count();
    const plan = await lab.json<Record<string, unknown>>("POST", "/v1/jobs/plan", { body: body({ n_epochs: 2 }) });
    expect(plan).toMatchObject({ object: "job.plan", ready: true, steps: 14, seconds_basis: "default" });
    expect(plan.reasons).not.toHaveProperty("n_epochs");
    expect(plan.reasons).toHaveProperty("learning_rate");
    expect(await count()).toBe(before);
  });

  test("a job is in OpenAI's list, can be run again with changes, and is the parent of the new job", async () => {
    const made = await lab.json<{ id: string; state: string }>("POST", "/v1/jobs", {
      body: { kind: "train", ...body({ lora_r: 4, name: "mine" }) },
    });
    expect((await lab.json<FineTuningJob>("GET", `${JOBS}/${made.id}`)).id).toBe(made.id);
    const again = await lab.json<{
      parent_id: string;
      spec: { method: { adapter: { r: number } }; hyperparameters: { seed: number } };
    }>("POST", `/v1/jobs/${made.id}/rerun`, { body: { seed: 5 } });
    expect(again).toMatchObject({
      parent_id: made.id,
      spec: { method: { adapter: { r: 4 } }, hyperparameters: { seed: 5 } },
    });
  });

  test("other kinds are refused", async () => {
    expect((await refused({ kind: "serve" }, "/v1/jobs")).status).toBe(400);
  });

  test("users of another organization can neither see nor change a job", async () => {
    const { id } = await create();
    for (const [method, path] of [
      ["GET", `/v1/jobs/${id}`],
      ["GET", `/v1/jobs/${id}/attempts`],
      ["GET", `${JOBS}/${id}/events`],
      ["GET", `${JOBS}/${id}/checkpoints`],
      ["POST", `${JOBS}/${id}/cancel`],
      ["POST", `/v1/jobs/${id}/rerun`],
    ] as const)
      expect(
        (await lab.request(method, path, { as: "otherAdmin", ...(method === "POST" ? { body: {} } : {}) })).status,
      ).toBe(404);
    expect((await lab.json<FineTuningJob>("GET", `${JOBS}/${id}`)).status).toBe("queued");
  });
});

describe("actions without a process", () => {
  test("pause, resume and cancel a queued job; an illegal action is a 400, which clients do not retry", async () => {
    const { id } = await create();
    const act = async (action: string): Promise<[number, string | undefined]> => {
      const answer = await lab.request("POST", `${JOBS}/${id}/${action}`);
      return [answer.status, ((await answer.json()) as FineTuningJob).status];
    };
    expect(await act("resume")).toEqual([400, undefined]);
    expect(await act("pause")).toEqual([200, "paused"]);
    expect(await act("pause")).toEqual([400, undefined]);
    expect(await act("resume")).toEqual([200, "queued"]);
    expect(await act("cancel")).toEqual([200, "cancelled"]);
    for (const action of ["cancel", "pause", "resume"]) expect(await act(action)).toEqual([400, undefined]);
    const row = await lab.json<{ finished_at: number; error: unknown }>("GET", `${JOBS}/${id}`);
    expect(row.finished_at).toBeGreaterThan(1_700_000_000);
    const log = await lab.json<{ data: { action: string }[] }>("GET", `/v1/audit?target=${id}`).catch(() => null);
    if (log) expect(log.data.map((one) => one.action)).toContain("job.cancelled");
  });

  test("a file cannot be deleted while a queued job uses it", async () => {
    const own = await upload("own.jsonl", `${chatLines(12).join("\n")}\n`);
    const { id } = await create({ training_file: own });
    expect((await lab.request("DELETE", `/v1/files/${own}`)).status).toBeGreaterThanOrEqual(400);
    await lab.json("POST", `${JOBS}/${id}/cancel`);
    expect((await lab.request("DELETE", `/v1/files/${own}`)).status).toBe(200);
  });
});

describe("a job created while its data is being validated", () => {
  let file: string;
  let version: { id: string; datasetId: string };
  const mark = (status: "ready" | "validating") =>
    lab.ctx.write((tx) => tx.update(datasetVersion).set({ status }).where(eq(datasetVersion.id, version.id)));

  beforeAll(async () => {
    file = await upload("soon.jsonl", `${chatLines(20).join("\n")}\n`);
    const [row] = await lab.ctx.db.select().from(datasetVersion).where(eq(datasetVersion.fileId, file));
    if (!row) throw new Error("the file has no version");
    version = row;
  }, 60_000);

  test("is frozen and queued as soon as the data is ready", async () => {
    await mark("validating");
    const answer = create({ training_file: file });
    await Bun.sleep(300);
    await mark("ready");
    lab.ctx.bus.emit("dataset.changed", {
      org: lab.actor("admin").org,
      datasetId: version.datasetId,
      versionId: version.id,
    });
    const made = await answer;
    expect(made.status).toBe("queued");
    expect(typeof made.hyperparameters.n_epochs).toBe("number");
  });

  test("is stored as validating when that takes longer", async () => {
    await mark("validating");
    const made = await create({ training_file: file });
    expect(made).toMatchObject({ status: "validating_files", hyperparameters: { n_epochs: "auto" } });
    await mark("ready");
  });
});

test("a time in ISO 8601 is stored as Unix seconds, in our own form and in OpenAI's", async () => {
  const not_before = "2040-01-02T03:04:00+01:00";
  const seconds = Date.parse(not_before) / 1000;
  const own = await lab.json<{ not_before: number; request: object }>("POST", "/v1/jobs", {
    body: body({ not_before }),
  });
  expect(own).toMatchObject({ not_before: seconds, request: { not_before: seconds } });
  const { id } = await create({ ftl: { not_before } });
  expect(await lab.json("GET", `/v1/jobs/${id}`)).toMatchObject({ not_before: seconds });
});

describe("a validating job", () => {
  const waiting = async (): Promise<string> => {
    const { id } = await create({ suffix: "early" });
    await lab.ctx.write((tx) => tx.update(job).set({ state: "validating", queuedAt: null }).where(eq(job.id, id)));
    return id;
  };

  test("is frozen and queued when its data is valid, and fails naming the field when it is not", async () => {
    const [good, bad] = [await waiting(), await waiting()];
    expect((await lab.json<FineTuningJob>("GET", `${JOBS}/${good}`)).hyperparameters.n_epochs).toBe("auto");
    const lines = chatLines(12);
    lines[6] = "{not json";
    const badFile = await upload("worse.jsonl", lines.join("\n"));
    await lab.ctx.write((tx) =>
      tx
        .update(job)
        .set({ request: { model: "tiny", training_file: badFile } })
        .where(eq(job.id, bad)),
    );
    const stop = startPipeline({ ...lab.ctx, compute: { get: () => null, list: () => [] } });
    try {
      const ended = await until("the verdict", async () => {
        const seen = await lab.json<FineTuningJob>("GET", `${JOBS}/${bad}`);
        return seen.status === "failed" ? seen : null;
      });
      expect(ended.error).toMatchObject({ code: "invalid_training_file", param: "training_file" });
      expect(ended.error?.message).toContain("7");
      await until(
        "the good one",
        async () => (await lab.json<FineTuningJob>("GET", `${JOBS}/${good}`)).status !== "validating_files",
      );
      expect((await lab.json<FineTuningJob>("GET", `${JOBS}/${good}`)).hyperparameters.n_epochs).toBe(18);
    } finally {
      await stop();
    }
  }, 60_000);
});

test("usage and hosts respond", async () => {
  const usage = await lab.json<{ work: unknown[]; total_cost_usd: number }>("GET", "/v1/usage?group_by=model");
  expect(usage).toMatchObject({ object: "usage.summary", total_cost_usd: 0 });
  expect((await lab.request("GET", "/v1/usage?month=2026-13")).status).toBe(400);
  const hosts = await lab.json<{ data: { cpu: { cores: number }; slots: { train: { total: number } } }[] }>(
    "GET",
    "/v1/hosts",
  );
  expect(hosts.data[0]?.cpu.cores).toBeGreaterThan(0);
  expect(hosts.data[0]?.slots.train.total).toBe(1);
});
