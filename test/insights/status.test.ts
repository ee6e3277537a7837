/**
 * The status page with a moved clock and a real listener: outages, restarts, uptime by month, who sees it, incidents.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { asc, eq } from "drizzle-orm";
import { maintenanceWindow } from "../../src/db/schema/announcements.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { host } from "../../src/db/schema/hosts.ts";
import { noticeDelivery, noticeEvent } from "../../src/db/schema/notices.ts";
import { statusComponent, statusDay } from "../../src/db/schema/status.ts";
import { piecesOf } from "../../src/insights/status/intervals.ts";
import type { AdminComponentView, IncidentView, StatusView } from "../../src/insights/status/model.ts";
import { startStatus } from "../../src/insights/status/probe.ts";
import { recordProbes } from "../../src/insights/status/record.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { noteRound } from "../../src/training/queue/last-round.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;

const observed = async ({ ctx }: TestApp, component = "api") => {
  const [row] = await ctx.db.select().from(statusComponent).where(eq(statusComponent.id, component));
  return row;
};
const probed = (app: TestApp) =>
  until("a stored probe", async () => (await observed(app))?.observedUntil === app.ctx.clock.now(), 10_000, 1);
/** Minutes with a probe after each; the scheduler works. */
async function minutes(app: TestApp, clock: FakeClock, count: number) {
  for (let n = 0; n < count; n++) {
    clock.advance(MINUTE);
    noteRound(app.ctx);
    await probed(app);
  }
}
const read = (app: TestApp) => app.json<StatusView>("GET", "/v1/status");
const component = (status: StatusView, id: string) => {
  const found = status.components.find((one) => one.id === id);
  if (!found) throw new Error(`no component ${id}`);
  return found;
};

test("time is split by day and by planned windows, which may overlap", () => {
  const at = (hours: number) => hours * 3_600_000;
  expect(piecesOf({ from: at(22), until: at(50) }, [])).toEqual([
    { day: 0, ms: at(2), planned: false },
    { day: 1, ms: at(24), planned: false },
    { day: 2, ms: at(2), planned: false },
  ]);
  const windows = [
    { from: at(22), until: at(25) },
    { from: at(24.5), until: at(26) },
    { from: at(60), until: at(61) },
  ];
  expect(piecesOf({ from: at(23), until: at(27) }, windows).filter(({ ms }) => ms > 0)).toEqual([
    { day: 0, ms: at(1), planned: true },
    { day: 1, ms: at(0.5), planned: true },
    { day: 1, ms: at(0.5), planned: true },
    { day: 1, ms: at(1), planned: true },
    { day: 1, ms: at(1), planned: false },
  ]);
});

