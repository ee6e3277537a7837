/** Price lists over HTTP with a moved clock: what is refused or a raise, who is notified, and what applies. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { changesOf } from "../../src/billing/prices/changes.ts";
import type { PriceListView } from "../../src/billing/prices/model.ts";
import type { Prices } from "../../src/billing/prices/rate.ts";
import { changeBillingSettings } from "../../src/billing/settings/service.ts";
import { user } from "../../src/db/schema/auth.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { type As, createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";

const DAY = 86_400_000;
let app: TestApp;
let clock: FakeClock;

const dayIn = (days: number) => new Date(clock.now() + days * DAY).toISOString().slice(0, 10);
const gpu = (price_usd: number, more: object = {}) => ({ meter: "gpu_seconds", price_usd, ...more });
const post = (body: object, path = "") => app.request("POST", `/v1/admin/price_lists${path}`, { body });
const made = async (body: object) => {
  const answer = await post(body);
  expect(await answer.clone().json()).toMatchObject({ object: "price_list" });
  return (await answer.json()) as PriceListView;
};
const refusal = async (answer: Response | Promise<Response>) => {
  const { error } = (await (await answer).json()) as { error: { code: string; message: string; param: string } };
  return { status: (await answer).status, code: error.code, param: error.param, message: error.message };
};
const current = (as: As = "member") =>
  app.json<{ list: PriceListView | null; own: PriceListView | null; upcoming: PriceListView[] }>("GET", "/v1/prices", {
    as,
  });
const eventsOf = async (subject: string) =>
  (await app.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.subject, subject))).map(({ type, userId }) => ({
    type,
    userId,
  }));
const pageOf = async (as: As, path: string) => {
  const login = await app.request("POST", "/login", {
    as: "anonymous",
    form: { email: app.emails[as], password: PASSWORD },
  });
  const cookie = login.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  return { cookie, text: await (await app.request("GET", path, { headers: { cookie, accept: "text/html" } })).text() };
};

beforeAll(async () => {
  clock = fakeClock(Date.UTC(2027, 0, 10, 12));
  app = await createTestApp({ ctx: { clock } });
});
afterAll(() => app.close());

const BAD: [string, object, string, string][] = [
  ["a negative price", { items: [gpu(-1)] }, "items.0.price_usd", "must not be negative"],
  ["a price of 1e999", { items: [gpu(1)] }, "items.0.price_usd", "must be a finite number"],
  ["seven decimals", { items: [gpu(1), gpu(0.1234567, { model: "a" })] }, "items.1.price_usd", "at most six decimals"],
  ["seven decimals of a large price", { items: [gpu(1234567.1234567)] }, "items.0.price_usd", "at most six decimals"],
  ["2^53 micro-dollars", { items: [gpu(9_007_199_254.740992)] }, "items.0.price_usd", "at most 9,000,000,000"],
  ["a price as text", { items: [gpu("1" as never)] }, "items.0.price_usd", "must be a number"],
  ["no price", { items: [{ meter: "gpu_seconds" }] }, "items.0.price_usd", "either price_usd or cost_plus_percent"],
  ["two prices", { items: [gpu(1, { cost_plus_percent: 5 })] }, "items.0.price_usd", "either price_usd or"],
  [
    "half a percent",
    { items: [{ meter: "gpu_seconds", cost_plus_percent: 0.5 }] },
    "items.0.cost_plus_percent",
    "whole",
  ],
  [
    "a provider's price of a core",
    { items: [{ meter: "cpu_seconds", cost_plus_percent: 5 }] },
    "items.0.cost_plus_percent",
    "only GPUs",
  ],
  ["an unknown meter", { items: [{ meter: "seats", price_usd: 1 }] }, "items.0.meter", "must be one of gpu_seconds"],
  ["what is never charged", { items: [{ meter: "joules", price_usd: 1 }] }, "items.0.meter", "must be one of"],
  [
    "storage by GPU",
    { items: [{ meter: "byte_hours", gpu_model: "H100", price_usd: 1 }] },
    "items.0.gpu_model",
    "does not depend on gpu_model",
  ],
  ["the same match twice", { items: [gpu(1, { provider: "a" }), gpu(2, { provider: "a" })] }, "items.1", "Keep one"],
  ["an unknown field", { items: [gpu(1, { region: "eu" })] }, "items.0.region", "Unknown parameter"],
  ["euros", { items: [], currency: "eur" }, "currency", "must be usd"],
  ["a negative allowance", { items: [], free: [{ meter: "gpu_seconds", amount: -1 }] }, "free.0.amount", "negative"],
  ["a huge allowance", { items: [], free: [{ meter: "byte_hours", amount: 1e6 }] }, "free.0.amount", "at most 11,491"],
  [
    "two allowances",
    { items: [], free: [1, 2].map((amount) => ({ meter: "gpu_seconds", amount })) },
    "free.1.meter",
    "Keep one",
  ],
  ["a day that does not exist", { items: [], effective_date: "2027-02-30" }, "effective_date", "must be a day"],
  ["a time instead of a day", { items: [], effective_date: "2027-02-03T04:05Z" }, "effective_date", ""],
  ["yesterday", { items: [], effective_date: "2027-01-09" }, "effective_date", "in the past"],
  ["an unknown organization", { items: [gpu(0)], organization: "org-none" }, "organization", "org-none"],
];

describe("a price list", () => {
  test("without one everything costs 0, and the page says so", async () => {
    expect(await current()).toMatchObject({ currency: "usd", list: null, own: null, upcoming: [] });
    expect((await pageOf("member", "/pricing")).text).toContain("Everything on this installation costs $0.");
  });

  test.each(BAD)("is refused with the field for %s", async (what, body, param, message) => {
    const raw = JSON.stringify(body).replace(
      '"price_usd":1}',
      what === "a price of 1e999" ? '"price_usd":1e999}' : "$&",
    );
    const answer = app.request("POST", "/v1/admin/price_lists", {
      raw,
      headers: { "content-type": "application/json" },
    });
    const found = await refusal(answer);
    expect(found).toMatchObject({ status: 400, param });
    expect(found.message).toContain(message);
  });

  test("is made, read and compared by administrators only", async () => {
    for (const [method, path] of [
      ["GET", ""],
      ["POST", ""],
      ["POST", "/changes"],
      ["GET", "/prices_x"],
      ["DELETE", "/prices_x"],
    ] as const) {
      const body = method === "POST" ? { items: [] } : undefined;
      const answer = await app.request(method, `/v1/admin/price_lists${path}`, { as: "member", body });
      expect(answer.status).toBe(403);
    }
  });

  test("that raises prices takes effect 30 days after it is announced, not 29, and everybody is notified", async () => {
    const early = await refusal(post({ items: [gpu(1)], effective_date: dayIn(29) }));
    expect(early).toMatchObject({ status: 400, code: "price_raise_too_soon", param: "effective_date" });
    expect(early.message).toContain("2027-02-10");
    // 30 days of the calendar are not 30 days at noon.
    expect((await refusal(post({ items: [gpu(1)], effective_date: dayIn(30) }))).code).toBe("price_raise_too_soon");
    clock.advance(DAY / 2);
    const body = { items: [gpu(1)], effective_date: dayIn(30), note: "GPUs have a price." };
    expect((await refusal(post({ ...body, effective_date: dayIn(29) }))).code).toBe("price_raise_too_soon");
    expect(await app.json("POST", "/v1/admin/price_lists/changes", { body })).toEqual({
      object: "price_list.changes",
      raise: true,
      earliest_date: dayIn(30),
      changes: [
        {
          kind: "price",
          meter: "gpu_seconds",
          unit: "GPU-hour",
          gpu_model: null,
          provider: null,
          model: null,
          before: null,
          before_percent: null,
          after: 1,
          after_percent: null,
          raise: true,
        },
      ],
    });
    const list = await made(body);
    expect(list).toMatchObject({ state: "announced", effective_date: dayIn(30), organization: null, currency: "usd" });
    expect((await eventsOf(list.id)).map(({ type, userId }) => `${type} ${userId}`).sort()).toEqual(
      Object.values(app.users)
        .map((one) => `billing.prices_announced ${one}`)
        .sort(),
    );
    expect(await current()).toMatchObject({ list: null, upcoming: [{ id: list.id, state: "announced" }] });
    const { text, cookie } = await pageOf("member", "/jobs");
    expect(text).toContain(`New prices take effect on ${dayIn(30)}.`);
    expect(text).toContain("GPUs have a price.");
    await app.request("POST", `/pricing/${list.id}/hide`, { headers: { cookie }, form: {} });
    expect((await pageOf("member", "/jobs")).text).not.toContain("New prices take effect");
    expect((await pageOf("other", "/jobs")).text).toContain("New prices take effect");
    expect((await pageOf("other", "/pricing")).text).toContain("$1.00");

    clock.advance(30 * DAY - 1);
    expect((await current()).list).toBeNull();
    clock.advance(1);
    expect(await current()).toMatchObject({ list: { id: list.id, state: "in_force" }, upcoming: [] });
    expect((await pageOf("other", "/jobs")).text).not.toContain("New prices take effect");
  });

  test("that lowers prices may take effect today, and nobody is notified", async () => {
    expect((await refusal(post({ items: [gpu(0.5)], effective_date: dayIn(0) }))).code).toBe("price_lists_overlap");
    clock.advance(DAY);
    const list = await made({ items: [gpu(0.5)] });
    expect(list).toMatchObject({ state: "in_force", announced_at: null, effective_date: dayIn(0) });
    expect(await eventsOf(list.id)).toEqual([]);
    expect((await current()).list?.items[0]).toMatchObject({ price_usd: 0.5, unit: "GPU-hour" });
    const { data } = await app.json<{ data: PriceListView[] }>("GET", "/v1/admin/price_lists");
    expect(data.map(({ state }) => state)).toEqual(["in_force", "past"]);
    clock.advance(DAY);
    expect(await refusal(post({ items: [gpu(0.5)] }))).toMatchObject({ code: "prices_unchanged", param: "items" });
  });

  test("of one organization comes before the others, and its raise is announced to it alone", async () => {
    const only = { organization: app.orgs.b, items: [gpu(0.25)] };
    const list = await made(only);
    expect(await current("other")).toMatchObject({ own: { id: list.id }, list: { items: [{ price_usd: 0.5 }] } });
    expect((await current("member")).own).toBeNull();
    clock.advance(DAY);
    // What it had is taken away: the price of everybody is dearer.
    expect((await refusal(post({ organization: app.orgs.b, items: [] }))).code).toBe("price_raise_too_soon");
    const raise = await made({ organization: app.orgs.b, items: [], effective_date: dayIn(30) });
    const notified = (await eventsOf(raise.id)).map(({ userId }) => userId).sort();
    expect(notified).toEqual([app.users.other, app.users.otherAdmin].sort());
    expect((await pageOf("member", "/jobs")).text).not.toContain("New prices take effect");
    expect(await refusal(post({ organization: app.orgs.b, items: [gpu(0.1)] }))).toMatchObject({
      code: "price_list_before_scheduled",
    });
    const { data } = await app.json<{ data: PriceListView[] }>(
      "GET",
      `/v1/admin/price_lists?organization=${app.orgs.b}`,
    );
    expect(data.map(({ id }) => id)).toEqual([raise.id, list.id]);
  });

  test("can be withdrawn until it takes effect, the last one first, and those who were notified hear of it", async () => {
    const first = await made({ items: [gpu(2)], effective_date: dayIn(30) });
    clock.advance(1);
    const second = await made({ items: [gpu(1)], effective_date: dayIn(40) });
    expect(second).toMatchObject({ state: "scheduled", announced_at: null });
    const withdraw = (id: string) => app.request("DELETE", `/v1/admin/price_lists/${id}`);
    expect(await refusal(withdraw(first.id))).toMatchObject({ status: 409, code: "price_list_before_scheduled" });
    expect(await (await withdraw(second.id)).json()).toMatchObject({ state: "withdrawn" });
    expect(await eventsOf(second.id)).toEqual([]);
    expect((await withdraw(first.id)).status).toBe(200);
    expect((await eventsOf(first.id)).filter(({ type }) => type === "billing.prices_withdrawn")).toHaveLength(4);
    expect((await refusal(withdraw(first.id))).code).toBe("price_list_not_found");
    const { list } = await current();
    expect(await refusal(withdraw(list?.id ?? ""))).toMatchObject({ status: 409, code: "price_list_in_force" });
    const entries = await app.json<{ data: { action: string }[] }>("GET", "/v1/admin/audit?limit=100");
    const actions = entries.data.map(({ action }) => action).filter((action) => action.startsWith("price_list."));
    expect(actions.filter((action) => action === "price_list.withdraw")).toHaveLength(2);
    expect(actions.filter((action) => action === "price_list.create")).toHaveLength(6);
  });

  test("is shown without sign-in only where the billing settings say so", async () => {
    const ask = (path: string) =>
      app.request("GET", path, { as: "anonymous", headers: { accept: path === "/pricing" ? "text/html" : "*/*" } });
    expect((await ask("/v1/prices")).status).toBe(401);
    expect((await ask("/pricing")).headers.get("location")).toBe("/login?next=%2Fpricing");
    await changeBillingSettings(app.ctx, app.actor("admin"), { public_prices: true });
    expect(await (await ask("/v1/prices")).json()).toMatchObject({ list: { items: [{ price_usd: 0.5 }] }, own: null });
    expect(await (await ask("/pricing")).text()).toContain("$0.50");
  });

  test("is the first one and needs no 30 days as long as only administrators have an account", async () => {
    const fresh = await createTestApp({ ctx: { clock } });
    const set = (price: number) => fresh.request("POST", "/v1/admin/price_lists", { body: { items: [gpu(price)] } });
    try {
      expect((await refusal(set(1))).code).toBe("price_raise_too_soon");
      await fresh.ctx.write((tx) => tx.update(user).set({ role: "admin" }));
      expect(await (await set(1)).json()).toMatchObject({ state: "in_force", announced_at: null });
      clock.advance(DAY);
      expect((await refusal(set(2))).code).toBe("price_raise_too_soon");
    } finally {
      await fresh.close();
    }
  });
});

