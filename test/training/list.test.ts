/** The list of jobs: every combination of filters returns the same jobs as a loop over all rows, each job once. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { type Actor, systemActor } from "../../src/ctx.ts";
import { user } from "../../src/db/schema/auth.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { countJobs, type JobQuery, listJobs } from "../../src/training/jobs/list.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { trainSpec } from "../support/attempt.ts";

type Row = typeof job.$inferSelect;
let lab: TestApp;
let actor: Actor;
let rows: Row[];

const STATES = ["queued", "running", "failed", "succeeded"] as const;
const METADATA: Record<string, string>[] = [{}, { team: "a" }, { team: "a", "odd key'": 'x"y' }];

beforeAll(async () => {
  lab = await createTestApp();
  const [admin] = await lab.ctx.db.select().from(user).where(eq(user.role, "admin")).limit(1);
  actor = { ...systemActor("org-list"), userId: admin?.id ?? "" };
  const made = Array.from({ length: 60 }, (_, n) => ({
    id: `ftjob-list${String(n).padStart(4, "0")}`,
    // Every sixth belongs to another organization.
    org: n % 6 === 5 ? "org-else" : "org-list",
    kind: n % 4 === 0 ? ("evaluate" as const) : ("train" as const),
    name: n % 7 === 0 ? `50% off_${n}` : `plain ${n}`,
    state: STATES[n % STATES.length] ?? "queued",
    spec: trainSpec({ output_model: `ft:tiny:acme:Bot-${n % 5}:x` }),
    request: {},
    metadata: METADATA[n % METADATA.length] ?? {},
    parentId: n % 10 === 0 ? "ftjob-parent" : null,
    progress: n % 3 === 0 ? {} : { loss: (n * 7) % 11 },
    tags: n % 4 === 1 ? ["gpu", "ünder"] : [],
    archivedAt: n % 8 === 2 ? 5 : null,
    createdBy: n % 9 === 4 ? "somebody" : actor.userId,
    // Three jobs share a millisecond, so that the id decides.
    createdAt: 1_790_000_000_000 + Math.floor(n / 3),
  }));
  await lab.ctx.write(async (tx) => {
    for (const one of made) await tx.insert(job).values(one);
  });
  const all = await lab.ctx.db.select().from(job).where(eq(job.org, "org-list"));
  rows = all.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));
});
afterAll(() => lab.close());

/** An independent implementation of the filters. */
function matches(row: Row, query: Omit<JobQuery, "limit" | "after">): boolean {
  const { kind, state, parentId, search, metadata, createdBy, tag, archived, datasetId, base } = query;
  const texts = [row.name, row.id, row.spec.kind === "train" ? row.spec.output_model : "", row.spec.base_model.id];
  return (
    (!kind || row.kind === kind) &&
    (!state || [state].flat().includes(row.state)) &&
    (!parentId || row.parentId === parentId) &&
    (!createdBy || row.createdBy === createdBy) &&
    (!tag || row.tags.includes(tag)) &&
    (archived === undefined || (row.archivedAt !== null) === archived) &&
    (!datasetId || (row.spec.kind === "train" && row.spec.dataset.dataset_id === datasetId)) &&
    (!base || row.spec.base_model.id === base) &&
    (!search || texts.some((text) => text.toLowerCase().includes(search.toLowerCase()))) &&
    (metadata !== null || Object.keys(row.metadata).length === 0) &&
    Object.entries(metadata ?? {}).every(([key, value]) => row.metadata[key] === value)
  );
}

const MIXES: Omit<JobQuery, "limit" | "after">[] = [
  {},
  { kind: "train" },
  { kind: "evaluate", state: "queued" },
  { state: ["running", "failed"] },
  { state: ["running"], kind: "train", search: "PLAIN" },
  { search: "50% off_" },
  { search: "%" },
  { search: "bot-3" },
  { parentId: "ftjob-parent" },
  { metadata: null, kind: "train" },
  { metadata: {} },
  { metadata: { team: "a" } },
  { metadata: { team: "a", "odd key'": 'x"y' }, state: ["queued", "succeeded"] },
  { metadata: { team: "b" } },
  { createdBy: "somebody", archived: false },
  { tag: "ünder", datasetId: "ds_test" },
  { archived: true, base: "tiny" },
  { kind: "train", state: ["queued", "running", "failed", "succeeded"], search: "plain", metadata: { team: "a" } },
];

test.each(MIXES)("%j", async (mix) => {
  const expected = rows.filter((row) => matches(row, mix));
  const found: Row[] = [];
  for (let after: string | undefined; ; after = found.at(-1)?.id) {
    const page = await listJobs(lab.ctx, actor, { ...mix, after, limit: 4 });
    expect(page.length).toBeLessThanOrEqual(5);
    found.push(...page.slice(0, 4));
    if (page.length <= 4) break;
  }
  expect(found).toEqual(expected);
});

const lossOf = (row: Row) => row.progress.loss ?? null;
const ORDERS: [string, (row: Row) => string | number | null][] = [
  ["loss", lossOf],
  ["-loss", lossOf],
  ["name", (row) => row.name.toLowerCase()],
  ["-state", (row) => row.state],
];
test.each(ORDERS)("sorted by %s every job is there once, without a value last", async (sort, value) => {
  const sign = sort.startsWith("-") ? -1 : 1;
  const expected = rows
    .filter((row) => row.kind === "train")
    .sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return Number(x === null) - Number(y === null);
      return x < y ? -sign : x > y ? sign : 0;
    });
  const found: Row[] = [];
  for (let after: string | undefined; ; after = found.at(-1)?.id) {
    const page = await listJobs(lab.ctx, actor, { kind: "train", sort, after, limit: 4 });
    found.push(...page.slice(0, 4));
    if (page.length <= 4) break;
  }
  expect(found.map((row) => row.id)).toEqual(expected.map((row) => row.id));
});

test("the count stops at its limit, and an unknown order is refused", async () => {
  const mine = rows.filter((row) => row.kind === "train").length;
  expect(await countJobs(lab.ctx, actor, { kind: "train" }, 1000)).toBe(mine);
  expect(await countJobs(lab.ctx, actor, { kind: "train" }, 7)).toBe(7);
  await expect(listJobs(lab.ctx, actor, { sort: "color", limit: 1 })).rejects.toMatchObject({ param: "sort" });
});