test("an outage and a restart count to the minute, by month; maintenance and old days do not count", async () => {
  const clock = fakeClock(Date.parse("2026-01-31T23:30:00Z"));
  const app = await createTestApp({ ctx: { clock } });
  let server: RunningServer = startServer(app.ctx, app.app);
  let stop = startStatus(app.ctx);
  await probed(app);
  await minutes(app, clock, 30);
  await server.stop(0);
  await minutes(app, clock, 10);
  expect(await observed(app)).toMatchObject({ state: "down", since: Date.parse("2026-02-01T00:01:00Z") });
  server = startServer(app.ctx, app.app);
  await minutes(app, clock, 20);
  await stop();
  clock.advance(60 * MINUTE);
  noteRound(app.ctx);
  stop = startStatus(app.ctx);
  await probed(app);
  await minutes(app, clock, 30);

  const status = await read(app);
  const api = component(status, "api");
  expect(status).toMatchObject({
    state: "operational",
    target: 99.9,
    checked_at: Date.parse("2026-02-01T02:00Z") / 1000,
  });
  expect(api.days).toHaveLength(90);
  // February: 50 of 120 minutes up, 10 without a listener and 60 without a server. January: all of 30 minutes.
  expect(api.months.slice(0, 2)).toEqual([
    { month: "2026-02", uptime: 41.6666, down_s: 4200, target_met: false, partial: true },
    { month: "2026-01", uptime: 100, down_s: 0, target_met: true, partial: false },
  ]);
  expect(api.uptime).toBe(53.3333);
  expect(api.days.slice(-2)).toEqual([
    { date: "2026-01-31", uptime: 100, down_s: 0, degraded_s: 0, maintenance_s: 0 },
    { date: "2026-02-01", uptime: 41.6666, down_s: 4200, degraded_s: 0, maintenance_s: 0 },
  ]);
  expect(api.days[0]).toMatchObject({ date: "2025-11-04", uptime: null });
  // Jobs continue without the server: its time is not observed.
  expect(component(status, "training").months[0]).toMatchObject({ uptime: 100, down_s: 0 });
  // Nothing is deployed.
  expect(component(status, "inference")).toMatchObject({ state: "unused", uptime: null });

  await stop();
  const probes = [{ component: "api", state: "down" as const, problem: "off" }];
  clock.advance(60 * MINUTE);
  const until3 = clock.now();
  const windows = [{ from: until3 - 45 * MINUTE, until: until3 }];
  await recordProbes(app.ctx, probes, { now: until3, gap: true, windows });
  const [today] = await app.ctx.db
    .select()
    .from(statusDay)
    .where(eq(statusDay.component, "api"))
    .orderBy(asc(statusDay.day))
    .offset(1)
    .limit(1);
  expect(today).toMatchObject({ downMs: 85 * MINUTE, plannedMs: 45 * MINUTE, upMs: 50 * MINUTE });

  // Months later: one long gap, cut to the days that are kept.
  clock.advance(200 * DAY);
  await recordProbes(app.ctx, probes, { now: clock.now(), gap: true, windows: [] });
  const days = await app.ctx.db.select().from(statusDay).orderBy(asc(statusDay.day));
  expect(new Set(days.map(({ component: of }) => of))).toEqual(new Set(["api"]));
  expect(days).toHaveLength(90);
  expect(days[0]?.day).toBe(Math.floor(clock.now() / DAY) - 89);
  // A clock that is set back adds nothing.
  await recordProbes(app.ctx, probes, { now: clock.now() - DAY, gap: false, windows: [] });
  expect(await app.ctx.db.select().from(statusDay).orderBy(asc(statusDay.day))).toEqual(days);
  await server.stop(0);
  await app.close();
}, 60_000);

test("a restart in a planned maintenance counts only for the time outside of it", async () => {
  const clock = fakeClock(Date.parse("2026-03-02T10:00:00Z"));
  const app = await createTestApp({ ctx: { clock } });
  const stop = startStatus(app.ctx);
  await probed(app);
  await stop();
  const plan = { reason: "Power", message: "", endpoints: "stay", trainings: "wait", leadMs: 0, mail: false } as const;
  const window = { ...plan, startsAt: clock.now() + 10 * MINUTE, endsAt: clock.now() + 40 * MINUTE };
  const made = { createdAt: clock.now(), createdBy: "u" };
  await app.ctx.write(async (tx) => {
    await tx.insert(maintenanceWindow).values({ ...window, ...made, id: "planned" });
    const canceled = { ...window, endsAt: clock.now() + 90 * MINUTE, canceledAt: clock.now() };
    await tx.insert(maintenanceWindow).values({ ...canceled, ...made, id: "canceled" });
  });
  const times = { starts_at: window.startsAt / 1000, ends_at: window.endsAt / 1000 };
  expect((await read(app)).maintenance).toEqual([{ id: "planned", reason: "Power", ...times }]);
  clock.advance(60 * MINUTE);
  const again = startStatus(app.ctx);
  await probed(app);
  const today = component(await read(app), "api").days.at(-1);
  expect(today).toMatchObject({ down_s: 30 * 60, maintenance_s: 30 * 60, uptime: 0 });
  await again();
  await app.close();
});

