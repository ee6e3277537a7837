/**
 * The queue's pages over HTTP: the timeline and its tables for an administrator and for another team, scheduling
 * options of a job, the share of a team, and scheduling options in the new-job form.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { newestRound } from "../../src/training/queue/forecasts.ts";
import { invalidateRound, queueCarry } from "../../src/training/queue/runner.ts";
import { viewQueue } from "../../src/training/queue/service.ts";
import { soon, windowText } from "../../views/pages/queue/words.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { seed } from "../support/seed.ts";
import { waitingJob } from "../support/seed-queue.ts";
import { idOf } from "../support/seed-rows.ts";

const PAGE = { accept: "text/html" };
const FORM = {
  "content-type": "application/x-www-form-urlencoded",
  origin: "http://localhost",
  "sec-fetch-site": "same-origin",
};
let t: TestApp;

beforeAll(async () => {
  t = await createTestApp();
  await seed(t.ctx, t.actor("admin"), "full");
});
afterAll(() => t.close());

type Who = "admin" | "member" | "other";
const get = async (path: string, as: Who = "admin", headers: Record<string, string> = PAGE) => {
  const answer = await t.request("GET", path, { headers, as });
  return { status: answer.status, text: await answer.text() };
};
const post = async (path: string, form: Record<string, string> | URLSearchParams, as: Who = "admin") => {
  const raw = new URLSearchParams(form);
  const answer = await t.request("POST", path, { headers: { ...PAGE, ...FORM }, as, raw });
  return { status: answer.status, to: answer.headers.get("location"), text: await answer.text() };
};
const jobView = (id: string) => t.json("GET", `/v1/jobs/${id}`) as Promise<Record<string, unknown>>;

describe("the queue page", () => {
  test("shows administrators waiting work with names, reasons and times", async () => {
    const { status, text } = await get("/queue");
    expect(status).toBe(200);
    for (const words of [
      "support-70b-all-cards",
      "ranking-ablation",
      "Search relevance",
      "22:00 to 06:00 Europe/Berlin, Mon to Fri",
    ])
      expect(text).toContain(words);
    expect(text).toContain("Scheduled not to start before");
    expect(text).not.toMatch(/ style=| on[a-z]+="|<script>/);
  });

  test("agrees with the page of a job about the time left when its run is slow", async () => {
    const id = idOf("ftjob-", 2000);
    const [before] = await t.ctx.db.select({ progress: job.progress }).from(job).where(eq(job.id, id));
    const now = t.ctx.clock.now();
    // 10 steps of 57 s are left, and the current one has taken 8 min already.
    const progress = { ...before?.progress, step: 10, total_steps: 20, eta_s: 569 };
    await t.ctx.write((tx) =>
      tx
        .update(job)
        .set({ progress, progressAt: now - 480_000 })
        .where(eq(job.id, id)),
    );
    invalidateRound(queueCarry(t.ctx));
    expect((await get(`/jobs/${id}`)).text).toContain("about 8 min 32 s left");
    const { running } = await viewQueue(t.ctx, t.actor("admin"), { limit: 1 });
    const ends = running.find((one) => one.id === id)?.ends;
    expect((ends?.earliest ?? 0) - now).toBeWithin(425_000, 512_101);
    expect((ends?.latest ?? 0) - now).toBeWithin(512_100, 720_000);
    const answer = (await t.json("GET", `/v1/fine_tuning/jobs/${id}`)) as { estimated_finish: number };
    expect(answer.estimated_finish - now / 1000).toBeWithin(500, 530);
  });

  test("answers the live fragment alone, filtered by team", async () => {
    const headers = { ...PAGE, "hx-request": "true", "hx-target": "div#queue" };
    const { text } = await get("/queue?mine=true", "admin", headers);
    expect(text).toStartWith('<div id="queue"');
    expect(text).toContain("release-candidate");
    expect(text).not.toContain("ranking-ablation");
  });

  test("shows another team the capacity in use, but no names", async () => {
    const { status, text } = await get("/queue", "other");
    expect(status).toBe(200);
    expect(text).not.toContain("support-70b-all-cards");
    expect(text).not.toContain("Search relevance");
    expect(text).toContain("Another team");
    expect(text).not.toContain("/admin/teams/");
  });
});

describe("the queue page of several teams", () => {
  type Listed = { data: { position: number; id: string | null }[]; has_more: boolean };
  const list = (query: string, as: Who) => t.json("GET", `/v1/queue?${query}`, { as }) as Promise<Listed>;

  test("pages past rows of other teams, which have no id", async () => {
    const seen: number[] = [];
    for (let after = 0; ; ) {
      const { data, has_more } = await list(`limit=3&after=${after}`, "other");
      seen.push(...data.map((row) => row.position));
      expect(data.every((row) => row.id === null)).toBe(true);
      after = data.at(-1)?.position ?? 0;
      if (!has_more) break;
    }
    expect(seen).toEqual(Array.from({ length: 8 }, (_, n) => n + 1));
    expect((await get("/queue?limit=3", "other")).text).toContain("/queue?limit=3&amp;after=3");
  });

  test("pages after an id too, also with the filter by team", async () => {
    const { data } = await list("mine=true", "admin");
    const rest = await list(`mine=true&after=${data[1]?.id}`, "admin");
    expect(rest.data.map((row) => row.id)).toEqual(data.slice(2).map((row) => row.id));
  });

  test("links administrators to the scheduling options of another team's job, and lets them change these", async () => {
    const id = waitingJob(6);
    const { text } = await get("/queue");
    expect(text).toContain(`href="/queue/${id}"`);
    expect(text).not.toContain(`href="/jobs/${id}"`);
    const page = await get(`/queue/${id}`);
    expect([page.status, page.text.includes("ranking-sweep"), page.text.includes(`/jobs/${id}`)]).toEqual([
      200,
      true,
      false,
    ]);
    const form = { priority: "7", not_before: "", deadline: "", from: "", until: "", tz: "UTC" };
    expect((await post(`/queue/${id}`, form)).status).toBe(303);
    const { data } = (await t.json("GET", "/v1/queue")) as { data: { id: string; priority: number }[] };
    expect(data.find((row) => row.id === id)?.priority).toBe(7);
    for (const as of ["member", "other"] as const) expect((await get(`/queue/${id}`, as)).status).toBe(404);
  });
});

describe("the scheduling options of a job", () => {
  test("are shown in a form and changed by it", async () => {
    const id = waitingJob(3);
    const { text } = await get(`/queue/${id}`);
    expect(text).toContain('value="22:00"');
    const form = { priority: "-5", not_before: "2040-01-02T03:04", deadline: "", from: "", until: "", tz: "UTC" };
    expect(await post(`/queue/${id}`, form)).toMatchObject({ status: 303, to: "/queue" });
    expect(await jobView(id)).toMatchObject({
      priority: -5,
      window: null,
      deadline: null,
      not_before: Date.parse("2040-01-02T03:04Z") / 1000,
    });
  });

  test("keep the days of the window, and show them", async () => {
    const id = waitingJob(0);
    const window = { from: "22:00", until: "06:00", tz: "UTC", days: [1, 5] };
    await t.json("POST", `/v1/queue/${id}`, { body: { window } });
    expect((await get("/queue")).text).toContain("22:00 to 06:00 UTC, Mon, Fri");
    const form = new URLSearchParams();
    for (const [name, value] of Object.entries({ priority: "3", from: "22:00", until: "06:00", tz: "UTC" }))
      form.set(name, value);
    for (const day of ["1", "5"]) form.append("days", day);
    await post(`/queue/${id}`, form);
    expect(await jobView(id)).toMatchObject({ priority: 3, window });
    form.append("days", "6");
    await post(`/queue/${id}`, form);
    expect(await jobView(id)).toMatchObject({ window: { ...window, days: [1, 5, 6] } });
  });

  test("take days only with times", async () => {
    const form = { priority: "0", not_before: "", deadline: "", from: "", until: "", tz: "UTC", days: "2" };
    const { status, text } = await post(`/queue/${waitingJob(5)}`, form);
    expect(status).toBe(422);
    expect(text).toContain('id="field-from-error"');
    expect(text).toMatch(/value="2"[^>]* checked|checked[^>]* value="2"/);
  });

  test("can be changed after the deadline has passed, and keep seconds that the form does not show", async () => {
    const id = waitingJob(2);
    const [deadline, startAfter] = [Date.now() - 90_500, Date.now() + 3_600_500];
    await t.ctx.write((tx) => tx.update(job).set({ deadline, startAfter: null }).where(eq(job.id, id)));
    const at = (ms: number) => new Date(ms).toISOString().slice(0, 16);
    const form = { priority: "-2", not_before: "", deadline: at(deadline), from: "", until: "", tz: "UTC" };
    expect((await post(`/queue/${id}`, form)).status).toBe(303);
    await t.ctx.write((tx) => tx.update(job).set({ deadline: null, startAfter }).where(eq(job.id, id)));
    expect((await post(`/queue/${id}`, { ...form, deadline: "", not_before: at(startAfter) })).status).toBe(303);
    const [row] = await t.ctx.db.select().from(job).where(eq(job.id, id));
    expect(row).toMatchObject({ priority: -2, startAfter });
  });

  test("take effect at once: order, reason and predicted start", async () => {
    const id = idOf("ftjob-", 2);
    const later = Math.floor(Date.now() / 1000) + 50 * 3600;
    await t.json("GET", "/v1/queue");
    await t.json("POST", `/v1/queue/${id}`, { body: { not_before: later, priority: 99 } });
    const { data } = (await t.json("GET", "/v1/queue")) as { data: Record<string, unknown>[] };
    expect(data[0]).toMatchObject({ id, waiting_for: { code: "not_before" }, predicted_start: { earliest: later } });
    await t.json("POST", `/v1/queue/${id}`, { body: { not_before: null, priority: 0 } });
  });

  test("concurrent readers share a round, and a reader after a change sees it", async () => {
    const id = idOf("ftjob-", 2);
    invalidateRound(queueCarry(t.ctx));
    const [first, ...others] = await Promise.all(Array.from({ length: 20 }, () => newestRound(t.ctx)));
    expect(others.every((one) => one.round === first?.round)).toBe(true);
    for (const priority of [-3, -4, -5]) {
      invalidateRound(queueCarry(t.ctx));
      const early = newestRound(t.ctx);
      await t.json("POST", `/v1/queue/${id}`, { body: { priority } });
      const { input } = await newestRound(t.ctx);
      expect(input.queued.find((one) => one.id === id)?.priority).toBe(priority);
      await early;
    }
  });

  const nothing = { priority: "0", not_before: "", deadline: "", from: "", until: "", tz: "UTC" };
  test.each([
    ["a priority that is not a number", { priority: "high" }, "field-priority-error"],
    ["a priority out of range", { priority: "101" }, "field-priority-error"],
    ["a deadline in the past", { deadline: "2001-01-01T00:00" }, "field-deadline-error"],
    ["a window without an end", { from: "22:00" }, "field-until-error"],
    ["an empty window", { from: "22:00", until: "22:00" }, "field-until-error"],
    ["an unknown time zone", { from: "22:00", until: "06:00", tz: "Middle/Earth" }, "field-tz-error"],
  ])("refuse %s beside its field and keep what was typed", async (_name, wrong, error) => {
    const { status, text } = await post(`/queue/${waitingJob(5)}`, { ...nothing, ...wrong });
    expect(status).toBe(422);
    expect(text).toContain(`id="${error}"`);
    for (const value of Object.values(wrong)) expect(text).toContain(`value="${value}"`);
  });

  test("let only administrators set a priority above 0", async () => {
    const { status, text } = await post(`/queue/${waitingJob(5)}`, { ...nothing, priority: "10" }, "member");
    expect(status).toBe(422);
    expect(text).toContain('id="field-priority-error"');
    expect(text).toContain("Only administrators can set a priority above 0");
  });

  test("redirect to the job when it has ended", async () => {
    const { data } = (await t.json("GET", "/v1/jobs?state=succeeded&limit=1")) as { data: { id: string }[] };
    const answer = await t.request("GET", `/queue/${data[0]?.id}`, { headers: PAGE });
    expect(answer.status).toBe(303);
    expect(answer.headers.get("location")).toBe(`/jobs/${data[0]?.id}`);
  });
});

describe("a team's share", () => {
  test("is set by an administrator, with mistakes beside their fields", async () => {
    const path = "/admin/teams/org_searchseed";
    expect((await get(path)).text).toContain('value="4"');
    const wrong = await post(path, { weight: "0", max_gpus: "many", gpu_hours_per_month: "" });
    expect(wrong.text).toContain('id="field-weight-error"');
    expect(wrong.text).toContain('id="field-max_gpus-error"');
    expect(await post(path, { weight: "2.5", max_gpus: "", gpu_hours_per_month: "100" })).toMatchObject({
      status: 303,
    });
    const { teams } = (await t.json("GET", "/v1/queue")) as { teams: { id: string }[] };
    expect(teams.find((one) => one.id === "org_searchseed")).toMatchObject({
      weight: 2.5,
      max_gpus: null,
      gpu_hours_per_month: 100,
    });
  });

  test("is refused to members, even for their own team", async () => {
    expect((await get(`/admin/teams/${t.orgs.a}`, "member")).status).toBe(403);
  });

  test("of an unknown team is not found", async () => {
    expect((await get("/admin/teams/none")).status).toBe(404);
  });
});

test("the page of a waiting job shows what it waits for and links to its scheduling options", async () => {
  const { text } = await get(`/jobs/${waitingJob(1)}`);
  expect(text).toContain(`/queue/${waitingJob(1)}`);
});

test("a job run again with changes keeps its priority, window, days and GPUs", async () => {
  const id = idOf("ftjob-", 1);
  const window = { from: "20:00", until: "05:00", tz: "Europe/Berlin", days: [6, 0] };
  await t.ctx.write((tx) =>
    tx
      .update(job)
      .set({ window, priority: -7, deadline: Date.now() - 1000, request: { gpus: 2, parallel: "ddp" } })
      .where(eq(job.id, id)),
  );
  const { text } = await get(`/jobs/new?from=${id}`);
  for (const value of ["-7", "20:00", "05:00", "Europe/Berlin"]) expect(text).toContain(`value="${value}"`);
  expect(text.match(/<input[^>]*name="days"[^>]*checked/g)?.length).toBe(2);
  expect(text).toMatch(/name="gpus"[^>]*value="2"|value="2"[^>]*name="gpus"/);
  expect(text).toMatch(/<option[^>]*value="ddp"[^>]*selected|<option[^>]*selected[^>]*value="ddp"/);
});

test("the new-job form keeps scheduling options as typed", async () => {
  const { text } = await post("/jobs/plan", {
    data: "",
    model: "",
    priority: "-3",
    from: "21:00",
    until: "21:00",
    tz: "Europe/Berlin",
    gpus: "2",
  });
  for (const value of ["-3", "21:00", "Europe/Berlin", "2"]) expect(text).toContain(`value="${value}"`);
});

const HOUR = 3_600_000;
test.each([
  [null, null, "unknown"],
  [0, null, "unknown"],
  [2 * HOUR, null, "in 2 h at the earliest"],
  [0, 1000, "now"],
  [0, 10 * 60_000, "within 10 min"],
  [HOUR, HOUR, "in 1 h"],
  [HOUR / 2, 5.4 * HOUR, "in 30 min to 5 h"],
  [26.2 * HOUR, 60 * HOUR, "in 1 d 2 h to 2 d 12 h"],
])("a start between %p and %p from now is shown as %s", (earliest, latest, text) => {
  expect(soon({ earliest, latest }, 0)).toBe(text);
});

test.each([
  [undefined, "22:00 to 06:00 UTC"],
  [[1, 2, 3, 4, 5], "22:00 to 06:00 UTC, Mon to Fri"],
  [[0, 6], "22:00 to 06:00 UTC, Sat, Sun"],
  [[0, 5, 6], "22:00 to 06:00 UTC, Fri to Sun"],
  [[1, 3, 5], "22:00 to 06:00 UTC, Mon, Wed, Fri"],
])("a window on the days %p is shown as %s", (days, text) => {
  expect(windowText({ from: "22:00", until: "06:00", tz: "UTC", days })).toBe(text);
});
