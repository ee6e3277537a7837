/** Datasets that stay here: whatever the job, the data and the provider, no machine elsewhere gets their rows. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import type { TrainSpec } from "../../src/contract/spec.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";

import { begin } from "../../src/training/attempts/begin.ts";
import { createJob } from "../../src/training/jobs/store.ts";
import { decide } from "../../src/training/queue/runner.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, trainSpec } from "../support/attempt.ts";
import { chatLines } from "../support/datasets.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";
import { type FakeProvider, providerOf, useProviders } from "../support/placed-providers.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ config: { trainer_url: "https://127.0.0.1:9", trainer_probe: false } });
});
afterAll(() => t.close());

const upload = async (text: string, fields: Record<string, string> = {}) => {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  form.set("file", new File([text], "rows.jsonl"));
  const made = await t.json<{ id: string; stays_local: boolean }>("POST", "/v1/datasets", { raw: form });
  await until(
    "the rows",
    async () =>
      (await t.json<{ version: { status: string } }>("GET", `/v1/datasets/${made.id}`)).version.status === "ready",
    45_000,
    20,
  );
  return made;
};
/** Rows that no other file has. */
const rows = (n: number, word: string) =>
  `${chatLines(n)
    .map((line) => line.replace(/("content":")/, `$1${word} `))
    .join("\n")}\n`;
const labelOf = async (id: string) => (await t.json<{ stays_local: boolean }>("GET", `/v1/datasets/${id}`)).stays_local;
const mark = (id: string, stays_local: boolean, as: "admin" | "member" = "admin") =>
  t.request("POST", `/v1/datasets/${id}`, { body: { stays_local }, as });

const use = (all: FakeProvider[]) => useProviders(t.ctx, all);

describe("the label", () => {
  test("is set at the upload or later, is on every version, and only its owner takes it away", async () => {
    const made = await upload(rows(8, "label"), { stays_local: "true" });
    expect(made.stays_local).toBe(true);
    expect((await mark(made.id, false, "member")).status).toBe(403);
    expect(await labelOf(made.id)).toBe(true);
    expect((await mark(made.id, false)).status).toBe(200);
    expect(await labelOf(made.id)).toBe(false);
    expect((await mark(made.id, true, "member")).status).toBe(200);
    const page = await (await t.request("GET", `/datasets/${made.id}`, { headers: { accept: "text/html" } })).text();
    expect(page).toContain("Stays here");
    const list = await (await t.request("GET", "/datasets", { headers: { accept: "text/html" } })).text();
    expect(list).toContain("stays here");
  });

  test("is a checkbox of the forms that upload and import, with and without scripts", async () => {
    const page = await (await t.request("GET", "/datasets", { headers: { accept: "text/html" } })).text();
    expect(page.match(/name="stays_local"/g)).toHaveLength(2);
    const idOf = (url: string | null) => /\/datasets\/([^/?]+)/.exec(url ?? "")?.[1] ?? "";
    const posted = async (word: string, checked: boolean) => {
      const form = new FormData();
      if (checked) form.set("stays_local", "true");
      form.set("file", new File([rows(8, word)], "form.jsonl"));
      const answer = await t.request("POST", "/datasets/upload", { form });
      return labelOf(idOf(answer.headers.get("location")));
    };
    expect([await posted("posted", true), await posted("unlabeled", false)]).toEqual([true, false]);
    const sent = await t.json<{ url: string }>("PUT", "/datasets/upload?filename=a.jsonl&stays_local=true", {
      raw: rows(8, "sent"),
      headers: { "content-type": "application/octet-stream" },
    });
    expect(await labelOf(idOf(sent.url))).toBe(true);
    const folder = t.ctx.files.path("tmp", "imported");
    await mkdir(folder, { recursive: true });
    await Bun.write(join(folder, "rows.jsonl"), rows(8, "imported"));
    t.ctx.config = { ...t.ctx.config, dataset_roots: [folder] };
    const import_ = { type: "path", path: join(folder, "rows.jsonl"), name: "imported", stays_local: "true" };
    await t.request("POST", "/datasets/imports", { form: import_ });
    type Imports = { data: { dataset_id: string | null }[] };
    const made = await until("the import", async () => {
      const { data } = await t.json<Imports>("GET", "/v1/datasets/imports");
      return data[0]?.dataset_id;
    });
    expect(await labelOf(made)).toBe(true);
  });

  test("goes with the rows: to datasets of the same file, before and after, and to one they are added to", async () => {
    const text = rows(8, "copies");
    const before = await upload(text);
    const marked = await upload(text);
    expect((await mark(marked.id, true)).status).toBe(200);
    const after = await upload(text);
    const other = await upload(rows(9, "other"));
    expect(await Promise.all([before, after, other].map(({ id }) => labelOf(id)))).toEqual([true, true, false]);
    await t.json("POST", `/v1/datasets/${other.id}/merge`, { body: { dataset: marked.id } });
    expect(await labelOf(other.id)).toBe(true);
  });
});