test("a scheduler that stands still, unreachable hosts and failing endpoints show; nobody learns their names", async () => {
  const clock = fakeClock();
  const app = await createTestApp({ ctx: { clock }, config: { status_page: "public" } });
  const { ctx } = app;
  const facts = { provider: "process", cpus: 2, memoryMb: 1, createdAt: 0 };
  const add = (id: string, seenAt: number) =>
    ctx.write((tx) => tx.insert(host).values({ ...facts, id, name: `secret-${id}.internal`, seenAt }));
  await add("process.a", clock.now());
  await add("process.b", clock.now() - 10 * MINUTE);
  noteRound(ctx);
  const stop = startStatus(ctx);
  await probed(app);
  const local = async () => (await read(app)).components.at(-1);
  expect(await local()).toMatchObject({ name: "Provider: local", state: "degraded" });
  clock.advance(MINUTE);
  await probed(app);
  clock.advance(MINUTE);
  await probed(app);
  const [, training] = (await read(app)).components;
  expect(training).toMatchObject({ id: "training", state: "down" });
  expect(await observed(app, "training")).toMatchObject({ problem: "The scheduler has not run for 120 s." });
  expect(await local()).toMatchObject({ state: "down" });
  const endpoint = { org: app.orgs.a, baseModelId: "b", createdBy: "u", createdAt: 0, wanted: "running" } as const;
  await ctx.write(async (tx) => {
    for (const state of ["ready", "failed"] as const)
      await tx.insert(deployment).values({ ...endpoint, id: `dep_${state}`, name: "secret-deal", model: state, state });
    const asleep = { ...endpoint, wanted: "asleep", id: "dep_asleep", name: "secret-nap" } as const;
    await tx.insert(deployment).values({ ...asleep, model: "asleep", state: "failed" });
  });
  clock.advance(MINUTE);
  await probed(app);
  expect((await read(app)).components[2]).toMatchObject({ id: "inference", state: "degraded" });
  expect(await observed(app, "inference")).toMatchObject({ problem: "1 of 2 endpoints fail." });
  await ctx.write((tx) => tx.update(deployment).set({ state: "failed" }));
  clock.advance(MINUTE);
  await probed(app);
  expect((await read(app)).components[2]).toMatchObject({ state: "down" });
  await stop();

  const asVisitor = await app.request("GET", "/status", { as: "anonymous", headers: { accept: "text/html" } });
  const page = await asVisitor.text();
  expect(page).toContain("Provider: local");
  expect(page + JSON.stringify(await read(app))).not.toMatch(/secret-|process\b/);

  const { data } = await app.json<{ data: AdminComponentView[] }>("GET", "/v1/admin/status_components");
  const provider = data.find(({ watches }) => watches === "provider:process");
  expect(provider?.problem).toContain("secret-process.b.internal");
  const path = `/v1/admin/status_components/${provider?.id}`;
  await app.json("POST", path, { body: { name: "GPUs in Munich" } });
  expect(await local()).toMatchObject({ name: "GPUs in Munich" });
  await app.json("POST", path, { body: { hidden: true } });
  expect((await read(app)).components.map(({ id }) => id)).toEqual(["api", "training", "inference"]);
  expect((await app.request("POST", path, { as: "member", body: { hidden: false } })).status).toBe(403);
  await app.close();
});

