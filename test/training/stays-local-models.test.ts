/** Models trained on data that stays here: what labels them, what they label, and that none runs elsewhere. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { eq, sql } from "drizzle-orm";
import type { EvaluateSpec, ExportSpec, JobSpec, TrainSpec } from "../../src/contract/spec.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { baseModel } from "../../src/db/schema/models.ts";
import { createModel } from "../../src/models/tuned/service.ts";
import { begin } from "../../src/training/attempts/begin.ts";
import { createJob, getJob } from "../../src/training/jobs/store.ts";
import { decide } from "../../src/training/queue/runner.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer } from "../support/attempt.ts";
import { chatLines } from "../support/datasets.ts";
import { insertCheckpoint, insertTuned, readyBase, serveSpec, trainSpec } from "../support/models.ts";
import { type FakeProvider, providerOf, useProviders } from "../support/placed-providers.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ config: { trainer_url: "https://127.0.0.1:9", trainer_probe: false } });
  await readyBase(t.ctx);
});
afterAll(() => t.close());

const use = (...all: FakeProvider[]) => useProviders(t.ctx, all);
const here = () => providerOf("own", true, [undefined]);
const far = () => providerOf("far", false, [undefined]);

async function dataset(word: string): Promise<string> {
  const form = new FormData();
  form.set("file", new File([chatLines(8).join("\n").replaceAll('"content":"', `"content":"${word} `)], "rows.jsonl"));
  return (await t.json<{ id: string }>("POST", "/v1/datasets", { raw: form })).id;
}
const mark = (id: string, stays_local: boolean) => t.json("POST", `/v1/datasets/${id}`, { body: { stays_local } });
const dataOf = (id: string) => ({ ...trainSpec("tiny", "x").dataset, dataset_id: id });

interface Made {
  id: string;
  jobId: string;
  artifactId: string;
  checkpointId: string;
}
/** A training on data, from a model or the base, that has succeeded. */
async function trained(data: string, from: Made | null = null, base = "tiny"): Promise<Made> {
  const id = `ft:${base}:acme:m:${Math.random().toString(36).slice(2, 10)}`;
  const start = from
    ? { start: { model: from.id, checkpoint_id: from.checkpointId, artifact_id: from.artifactId } }
    : {};
  const spec = { ...trainSpec(base, id, { dataset: dataOf(data), validation: null }), ...start } as TrainSpec;
  const row = await createJob(t.ctx, t.actor("admin"), { kind: "train", name: id, spec, request: {} });
  const point = await insertCheckpoint(t.ctx, { org: row.org, jobId: row.id, step: 1, model: id });
  await t.ctx.write(async (tx) => {
    await tx.update(job).set({ state: "succeeded" }).where(eq(job.id, row.id));
    const values = { id, org: row.org, name: id, baseModelId: base, jobId: row.id, checkpointId: point.id };
    await createModel(tx, { ...values, createdBy: row.createdBy });
  });
  return { id, jobId: row.id, artifactId: point.artifactId, checkpointId: point.id };
}
/** A base model made from a model, as an administrator promotes it. */
async function promoted(from: Made, id: string): Promise<void> {
  await readyBase(t.ctx, id);
  const { staysLocal } = await getJob(t.ctx, t.actor("admin"), from.jobId);
  const values = { source: "tuned" as const, sourceRef: from.id, revision: from.checkpointId, staysLocal };
  await t.ctx.write((tx) => tx.update(baseModel).set(values).where(eq(baseModel.id, id)));
}
const labelOf = async ({ jobId }: Made) => (await getJob(t.ctx, t.actor("admin"), jobId)).staysLocal;
const path = (id: string) => `/v1/models/${encodeURIComponent(id)}`;
const change = (id: string, body: Record<string, unknown>, as: "admin" | "member" = "admin") =>
  t.request("POST", path(id), { body, as });
const refusal = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; message: string } };
  return [answer.status, error.code, error.message];
};

