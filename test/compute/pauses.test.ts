/** Pauses of providers that refused a request, and prices that expire between plan and launch, with a fast clock. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { and, eq } from "drizzle-orm";
import { testProvider } from "../../src/compute/limits/administration.ts";
import { pausedProviders, pauseText, recordFailure } from "../../src/compute/limits/pauses.ts";
import type { ProviderErrorKind } from "../../src/contract/provider.ts";
import { providerPause } from "../../src/db/schema/hosts.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { newId } from "../../src/lib/ids.ts";
import { begin } from "../../src/training/attempts/begin.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { createInputs, trainSpec } from "../support/attempt.ts";
import { fakeClock } from "../support/clock.ts";
import { type RentedMachines, rentedMachines } from "../support/rented-machines.ts";

const HOUR = 3_600_000;
const clock = fakeClock(Date.UTC(2026, 10, 15, 12));
let t: TestApp;
let cloud: RentedMachines;

beforeAll(async () => {
  const config = { trainer_url: "https://lab.example.com", trainer_probe: false };
  t = await createTestApp({ config, ctx: { clock } });
  await createInputs(t);
});
beforeEach(async () => {
  cloud = rentedMachines(["cheap", "dear"]);
  t.ctx.compute = cloud;
  await t.ctx.write((tx) => tx.delete(providerPause));
  await t.ctx.write((tx) => tx.delete(noticeEvent));
});
afterAll(() => t.close());

const fails = (kind: ProviderErrorKind, retryAfterMs: number | null = null) =>
  t.ctx.write((tx) =>
    recordFailure(tx, t.ctx, "cloud", "launch", {
      kind,
      message: `refused: ${kind}`,
      retryAfterMs,
      vendorCode: "E1",
      reason: null,
    }),
  );
const pause = async () => (await pausedProviders(t.ctx.db, clock.now())).get("cloud");
const notices = async () =>
  (
    await t.ctx.db
      .select()
      .from(noticeEvent)
      .where(and(eq(noticeEvent.type, "provider.refused"), eq(noticeEvent.org, t.orgs.a)))
  ).length;

describe("a rate limit", () => {
  test.each([
    ["with retry-after pauses for as long as the vendor says", 7000],
    ["without retry-after pauses for half a minute", null],
  ])("%s, ends by itself, and is nothing for people to do", async (_what, retryAfterMs) => {
    const ms = retryAfterMs ?? 30_000;
    await fails("rate_limited", retryAfterMs);
    const found = await pause();
    expect(found).toMatchObject({ kind: "rate_limited", until: clock.now() + ms });
    expect(found && pauseText("Cloud", found)).toBe("Cloud: refused: rate_limited (E1)");
    expect(await notices()).toBe(0);
    clock.advance(ms - 1);
    expect(await pause()).toBeDefined();
    clock.advance(1);
    expect(await pause()).toBeUndefined();
  });

  test("does not shorten the pause of a provider that refuses its key, and a longer one replaces a shorter", async () => {
    await fails("rate_limited", 5000);
    await fails("rate_limited", 60_000);
    expect((await pause())?.until).toBe(clock.now() + 60_000);
    await fails("auth");
    await fails("rate_limited", 5000);
    expect(await pause()).toMatchObject({ kind: "auth", until: clock.now() + 6 * HOUR });
  });
});

describe.each(["auth", "quota"] as const)("a refusal of the kind %s", (kind) => {
  test("is shown once, keeps its beginning, and is asked again after six hours", async () => {
    const since = clock.now();
    await fails(kind);
    clock.advance(HOUR);
    await fails(kind);
    expect(await notices()).toBe(1);
    const found = await pause();
    expect(found).toMatchObject({ kind, since, until: clock.now() + 6 * HOUR });
    expect(found && pauseText("Cloud", found)).toContain("An administrator has to see to it on the page Providers");
    clock.advance(6 * HOUR);
    expect(await pause()).toBeUndefined();
  });

  test("is lifted by a test that passes, not by one that fails; the next refusal is shown again", async () => {
    await fails(kind);
    const { provider } = cloud.list()[0] ?? {};
    if (!provider) throw new Error("no provider");
    const { validate } = provider;
    provider.validate = async () => ({ ok: false, problems: [{ field: "api_key", message: "no", remedy: "" }] });
    expect((await testProvider(t.ctx, t.actor("admin"), "cloud")).ok).toBe(false);
    expect(await pause()).toBeDefined();
    provider.validate = validate;
    expect((await testProvider(t.ctx, t.actor("admin"), "cloud")).ok).toBe(true);
    expect(await pause()).toBeUndefined();
    await fails(kind);
    expect(await notices()).toBe(2);
  });
});

describe("a price that expires between offer and launch", () => {
  /** The first launch takes longer than the promise of the second offer; that one then costs something else. */
  async function started(priceLater: number, most: number | null) {
    const [entry] = cloud.list();
    if (!entry) throw new Error("no provider");
    const { provider } = entry;
    const shelf = await provider.offers(trainSpec().need);
    let asked = 0;
    provider.offers = async () => {
      const later = asked++ > 0;
      return shelf.map((one) => ({
        ...one,
        quoteExpiresAt: clock.now() + 10_000,
        pricePerHour: later && one.id === "dear" ? priceLater : one.pricePerHour,
      }));
    };
    const { launch } = provider;
    provider.launch = async (spec, offer, context) => {
      if (offer.id !== "cheap") return launch(spec, offer, context);
      clock.advance(20_000);
      const refused = new Error("sold out");
      throw Object.assign(refused, {
        providerErrorKind: "no_capacity",
        retryAfterS: null,
        reason: null,
        vendorCode: "X",
      });
    };
    const id = newId("trainJob");
    const { org, userId } = t.actor("admin");
    const spec = trainSpec({ need: { ...trainSpec().need, max_price_per_hour: most } });
    const row = { id, org, kind: "train" as const, name: "quote", state: "queued" as const, spec, createdBy: userId };
    const more = {
      request: {},
      metadata: {},
      progress: {},
      attempts: 0,
      createdAt: clock.now(),
      queuedAt: clock.now(),
    };
    await t.ctx.write((tx) => tx.insert(job).values({ ...row, ...more }));
    let work: Promise<void> = Promise.resolve();
    const target = { providers: cloud.list(), hostId: null, gpus: [] };
    await begin(t.ctx, id, target, (launching) => {
      work = launching;
    });
    await work;
    const [made] = await t.ctx.db.select().from(attempt).where(eq(attempt.jobId, id));
    const [now] = await t.ctx.db.select().from(job).where(eq(job.id, id));
    return { made, now, asked: () => asked };
  }

  test("is asked again, and the launch is made at the current price", async () => {
    const { made, asked } = await started(2.5, 3);
    expect(asked()).toBe(2);
    expect(cloud.launches.map(({ offer, context }) => [offer, context.maxPricePerHour])).toEqual([["dear", 2.5]]);
    expect(made).toMatchObject({ state: "starting", offer: { id: "dear", pricePerHour: 2.5 } });
  });

  test("is not paid when it is above the limit of the job by now", async () => {
    const { made, now, asked } = await started(3.5, 3);
    expect(asked()).toBe(2);
    expect(cloud.launches).toEqual([]);
    expect(made).toMatchObject({ state: "ended", outcome: "no_capacity" });
    expect(now?.state).toBe("queued");
  });
});