describe("who sees it", () => {
  // What a visitor, a member and an administrator get of /status and /v1/status.
  const CASES = [
    { mode: "off", anonymous: [404, 404], member: [404, 404], admin: [404, 404] },
    { mode: "members", anonymous: [303, 401], member: [200, 200], admin: [200, 200] },
    { mode: "public", anonymous: [200, 200], member: [200, 200], admin: [200, 200] },
  ] as const;
  for (const { mode, ...expected } of CASES)
    test(`status_page is ${mode}`, async () => {
      const app = await createTestApp({ config: { status_page: mode } });
      for (const [as, [page, api]] of Object.entries(expected) as [
        "anonymous" | "member" | "admin",
        [number, number],
      ][]) {
        const answer = await app.request("GET", "/status", { as, headers: { accept: "text/html" } });
        expect(answer.status).toBe(page);
        if (page === 303) expect(answer.headers.get("location")).toBe("/login?next=%2Fstatus");
        expect((await app.request("GET", "/v1/status", { as })).status).toBe(api);
        expect((await app.request("GET", "/v1/status/incidents", { as })).status).toBe(api);
      }
      const login = await (await app.request("GET", "/login", { as: "anonymous" })).text();
      expect(login.includes('href="/status"')).toBe(mode === "public");
      await app.close();
    });

  test("visitors share one rendered page, which a change renews", async () => {
    const app = await createTestApp({ config: { status_page: "public" } });
    const visit = () => app.request("GET", "/status", { as: "anonymous", headers: { accept: "text/html" } });
    const first = await visit();
    expect(first.headers.get("cache-control")).toBe("public, max-age=15");
    const text = await first.text();
    const reads = { count: 0 };
    const { db } = app.ctx;
    app.ctx.db = new Proxy(db, {
      get(target, name, receiver) {
        if (name === "select") reads.count++;
        return Reflect.get(target, name, receiver);
      },
    });
    for (let n = 0; n < 5; n++) expect(await (await visit()).text()).toBe(text);
    expect(reads.count).toBe(0);
    app.ctx.db = db;
    await app.json("POST", "/v1/admin/incidents", { body: { title: "Slow uploads", text: "We look." } });
    expect(await (await visit()).text()).toContain("Slow uploads");
    await app.close();
  });
});

