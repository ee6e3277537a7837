/**
 * The server process of the simulated year: it opens a data directory with a clock that its parent sets, carries out
 * one step after the other, and dies for real at armed fail points.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { and, desc, eq, sql } from "drizzle-orm";
import { type App, createApp, createCtx } from "../../../src/app.ts";
import { overLimit } from "../../../src/billing/budgets/limits.ts";
import { watchBudgets } from "../../../src/billing/budgets/watch.ts";
import { collectRequests } from "../../../src/billing/collect/requests.ts";
import { collectStorage } from "../../../src/billing/collect/storage.ts";
import { checkLate } from "../../../src/billing/late/pass.ts";
import { freezePrices } from "../../../src/billing/prices/lists.ts";
import { giveSignUpCredits } from "../../../src/billing/statements/automatic-credits.ts";
import { closeMonths } from "../../../src/billing/statements/pass.ts";
import { fillGaps } from "../../../src/billing/stripe/events.ts";
import { kickStripe } from "../../../src/billing/stripe/run.ts";
import { loadConfig } from "../../../src/config.ts";
import { file } from "../../../src/db/schema/datasets.ts";
import { deployment } from "../../../src/db/schema/deployments.ts";
import { inference } from "../../../src/db/schema/gateway.ts";
import { attempt, job } from "../../../src/db/schema/jobs.ts";
import { armFailPoints, type FailPoint } from "../../../src/lib/fail-points.ts";
import { reserveAttempt } from "../../../src/training/attempts/budget.ts";
import { meterRunning } from "../../../src/training/attempts/meter.ts";
import { creditLostWork } from "../../../src/training/jobs/lost-credits.ts";
import { jobIn, newestAttempt } from "../../../src/training/jobs/transitions.ts";
import { type Launched, metered } from "../attempt-metering.ts";
import { fakeClock } from "../clock.ts";
import { SIGNING_SECRET, TEST_KEY } from "../stripe-fake.ts";
import type { Act, Reply, ServerInput, Step, YearJob } from "./steps.ts";

/** Seconds from one pass to the next: running work saves a checkpoint that often. */
const CHECKPOINT_S = 6 * 3600;
/** How long Stripe may take, in real milliseconds. */
const STRIPE_MS = 30_000;

const input = JSON.parse(process.argv[2] ?? "{}") as ServerInput;
const clock = fakeClock(input.now);
const config = loadConfig(
  {
    data_dir: input.dir,
    listen: "127.0.0.1:0",
    log_level: "error",
    stripe_test_url: input.stripeUrl,
    public_url: "https://lab.example.test",
    stripe_secret_key: TEST_KEY,
    stripe_webhook_secret: SIGNING_SECRET,
  },
  {},
);

let armed = "";
/** Requests of people are not repeated, so none of them is killed. */
let isSafe = true;
let strike = armFailPoints(null);
/** Passes a point. The parent reads which armed one was passed last when this process died. */
function failPoint(name: FailPoint): void {
  if (isSafe) return;
  if (armed.split(",").some((each) => each.startsWith(`${name}@`))) writeFileSync(join(input.dir, "reached"), name);
  strike(name);
}

// Nothing is launched here.
const ctx = await createCtx(config, { clock, failPoint, compute: { get: () => null, list: () => [] } });
let app: App | null = null;
const NOBODY = { admin: "", member: "", other: "", otherAdmin: "" };
const work = metered(() => ({ ctx, orgs: { a: "", b: "" }, users: NOBODY }), clock);

const launchedOf = async ({ id }: YearJob): Promise<Launched> => ({
  id,
  attemptId: (await newestAttempt(ctx.db, id))?.id ?? "",
});

/** The endpoint of a serve job is ready as long as its job runs. */
const endpoint = ({ id, org, userId }: YearJob, state: "ready" | "stopped") =>
  ctx.write((tx) =>
    tx
      .insert(deployment)
      .values({
        id: `dep-${id}`,
        org,
        name: id,
        model: "tiny",
        baseModelId: "tiny",
        wanted: state === "ready" ? "running" : "stopped",
        state,
        jobId: id,
        createdBy: userId,
        createdAt: clock.now(),
      })
      .onConflictDoUpdate({ target: deployment.id, set: { state } }),
  );

async function launch(of: YearJob, number: number): Promise<void> {
  const [known] = await ctx.db
    .select({ id: attempt.id })
    .from(attempt)
    .where(and(eq(attempt.jobId, of.id), eq(attempt.number, number)));
  if (known) return;
  // As each job is stored, also that of an endpoint.
  await ctx.write((tx) => freezePrices(tx, { id: of.id, org: of.org, maxMicros: null }, clock.now()));
  const provider = of.pricePerHour > 0 ? "cloud" : "process";
  await work.launched({ ...of, price: of.pricePerHour, provider });
  const [made] = await ctx.db
    .select()
    .from(attempt)
    .where(eq(attempt.jobId, of.id))
    .orderBy(desc(attempt.number))
    .limit(1);
  const short = await ctx.write(async (tx) => {
    const row = await jobIn(tx, of.id);
    return row && made ? reserveAttempt(tx, ctx, row, made) : "it was not stored";
  });
  if (short !== null) throw new Error(`${of.id} does not start: ${short}`);
}