describe("the label of a model", () => {
  test("comes from its data, goes to models and bases made from it, and is shown", async () => {
    use(here());
    const [kept, free] = [await dataset("kept"), await dataset("free")];
    const before = await trained(kept);
    const child = await trained(free, before);
    await promoted(child, "tiny-child");
    const grandchild = await trained(free, null, "tiny-child");
    const other = await trained(free);
    expect(await labelOf(before)).toBe(false);
    await mark(kept, true);
    const after = await trained(kept);
    const labels = await Promise.all([before, child, grandchild, after, other].map(labelOf));
    expect(labels).toEqual([true, true, true, true, false]);
    expect(await t.json("GET", "/v1/base_models/tiny-child")).toMatchObject({ stays_local: true });
    expect(await t.json("GET", `${path(after.id)}/lineage`)).toMatchObject({ stays_local: true });
    const page = await (await t.request("GET", `/models/${encodeURIComponent(after.id)}`, { as: "admin" })).text();
    expect(page).toContain("Stays here");
    expect(page).toContain("It is not pushed to a hub");
    expect(await (await t.request("GET", "/models", { as: "admin" })).text()).toContain("stays here");
  });

  test("is taken away by its owner with a reason, which is audited; models made from it keep theirs", async () => {
    use(here());
    const kept = await dataset("lifted");
    await mark(kept, true);
    const parent = await trained(kept);
    const child = await trained(await dataset("plain"), parent);
    expect((await change(parent.id, { stays_local: false, reason: "x" }, "member")).status).toBe(403);
    expect((await refusal(await change(parent.id, { stays_local: false })))[1]).toBe("reason_needed");
    expect((await change(parent.id, { stays_local: false, reason: "Anonymized before training" })).status).toBe(200);
    expect([await labelOf(parent), await labelOf(child)]).toEqual([false, true]);
    const [entry] = await t.ctx.db.select().from(auditLog).where(eq(auditLog.action, "model.stays_local"));
    expect(JSON.stringify(entry)).toContain("Anonymized before training");
    expect(await labelOf(await trained(await dataset("later"), parent))).toBe(false);
    const form = { stays_local: "true" };
    const address = `/models/${encodeURIComponent(parent.id)}/stays-local`;
    expect((await t.request("POST", address, { form, as: "member" })).status).toBe(303);
    expect(await labelOf(parent)).toBe(true);
  });

  test("was given to existing models by the migration", async () => {
    use(here());
    const kept = await dataset("old");
    await mark(kept, true);
    const old = await trained(kept);
    const child = await trained(await dataset("old-free"), old);
    await promoted(child, "tiny-old");
    const from = await trained(await dataset("old-base"), null, "tiny-old");
    const other = await trained(await dataset("old-other"));
    await t.ctx.write(async (tx) => {
      await tx.run(sql`update job set stays_local = 0`);
      await tx.run(sql`update base_model set stays_local = 0`);
      const text = readFileSync("migrations/0053_models_stay.sql", "utf8");
      const steps = text.split("--> statement-breakpoint").filter((step) => /^\s*(WITH|UPDATE)/.test(step));
      for (const step of steps) await tx.run(sql.raw(step));
    });
    expect(await Promise.all([old, child, from, other].map(labelOf))).toEqual([true, true, true, false]);
    expect(await t.json("GET", "/v1/base_models/tiny-old")).toMatchObject({ stays_local: true });
  });
});