const item = { gpu_model: null, provider: null, model: null, unit_micros: null, cost_plus_percent: null };
const fixed = (unit_micros: number, match: object = {}) => ({
  ...item,
  meter: "gpu_seconds" as const,
  unit_micros,
  ...match,
});
const plus = (cost_plus_percent: number, match: object = {}) => ({
  ...item,
  meter: "gpu_seconds" as const,
  cost_plus_percent,
  ...match,
});
const free = (quantity: number) => [{ meter: "gpu_seconds" as const, quantity }];
const of = (...items: Prices["items"][number][]): Prices => ({ items, free: [] });
const [H100, CLOUD] = [{ gpu_model: "H100" }, { provider: "cloud" }];

/** Before, after, whether it is a raise, and the differences that are shown: what they are for. */
const CHANGES: [string, Prices, Prices, boolean, string[]][] = [
  ["the same", of(fixed(1)), of(fixed(1)), false, []],
  ["a higher price", of(fixed(1)), of(fixed(2)), true, ["all"]],
  ["a lower price", of(fixed(2)), of(fixed(1)), false, ["all"]],
  ["a price of 0 where there was none", of(), of(fixed(0)), false, []],
  ["a removed price", of(fixed(1)), of(), false, ["all"]],
  ["a specific price above the general one", of(fixed(2)), of(fixed(2), fixed(3, H100)), true, ["H100"]],
  ["a specific price below the general one", of(fixed(2)), of(fixed(2), fixed(1, H100)), false, ["H100"]],
  ["a removed specific price below the general one", of(fixed(2), fixed(1, H100)), of(fixed(2)), true, ["H100"]],
  ["a removed specific price above the general one", of(fixed(2), fixed(3, H100)), of(fixed(2)), false, ["H100"]],
  ["a provider's price instead of a fixed one", of(fixed(9)), of(plus(0)), true, ["all"]],
  ["a fixed price instead of a provider's price", of(plus(50)), of(fixed(1)), true, ["all"]],
  ["nothing instead of a provider's price", of(plus(50)), of(fixed(0)), false, ["all"]],
  ["a higher percentage", of(plus(10)), of(plus(11)), true, ["all"]],
  ["a lower percentage", of(plus(10)), of(plus(9)), false, ["all"]],
  [
    "a dearer price where two prices of the same rank meet",
    of(fixed(1, H100), fixed(5, CLOUD)),
    of(fixed(5, CLOUD), fixed(1, H100)),
    true,
    ["H100 cloud"],
  ],
  ["a smaller allowance", { ...of(fixed(1)), free: free(7200) }, { ...of(fixed(1)), free: free(3600) }, true, ["free"]],
  ["a removed allowance", { ...of(fixed(1)), free: free(7200) }, of(fixed(1)), true, ["free"]],
  ["a larger allowance", of(fixed(1)), { ...of(fixed(1)), free: free(3600) }, false, ["free"]],
  ["a removed allowance of what costs nothing", { ...of(fixed(0)), free: free(7200) }, of(fixed(0)), false, ["free"]],
];

test.each(CHANGES)("%s: whether it is a raise, and what is shown", (_, before, after, raise, shown) => {
  const list = (prices: Prices) => ({ org: null, base: { id: "x", prices } });
  const changes = changesOf(list(before), list(after));
  expect(changes.some((one) => one.raise)).toBe(raise);
  const named = changes.map(({ kind, gpu_model, provider }) =>
    kind === "free" ? "free" : [gpu_model, provider].filter(Boolean).join(" ") || "all",
  );
  expect(named).toEqual(shown);
});