describe("incidents", () => {
  let app: TestApp;
  let clock: FakeClock;
  let stop: () => void;
  const post = <T = IncidentView>(path: string, body: object) =>
    app.json<T>("POST", `/v1/admin/incidents${path}`, { body });
  beforeAll(async () => {
    clock = fakeClock(Date.now());
    app = await createTestApp({ ctx: { clock }, config: { mail_url: "smtp://127.0.0.1:9?tls=none" } });
    const probing = startStatus(app.ctx);
    await probed(app);
    await probing();
    stop = startNotices(app.ctx);
  });
  afterAll(async () => {
    stop();
    await app.close();
  });

  test("an administrator opens, updates and resolves one; every step is kept with its time", async () => {
    const began = clock.now();
    const opened = await post("", {
      title: "Jobs wait",
      text: "**We** look. <script>alert(1)</script> [x](javascript:alert(1))",
      impact: "major",
      components: ["training"],
      notify: true,
    });
    expect(opened).toMatchObject({
      status: "investigating",
      resolved_at: null,
      components: [{ id: "training", name: "Training" }],
    });
    const status = await read(app);
    expect(status).toMatchObject({ state: "down", incidents: [{ id: opened.id }] });
    expect(component(status, "training").state).toBe("down");
    expect(component(status, "api").state).toBe("operational");
    const home = await (await app.request("GET", "/jobs", { as: "member", headers: { accept: "text/html" } })).text();
    expect(home).toContain("Incident: Jobs wait");
    const page = await (await app.request("GET", "/status", { headers: { accept: "text/html" } })).text();
    expect(page).toContain("<strong>We</strong> look. &lt;script>alert(1)");
    expect(page).not.toContain("javascript:");

    clock.advance(20 * MINUTE);
    await post(`/${opened.id}/updates`, { status: "identified", text: "A switch.", impact: "minor" });
    expect(component(await read(app), "training").state).toBe("degraded");
    clock.advance(10 * MINUTE);
    const resolved = await post(`/${opened.id}/updates`, { status: "resolved", text: "Replaced.", notify: true });
    const seconds = (ms: number) => Math.floor(ms / 1000);
    expect(resolved).toMatchObject({
      status: "resolved",
      started_at: seconds(began),
      resolved_at: seconds(began + 30 * MINUTE),
    });
    expect(resolved.updates.map(({ status: each, created_at }) => [each, created_at])).toEqual([
      ["resolved", seconds(began + 30 * MINUTE)],
      ["identified", seconds(began + 20 * MINUTE)],
      ["investigating", seconds(began)],
    ]);
    expect((await read(app)).incidents).toEqual([]);
    const audit = await app.json<{ data: { action: string }[] }>("GET", `/v1/admin/audit?target=${opened.id}`);
    expect(audit.data.map(({ action }) => action)).toEqual(["incident.resolve", "incident.update", "incident.open"]);
    const list = await app.json<{ data: IncidentView[] }>("GET", "/v1/status/incidents", { as: "other" });
    expect(list.data).toEqual([resolved]);
  });

  test("users get a notice when asked to, and a mail when they chose so", async () => {
    const mails = () => app.ctx.db.select().from(noticeDelivery).where(eq(noticeDelivery.type, "incident.opened"));
    expect(await mails()).toEqual([]);
    const notices = await app.json<{ data: { type: string; title: string }[] }>("GET", "/v1/notices", { as: "other" });
    expect(notices.data.map(({ type, title }) => [type, title]).sort()).toEqual([
      ["incident.opened", "Incident: Jobs wait"],
      ["incident.resolved", "Resolved: Jobs wait"],
    ]);
    await app.json("POST", "/v1/notices/preferences", { as: "member", body: { incidents: { mail: true } } });
    await post("", { title: "Slow", text: "Wait.", status: "resolved", impact: "none" });
    await post("", { title: "Slow again", text: "Wait.", notify: true });
    const [mail] = await until("the mail", async () => ((await mails()).length > 0 ? mails() : null), 10_000, 5);
    expect(mail).toMatchObject({ destination: `mail:${app.emails.member}`, summary: "Incident: Slow again" });
    expect(await app.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.title, "Resolved: Slow"))).toEqual([]);
  });

  test("what is wrong is refused by name, and members post nothing", async () => {
    const refused = async (body: object, path = "") => {
      const answer = await app.request("POST", `/v1/admin/incidents${path}`, { body });
      const { error } = (await answer.json()) as { error: { code: string; param: string } };
      return [answer.status, error.code, error.param];
    };
    const good = { title: "a", text: "b" };
    expect(await refused({ ...good, components: ["nothing"] })).toEqual([
      400,
      "status_component_not_found",
      "components",
    ]);
    const later = Math.floor(clock.now() / 1000) + 60;
    expect(await refused({ ...good, started_at: later })).toEqual([400, "incident_in_the_future", "started_at"]);
    expect(await refused({ status: "resolved", text: "x" }, "/inc_none/updates")).toEqual([
      404,
      "status_incident_not_found",
      "id",
    ]);
    expect((await refused({ ...good, title: " " }))[2]).toBe("title");
    expect((await app.request("POST", "/v1/admin/incidents", { as: "member", body: good })).status).toBe(403);
    const { id } = await post("", good);
    expect(await app.json("DELETE", `/v1/admin/incidents/${id}`)).toMatchObject({ deleted: true });
    expect((await app.request("DELETE", `/v1/admin/incidents/${id}`)).status).toBe(404);
  });

  test.skipIf(!hasBrowser)("an administrator posts one in the browser, and the page has bars and a table", async () => {
    const browser = await openBrowser(app);
    const { page, base, troubles } = browser;
    await page.goto(`${base}/admin/incidents`);
    await page.getByRole("button", { name: "Open incident" }).click();
    await page.fill("[name=title]", "Browser incident");
    await page.locator(".sheet [name=text]").fill("We *look*.");
    await page.locator(".sheet").getByLabel("Training").check();
    await page.getByRole("button", { name: "Post it" }).click();
    const entry = page.locator("article", { hasText: "Browser incident" });
    await entry.getByText("Update or resolve").click();
    await entry.locator("[name=status]").selectOption("resolved");
    await entry.locator("[name=text]").fill("Done.");
    await entry.getByRole("button", { name: "Post update" }).click();
    await page.getByText("The incident is resolved.").waitFor();
    await page.goto(`${base}/status`);
    expect(await page.locator("#component-api .uptime-bars rect").count()).toBe(90);
    await page.locator("#component-api summary").click();
    expect(await page.getByRole("table", { name: "API: uptime by month" }).isVisible()).toBe(true);
    await page.locator("#incidents").getByRole("heading", { name: "Browser incident" }).waitFor();
    expect(troubles).toEqual([]);
    await browser.close();
  });
});
