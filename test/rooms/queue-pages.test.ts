/** The queue's pages over HTTP: the timeline and its tables for an administrator and for another team, a job's place, a team's share, and the wishes in the new-job form. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { soon } from "../../views/pages/queue/words.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { seed } from "../support/seed.ts";
import { waitingJob } from "../support/seed-queue.ts";

const PAGE = { accept: "text/html" };
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
const post = async (path: string, form: Record<string, string>, as: Who = "admin") => {
  const answer = await t.request("POST", path, { headers: PAGE, as, form });
  return { status: answer.status, to: answer.headers.get("location"), text: await answer.text() };
};
const jobView = (id: string) => t.json("GET", `/v1/jobs/${id}`) as Promise<Record<string, unknown>>;

describe("the queue page", () => {
  test("shows what waits, why, and until when, to its administrator with names", async () => {
    const { status, text } = await get("/queue");
    expect(status).toBe(200);
    for (const words of [
      "support-70b-all-cards",
      "ranking-ablation",
      "Search relevance",
      "22:00 to 06:00, Europe/Berlin",
    ])
      expect(text).toContain(words);
    expect(text).toContain("Not to begin before");
    expect(text).not.toMatch(/ style=| on[a-z]+="|<script>/);
  });

  test("answers the part that moves alone, and one's own work alone", async () => {
    const headers = { ...PAGE, "hx-request": "true", "hx-target": "div#queue" };
    const { text } = await get("/queue?mine=true", "admin", headers);
    expect(text).toStartWith('<div id="queue"');
    expect(text).toContain("release-candidate");
    expect(text).not.toContain("ranking-ablation");
  });

  test("tells another team what is taken, not what it is called", async () => {
    const { status, text } = await get("/queue", "other");
    expect(status).toBe(200);
    expect(text).not.toContain("support-70b-all-cards");
    expect(text).not.toContain("Search relevance");
    expect(text).toContain("Another team");
    expect(text).not.toContain("/admin/teams/");
  });
});

describe("a job's place", () => {
  test("is a form with what holds, and is changed by it", async () => {
    const id = waitingJob(3);
    const { text } = await get(`/queue/${id}`);
    expect(text).toContain('value="22:00"');
    const form = { priority: "-5", not_before: "2040-01-02T03:04", deadline: "", from: "", until: "", tz: "UTC" };
    expect(await post(`/queue/${id}`, form)).toMatchObject({ status: 303, to: "/queue" });
    expect(await jobView(id)).toMatchObject({
      ...{ priority: -5, window: null, deadline: null, not_before: Date.parse("2040-01-02T03:04Z") / 1000 },
    });
  });

  const nothing = { priority: "0", not_before: "", deadline: "", from: "", until: "", tz: "UTC" };
  test.each([
    ["a priority that is no number", { priority: "high" }, "field-priority-error"],
    ["a priority off the scale", { priority: "101" }, "field-priority-error"],
    ["a deadline in the past", { deadline: "2001-01-01T00:00" }, "field-deadline-error"],
    ["hours without an end", { from: "22:00" }, "field-until-error"],
    ["hours of no length", { from: "22:00", until: "22:00" }, "field-until-error"],
    ["a time zone that is none", { from: "22:00", until: "06:00", tz: "Middle/Earth" }, "field-tz-error"],
  ])("%s comes back beside its field with everything typed", async (_name, wrong, error) => {
    const { status, text } = await post(`/queue/${waitingJob(5)}`, { ...nothing, ...wrong });
    expect(status).toBe(422);
    expect(text).toContain(`id="${error}"`);
    for (const value of Object.values(wrong)) expect(text).toContain(`value="${value}"`);
  });

  test("above 0 is given by administrators alone", async () => {
    const { status, text } = await post(`/queue/${waitingJob(5)}`, { ...nothing, priority: "10" }, "member");
    expect(status).toBe(422);
    expect(text).toContain("Priorities above 0 are given by administrators");
  });

  test("is none for a job that has ended", async () => {
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
      ...{ weight: 2.5, max_gpus: null, gpu_hours_per_month: 100 },
    });
  });

  test("of nobody is not found", async () => {
    expect((await get("/admin/teams/none")).status).toBe(404);
  });
});

test("a waiting job's page says what it waits for, and where to change that", async () => {
  const { text } = await get(`/jobs/${waitingJob(1)}`);
  expect(text).toContain("Should begin");
  expect(text).toContain(`/queue/${waitingJob(1)}`);
  expect(text).toContain("Nothing here can run it");
});

test("the new-job form keeps wishes, and says what is wrong with them", async () => {
  const { text } = await post("/jobs/plan", {
    ...{ data: "", model: "", priority: "-3", from: "21:00", until: "21:00", tz: "Europe/Berlin", gpus: "2" },
  });
  for (const value of ["-3", "21:00", "Europe/Berlin", "2"]) expect(text).toContain(`value="${value}"`);
});

const HOUR = 3_600_000;
test.each([
  [null, null, "not known"],
  [0, null, "not known"],
  [2 * HOUR, null, "in 2 h at the earliest"],
  [0, 1000, "now"],
  [0, 10 * 60_000, "within 10 min"],
  [HOUR, HOUR, "in 1 h"],
  [HOUR / 2, 5.4 * HOUR, "in 30 min to 5 h"],
  [26.2 * HOUR, 60 * HOUR, "in 1 d 2 h to 2 d 12 h"],
])("a start between %p and %p from now is told as %s", (earliest, latest, words) => {
  expect(soon({ earliest, latest }, 0)).toBe(words);
});