describe("a job on data that stays here", () => {
  test("is planned with the machines here alone, and refused by name for a provider elsewhere", async () => {
    await readyBase(t.ctx);
    const { id } = await upload(rows(20, "plan"), { stays_local: "true" });
    const body = { model: "tiny", training_file: id, max_steps: 2 };
    const [own, far] = [providerOf("own", true, [undefined, false]), providerOf("far", false, [undefined])];
    use([own, far]);
    type Plan = { offers: { location: string }[]; warnings: string[] };
    const plan = await t.json<Plan>("POST", "/v1/jobs/plan", { body });
    expect(plan.offers.map(({ location }) => location)).toEqual(["own"]);
    expect(plan.warnings.join()).toContain("stays on this server");
    const refused = async (given: Record<string, unknown>, path: string) => {
      const answer = await t.request("POST", path, { body: { ...body, ...given } });
      return [answer.status, ((await answer.json()) as { error: { code: string; param: string } }).error];
    };
    for (const path of ["/v1/jobs/plan", "/v1/jobs"]) {
      const error = { code: "data_stays_local", param: "provider" };
      expect(await refused({ provider: "far" }, path)).toEqual([400, expect.objectContaining(error)]);
    }
    use([far]);
    const none = { code: "data_stays_local", param: "training_file" };
    expect(await refused({}, "/v1/jobs")).toEqual([400, expect.objectContaining(none)]);
  });

  test("that was launched elsewhere before the label gets no rows any more", async () => {
    const { id } = await upload(rows(8, "late"));
    const spec = trainSpec();
    const trainer = await makeTrainer(t, { spec: { ...spec, dataset: { ...spec.dataset, dataset_id: id } } });
    use([providerOf("process", false, [])]);
    expect((await trainer.call("GET", "/data/train")).status).toBe(200);
    await mark(id, true);
    for (const path of ["/data/train", "/data/holdout", "/data/train/digest"]) {
      const answer = await trainer.call("GET", path);
      expect([path, answer.status]).toEqual([path, 403]);
      expect(await answer.text()).toContain("data_stays_local");
    }
    use([providerOf("process", true, [])]);
    expect((await trainer.call("GET", "/data/train")).status).toBe(200);
  });

  test("never starts elsewhere, over 120 random jobs, datasets, labels, providers and offers", async () => {
    let seed = 20_261_130;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    const pick = <T>(...all: T[]): T => all[random(all.length)] as T;
    const data = await Promise.all(["a", "b", "c"].map((name) => upload(rows(8, name))));
    const { dataset, ...rest } = trainSpec();
    const ref = () => ({ ...dataset, dataset_id: pick(...data).id });
    const counts = { elsewhere: 0, kept: 0, refused: 0 };
    for (let round = 0; round < 120; round++) {
      for (const { id } of data) await mark(id, random(3) === 0);
      const labels = new Map(await Promise.all(data.map(async ({ id }) => [id, await labelOf(id)] as const)));
      const all = Array.from({ length: 1 + random(3) }, (_, n) =>
        providerOf(
          `p${n}`,
          random(2) === 0,
          Array.from({ length: random(4) }, () => pick(undefined, true, false)),
        ),
      );
      use(all);
      const need = { ...rest.need, provider: pick(null, null, ...all.map(({ plugin }) => plugin.id)) };
      const train = { ...rest, need, dataset: ref(), validation: pick(null, ref()) } as TrainSpec;
      const evaluate = {
        ...train,
        kind: "evaluate",
        split: "holdout",
        tuned: null,
      } as unknown as TrainSpec;
      const spec = pick(train, train, evaluate);
      const read = [spec.dataset, spec.kind === "train" ? spec.validation : null].flatMap((one) => one ?? []);
      // The label may come between any two steps.
      const late = random(4) === 0 ? pick(...data).id : null;
      const given = { kind: spec.kind, name: "x", spec, request: {} } as Parameters<typeof createJob>[2];
      const row = await createJob(t.ctx, t.actor("admin"), given).catch(() => null);
      if (!row) {
        counts.refused++;
        continue;
      }
      if (late) {
        await mark(late, true);
        labels.set(late, true);
      }
      const kept = read.some(({ dataset_id: id }) => labels.get(id));
      const { round: decided, input } = await decide(t.ctx);
      const start = decided.starts.find(({ jobId }) => jobId === row.id);
      const host = input.capacity.hosts.find(({ id }) => id === start?.hostId);
      if (kept && host) expect(host.pool).toBe("local");
      const work: Promise<void>[] = [];
      await begin(t.ctx, row.id, { providers: all, hostId: null, gpus: [] }, (one) => work.push(one));
      await Promise.all(work);
      const far = all.flatMap(({ launched }) => launched).filter(({ elsewhere }) => elsewhere);
      if (kept) {
        expect(far).toEqual([]);
        counts.kept++;
      } else counts.elsewhere += far.length;
      await t.ctx.write(async (tx) => {
        await tx.update(attempt).set({ state: "ended", goneAt: 1 }).where(eq(attempt.jobId, row.id));
        await tx.update(job).set({ state: "cancelled" }).where(eq(job.id, row.id));
      });
    }
    // The other jobs did start elsewhere, so the property is not empty.
    expect(counts.kept).toBeGreaterThan(20);
    expect(counts.elsewhere).toBeGreaterThan(5);
    expect(counts.refused).toBeGreaterThan(3);
  }, 120_000);
});