/** Running jobs that would pass a budget before their next checkpoint save one and pause, as their trainer does. */
async function stopOverBudget(): Promise<string[]> {
  const over = await overLimit(ctx.db, clock.now(), () => CHECKPOINT_S);
  for (const id of over.keys()) {
    const which = await newestAttempt(ctx.db, id);
    if (!which || which.state === "ended") continue;
    const of = { id, attemptId: which.id };
    await work.moveTo(of, "pausing");
    await work.saved(of, which.org);
    await work.send(of, { type: "finished", outcome: "paused" });
  }
  const stopped = await ctx.db
    .select({ id: attempt.jobId })
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(and(eq(attempt.outcome, "paused"), eq(attempt.endedAt, clock.now())));
  return stopped.map(({ id }) => id);
}

/** Waits until nothing is due at Stripe. */
async function settleStripe(): Promise<void> {
  const until = performance.now() + STRIPE_MS;
  kickStripe(ctx);
  for (;;) {
    const [left] = await ctx.db.all<{ n: number }>(sql`select
      (select count(*) from statement where state = 'closing' and mode = 'stripe' and not_before <= ${clock.now()})
      + (select count(*) from credit where kind = 'refund' and state = 'pending')
      + (select count(*) from stripe_event where state = 'waiting' and not_before <= ${clock.now()}) as n`);
    if (left?.n === 0) return;
    if (performance.now() > until) throw new Error(`${left?.n} things still wait for Stripe`);
    await Bun.sleep(3);
  }
}

async function pass(what: "own" | "stripe", gaps: boolean): Promise<Reply> {
  if (what === "own") {
    await meterRunning(ctx);
    await collectStorage(ctx);
    await collectRequests(ctx);
    const stopped = await stopOverBudget();
    await watchBudgets(ctx);
    await checkLate(ctx);
    await giveSignUpCredits(ctx);
    await creditLostWork(ctx);
    await closeMonths(ctx);
    return { stopped };
  }
  if (gaps) await fillGaps(ctx);
  await settleStripe();
  return {};
}

async function ask({ id, org, userId, input: prompt, output }: Act & { do: "ask" }): Promise<void> {
  const [known] = await ctx.db.select({ n: inference.n }).from(inference).where(eq(inference.id, id));
  if (known) return;
  await ctx.write((tx) =>
    tx.insert(inference).values({
      id,
      org,
      userId,
      model: "tiny",
      at: clock.now(),
      status: 200,
      streamed: false,
      promptTokens: prompt,
      completionTokens: output,
      totalMs: 10,
    }),
  );
}

const store = ({ id, org, userId, bytes }: Act & { do: "store" }) =>
  ctx.write((tx) =>
    tx
      .insert(file)
      .values({
        id,
        org,
        bytes,
        filename: `${id}.jsonl`,
        purpose: "fine-tune",
        sha256: id,
        status: "processed",
        createdBy: userId,
        createdAt: clock.now(),
      })
      .onConflictDoNothing(),
  );

function handle(path: string, init: RequestInit): Promise<Response> {
  app ??= createApp(ctx);
  return app.handle(new Request(`http://localhost${path}`, init));
}
const replyOf = async (answer: Response): Promise<Reply> => ({ status: answer.status, body: await answer.text() });

const send = async (method: string, path: string, headers: Record<string, string>, body?: string): Promise<Reply> =>
  replyOf(await handle(path, { method, headers: { "content-type": "application/json", ...headers }, body }));

/** Signs in and asks, as a person in a browser. */
async function browse({ method, path, email, password }: Act & { do: "browse" }): Promise<Reply> {
  const headers = { origin: "http://localhost", "sec-fetch-site": "same-origin" };
  const login = await handle("/login", { method: "POST", headers, body: new URLSearchParams({ email, password }) });
  const cookie = login.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  return replyOf(await handle(path, { method, headers: { ...headers, cookie } }));
}

async function carryOut(act: Act): Promise<Reply> {
  switch (act.do) {
    case "launch":
      await launch(act.job, act.number);
      return {};
    case "phase":
      if (act.job.kind === "serve") await endpoint(act.job, "ready");
      await work.phase(await launchedOf(act.job), act.phase);
      return {};
    case "checkpoint":
      await work.saved(await launchedOf(act.job), act.job.org);
      return {};
    case "fail":
      if ((await newestAttempt(ctx.db, act.job.id))?.number === act.number)
        await work.fail(await launchedOf(act.job), act.reason);
      return {};
    case "end": {
      const of = await launchedOf(act.job);
      if (act.how === "succeeded") await work.finish(of);
      else {
        await work.moveTo(of, "stopping");
        await work.send(of, { type: "finished", outcome: "cancelled" });
      }
      if (act.job.kind === "serve") await endpoint(act.job, "stopped");
      return {};
    }
    case "ask":
      await ask(act);
      return {};
    case "store":
      await store(act);
      return {};
    case "request": {
      const body = act.body === undefined ? undefined : JSON.stringify(act.body);
      return send(act.method, act.path, { authorization: `Bearer ${act.key}` }, body);
    }
    case "browse":
      return browse(act);
    case "event":
      return send("POST", "/v1/stripe/webhook", { "stripe-signature": act.signature }, act.payload);
    case "pass":
      return pass(act.what, act.fillGaps);
  }
}

process.on("message", async (step: Step) => {
  clock.advance(step.now - clock.now());
  isSafe = step.act.do === "request" || step.act.do === "browse";
  if (step.armed !== armed) {
    armed = step.armed;
    strike = armFailPoints(armed);
  }
  process.send?.(await carryOut(step.act).catch((cause) => ({ error: String(cause?.stack ?? cause) })));
});
process.on("disconnect", () => process.exit());
process.send?.({});
