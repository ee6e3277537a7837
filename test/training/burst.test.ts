/** Burst policies of real jobs: why they stay or leave, who sets the default of a team, and the way back home. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { event } from "../../src/db/schema/metrics.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";
import { addCloud, type Cloud, rented } from "../support/rented-cloud.ts";

let lab: Lab;
let cloud: Cloud;
/** Holds the only own slot. */
let holder = "";

beforeAll(async () => {
  lab = await createLab({
    trainSlots: 1,
    config: { trainer_url: "https://127.0.0.1:9", trainer_probe: false },
  });
  await lab.goAway();
  cloud = addCloud(lab);
  lab.comeBack();
}, 60_000);
afterAll(() => lab.close(), 60_000);

type Burst = { type: string; wait_over_s?: number; cost_under_usd?: number | null } | null;
const start = (suffix: string, burst: Burst, more: Record<string, unknown> = {}) =>
  lab.train(suffix, { burst, ...more });
const details = (id: string) =>
  lab.json<{ state: string; burst: Burst; waiting_for: { code: string; message: string } | null }>(
    "GET",
    `/v1/jobs/${id}`,
  );
const says = (id: string, text: string) =>
  until(`"${text}"`, async () => (await details(id)).waiting_for?.message.includes(text), 20_000, 20);
const providers = async (id: string) => (await lab.attempts(id)).map(({ provider }) => provider);
const history = async (id: string) =>
  (await lab.ctx.db.select().from(event).where(eq(event.jobId, id))).map(({ message }) => message);
const end = async (id: string) => {
  await lab.request("POST", `/v1/jobs/${id}/cancel`);
  await lab.reached(id, "cancelled");
};
const hold = async () => {
  holder = await start("slow.500", { type: "local_only" }, { max_steps: 20_000, n_epochs: 50 });
  await lab.reached(holder, "running");
  // Its end is predicted from its first steps; a wait that is unknown is over every limit.
  await until("its first steps", async () => Number((await lab.job(holder)).progress.step ?? 0) >= 5, 30_000, 20);
};
const team = (burst: Burst, as: "admin" | "member" | "other" = "admin") =>
  lab.request("POST", `/v1/admin/teams/${lab.orgs.a}`, { body: { burst }, as });
afterEach(() => {
  Object.assign(cloud, { offers: [rented("a")], status: {} });
  cloud.asked.launches.length = 0;
});

describe("while the own machine is busy", () => {
  beforeAll(hold, 60_000);
  afterAll(() => end(holder), 60_000);

  test.each([
    ["local_only", { type: "local_only" }, "Waits for own machines: its burst policy is own machines only"],
    ["burst below its wait", { type: "burst", wait_over_s: 2_000_000 }, "is within the policy's"],
    ["burst above its cost", { type: "burst", cost_under_usd: 0.000001 }, "is not below the policy's"],
    ["cheapest", { type: "cheapest" }, "at Cloud"],
  ] as [string, Burst, string][])(
    "%s stays, with the reason",
    async (_what, burst, text) => {
      const id = await start("slow.50", burst);
      await says(id, text);
      const shown = await details(id);
      expect(shown.burst).toMatchObject(burst ?? {});
      expect(await providers(id)).toEqual([]);
      const queue = await lab.json<{ data: { id: string; waiting_for: { message: string } }[] }>("GET", "/v1/queue");
      expect(queue.data.find((one) => one.id === id)?.waiting_for.message).toContain(text);
      expect(cloud.asked.launches).toEqual([]);
      await end(id);
    },
    60_000,
  );

  test.each([
    ["burst over its wait", { type: "burst", wait_over_s: 1, cost_under_usd: 100 }, "over the policy's 1 s"],
    ["fastest", { type: "fastest" }, "done in about"],
  ] as [string, Burst, string][])(
    "%s leaves, and the history says why",
    async (_what, burst, text) => {
      const id = await start("quick", burst);
      await lab.reached(id, "succeeded");
      expect(await providers(id)).toEqual(["cloud"]);
      const left = (await history(id)).find((message) => message.startsWith("Leaves for Cloud: "));
      expect(left).toContain(text);
    },
    60_000,
  );

  test("a maximum price holds with every policy", async () => {
    const id = await start("quick", { type: "fastest" }, { max_price_per_hour: 0.5 });
    await says(id, "no rented machine can be used now");
    await Bun.sleep(100);
    expect(cloud.asked.launches).toEqual([]);
    await end(id);
  }, 60_000);

  test("a policy that is changed while the job waits is in force at once", async () => {
    const id = await start("quick", { type: "local_only" });
    await says(id, "own machines only");
    await lab.json("POST", `/v1/queue/${id}`, { body: { burst: { type: "burst" } } });
    await lab.reached(id, "succeeded");
    expect(await providers(id)).toEqual(["cloud"]);
  }, 60_000);

  test("the default of the team holds for jobs without a policy, and is set by administrators only", async () => {
    expect((await team({ type: "local_only" })).status).toBe(200);
    const id = await start("quick", null);
    await says(id, "own machines only");
    const refused = await lab.request("POST", "/v1/jobs", {
      body: { model: "tiny", training_file: lab.fileId, provider: "cloud" },
    });
    expect(refused.status).toBe(400);
    expect(((await refused.json()) as { error: { code: string; param: string } }).error).toMatchObject({
      code: "burst_local_only",
      param: "provider",
    });
    for (const as of ["member", "other"] as const) expect((await team(null, as)).status).toBe(403);
    expect((await team(null)).status).toBe(200);
    await lab.reached(id, "succeeded");
    expect(await providers(id)).toEqual(["cloud"]);
    const [left] = (await history(id)).filter((message) => message.startsWith("Leaves"));
    expect(left).toBe("Leaves for Cloud: no own machines are free");
  }, 60_000);
});

test.each([{ type: "burst", wait_over_s: 1 }, { type: "fastest" }])(
  "a job whose rented machine is taken back returns to own machines that are free: $type",
  async (burst) => {
    await hold();
    const id = await start("slow.200", burst, { max_steps: 15 });
    await until("a step", async () => ((await lab.job(id)).progress.step ?? 0) >= 2, 45_000, 10);
    expect(await providers(id)).toEqual(["cloud"]);
    await end(holder);
    cloud.status = { state: "absent", preempted: true, reason: "spot price" };
    await until("the loss", async () => (await lab.attempts(id)).some((one) => one.outcome === "preempted"), 30_000);
    cloud.status = {};
    await lab.ctx.write((tx) => tx.update(job).set({ notBefore: 0 }).where(eq(job.id, id)));
    await lab.reached(id, "succeeded");
    expect(await providers(id)).toEqual(["cloud", "process"]);
    expect(await history(id)).toContain("Returns to own machines: enough are free now");
  },
  120_000,
);

test.each([
  ["burst", "cheapest"],
  ["burst", { type: "never" }],
  ["burst.wait_over_s", { type: "burst", wait_over_s: -1 }],
  ["burst.cost_under_usd", { type: "burst", cost_under_usd: 0 }],
  ["burst.wait", { type: "burst", wait: 1 }],
  ["burst.wait_over_s", { type: "fastest", wait_over_s: 1 }],
])("a wrong policy is refused by name: %s", async (param, burst) => {
  const answer = await lab.request("POST", "/v1/jobs/plan", {
    body: { model: "tiny", training_file: lab.fileId, burst },
  });
  expect(answer.status).toBe(400);
  expect(((await answer.json()) as { error: { param: string } }).error.param).toStartWith(param);
});