describe("such a model", () => {
  test("is refused for pushes, and for endpoints and jobs that could only run elsewhere", async () => {
    use(here());
    const kept = await dataset("refused");
    await mark(kept, true);
    const made = await trained(kept);
    const push = { repository: "acme/m", token: "hf_x" };
    const [status, code, message] = await refusal(await t.request("POST", `${path(made.id)}/pushes`, { body: push }));
    expect([status, code]).toEqual([403, "model_stays_local"]);
    expect(message).toContain("trained on data");
    use(far());
    const answer = await refusal(await t.request("POST", "/v1/deployments", { body: { model: made.id } }));
    expect(answer.slice(0, 2)).toEqual([400, "model_stays_local"]);
    const start = { model: made.id, training_file: await dataset("next"), max_steps: 2 };
    for (const body of [{ ...start, provider: "far" }, start]) {
      use(...("provider" in body ? [here(), far()] : [far()]));
      const [, refused, why] = await refusal(await t.request("POST", "/v1/jobs", { body }));
      expect([refused, why]).toEqual(["model_stays_local", expect.stringContaining(`${made.id} was trained on data`)]);
    }
  });

  test("is not sent to a trainer elsewhere that was launched before the label", async () => {
    const { id, checkpoints } = await insertTuned(t.ctx, t.actor("admin").org, { steps: [1] });
    const adapters = [{ name: id, artifactId: checkpoints[0]?.artifactId ?? "" }];
    const trainer = await makeTrainer(t, { spec: serveSpec("tiny", adapters) as never });
    use(providerOf("process", false, []));
    expect((await trainer.call("GET", "/spec")).status).toBe(200);
    expect((await change(id, { stays_local: true })).status).toBe(200);
    const file = "/inputs/adapter-0/adapter_model.safetensors";
    for (const asked of ["/spec", file]) {
      const answer = await trainer.call("GET", asked);
      expect([answer.status, await answer.text()]).toEqual([403, expect.stringContaining("model_stays_local")]);
    }
    use(providerOf("process", true, []));
    expect((await trainer.call("GET", file)).status).toBe(200);
  });

  test("never runs elsewhere, over 60 random rounds of labels, trainings, promotions, lifts and jobs", async () => {
    let seed = 20_261_201;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    const pick = <T>(all: readonly T[]): T => all[random(all.length)] as T;
    const data = await Promise.all(["r1", "r2", "r3"].map(dataset));
    const labeled = new Set<string>();
    /** What the rules say, beside the server. */
    type Node = Made & { data: string; from: Node | null; base: Node | null; stays: boolean };
    const nodes: Node[] = [];
    const bases = new Map<string, { of: Node; stays: boolean }>();
    const spread = (of: (node: Node) => boolean) => {
      const reached = new Set(nodes.filter(of));
      for (const node of nodes)
        if ((node.from && reached.has(node.from)) || (node.base && reached.has(node.base))) reached.add(node);
      for (const node of reached) node.stays = true;
      for (const base of bases.values()) if (reached.has(base.of)) base.stays = true;
    };
    const counts = { elsewhere: 0, kept: 0 };
    for (let round = 0; round < 60; round++) {
      use(here());
      const id = pick(data);
      const act = random(8);
      if (act === 0 && !labeled.has(id)) {
        await mark(id, true);
        labeled.add(id);
        spread((node) => node.data === id);
      } else if (act === 1 && labeled.has(id)) {
        await mark(id, false);
        labeled.delete(id);
      } else if (act === 2 && nodes.length > 0) {
        const node = pick(nodes);
        if (node.stays) expect((await change(node.id, { stays_local: false, reason: "agreed" })).status).toBe(200);
        node.stays = false;
        for (const base of bases.values()) if (base.of === node) base.stays = false;
      } else if (act === 3 && nodes.length > 0) {
        const node = pick(nodes);
        const name = `tiny-r${bases.size}`;
        await promoted(node, name);
        bases.set(name, { of: node, stays: node.stays });
      } else {
        const from = random(2) === 0 && nodes.length > 0 ? pick(nodes) : null;
        const [name, base] = from || bases.size === 0 || random(2) === 0 ? ["tiny", null] : pick([...bases]);
        const made = await trained(id, from, name);
        const stays = labeled.has(id) || (from?.stays ?? false) || (base?.stays ?? false);
        nodes.push({ ...made, data: id, from, base: base?.of ?? null, stays });
      }
      if (nodes.length === 0) continue;
      const node = pick(nodes);
      expect([round, await labelOf(node)]).toEqual([round, node.stays]);
      const [other, baseName] = [pick(nodes), pick(["tiny", ...bases.keys()])];
      const tuned = { model: node.id, checkpoint_id: node.checkpointId, artifact_id: node.artifactId };
      const against = { model: other.id, checkpoint_id: other.checkpointId, artifact_id: other.artifactId };
      const free = { ...trainSpec(baseName, "ft:out"), dataset: dataOf("ds_none") };
      const fromBase = bases.get(baseName)?.stays ?? false;
      const [spec, stays] = pick<[JobSpec, boolean]>([
        [serveSpec(baseName, [{ name: node.id, artifactId: node.artifactId }]), node.stays || fromBase],
        [
          { ...serveSpec(baseName), whole: { name: "w", artifact_id: node.artifactId, input: "whole" } },
          node.stays || fromBase,
        ],
        [
          { ...free, kind: "evaluate", split: "holdout", tuned, against } as unknown as EvaluateSpec,
          node.stays || other.stays || fromBase,
        ],
        [
          { ...free, kind: "export", format: "safetensors", dataset: null, tuned } as unknown as ExportSpec,
          node.stays || fromBase,
        ],
        [{ ...free, start: tuned } as TrainSpec, node.stays || fromBase],
        [free, fromBase],
      ]);
      const all = Array.from({ length: 1 + random(3) }, (_, n) =>
        providerOf(
          `p${n}`,
          random(2) === 0,
          Array.from({ length: 1 + random(3) }, () => pick([undefined, true, false])),
        ),
      );
      use(...all);
      const given = { kind: spec.kind, name: "x", spec, request: {} };
      const row = await createJob(t.ctx, t.actor("admin"), given).catch(() => null);
      if (!row) continue;
      const { round: decided, input } = await decide(t.ctx);
      const start = decided.starts.find(({ jobId }) => jobId === row.id);
      const host = input.capacity.hosts.find(({ id: hostId }) => hostId === start?.hostId);
      if (stays && host) expect(host.pool).toBe("local");
      const work: Promise<void>[] = [];
      await begin(t.ctx, row.id, { providers: all, hostId: null, gpus: [] }, (one) => work.push(one));
      await Promise.all(work);
      const elsewhere = all.flatMap(({ launched }) => launched).filter((one) => one.elsewhere);
      if (stays) {
        expect([round, spec.kind, elsewhere]).toEqual([round, spec.kind, []]);
        counts.kept++;
      } else counts.elsewhere += elsewhere.length;
      await t.ctx.write(async (tx) => {
        await tx.update(attempt).set({ state: "ended", goneAt: 1 }).where(eq(attempt.jobId, row.id));
        await tx.update(job).set({ state: "cancelled" }).where(eq(job.id, row.id));
      });
    }
    // Other jobs did start elsewhere, so the property is not empty.
    expect(counts.kept).toBeGreaterThan(10);
    expect(counts.elsewhere).toBeGreaterThan(4);
  }, 120_000);
});
