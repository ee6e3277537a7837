/** A maintenance in the browser with a moved clock, from its announcement to the jobs that resume after it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { auditLog } from "../../src/db/schema/audit.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { spanText } from "../../src/notices/maintenance/model.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { browserOf } from "../support/cookies.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";

const MINUTE = 60_000;
const REASON = "Driver update";

describe.skipIf(!hasBrowser)("maintenance", () => {
  let lab: Lab;
  let clock: FakeClock;
  let browser: TestBrowser;
  let stop = () => {};
  beforeAll(async () => {
    clock = fakeClock(Date.now());
    lab = await createLab({ trainSlots: 1, clock });
    stop = startNotices(lab.ctx);
    browser = await openBrowser(lab);
  }, 60_000);
  afterAll(async () => {
    stop();
    await browser.close();
    await lab.close();
  }, 60_000);

  const local = (at: number) => new Date(at).toISOString().slice(0, 16);
  const queue = () => lab.json<{ maintenance: object[]; data: { waiting_for: object }[] }>("GET", "/v1/queue");
  const events = async () =>
    (await lab.ctx.db.select().from(noticeEvent)).filter(({ type }) => type.startsWith("maintenance."));

  test("is announced, held for, carried out and over, and no step is lost", async () => {
    const { page, base, troubles } = browser;
    await page.goto(`${base}/admin/maintenance`);
    await page.getByText("No maintenance").first().waitFor();
    const runs = await lab.train("runs-slow.40", { max_steps: 120, save_every: 100 });
    await until("some steps", async () => ((await lab.job(runs)).progress.step ?? 0) >= 5, 45_000, 10);

    const [start, end] = [Math.ceil(clock.now() / MINUTE + 1) * MINUTE, Math.ceil(clock.now() / MINUTE + 5) * MINUTE];
    await page.getByRole("link", { name: "Schedule maintenance" }).click();
    await page.fill("[name=starts_at]", local(start));
    await page.fill("[name=ends_at]", local(end));
    await page.fill("[name=reason]", REASON);
    await page.getByRole("button", { name: "Schedule", exact: true }).click();
    await page.waitForURL(`${base}/admin/maintenance`);
    const when = spanText(start, end);
    await page.getByText(`Maintenance from ${when}: ${REASON}`).waitFor();

    // Everybody hears of it: a banner that can be hidden, a notice, the API.
    const member = browserOf(lab);
    await member.signIn("member");
    const read = async () => (await member.send("GET", "/settings", { headers: { accept: "text/html" } })).text();
    const hide = /action="(\/maintenance\/[^"]+\/hide)"/.exec(await read())?.[1] ?? "";
    await member.send("POST", hide, { form: {} });
    expect(await read()).not.toContain(REASON);
    await until("the notices", async () => (await events()).length === 4);
    expect((await events())[0]).toMatchObject({ type: "maintenance.scheduled", title: `Maintenance from ${when}` });
    const announced = { reason: REASON, starts_at: start / 1000, ends_at: end / 1000 };
    expect((await lab.json("GET", "/v1/maintenance", { as: "other" })).data).toMatchObject([
      { ...announced, state: "scheduled" },
    ]);

    // A job that would not end before it is accepted, and waits with that reason.
    const waits = await lab.train("waits", { max_steps: 5 });
    await until("the queue", async () => (await lab.job(waits)).state === "queued");
    const hour = { estimateLowS: 3600, estimateHighS: 3600 };
    await lab.ctx.write((tx) => tx.update(job).set(hour).where(eq(job.id, waits)));
    lab.ctx.bus.emit("job.changed", { org: lab.orgs.a, jobId: waits, kind: "train", state: "queued" });
    const reason = `Maintenance from ${when}: would not end before it starts`;
    await until("the reason", async () => (await lab.job(waits)).progress.waiting === reason);
    expect(await queue()).toMatchObject({
      maintenance: [announced],
      data: [{ waiting_for: { code: "maintenance", message: reason, until: end / 1000 } }],
    });
    await page.goto(`${base}/queue`);
    await page.getByText(reason).filter({ visible: true }).first().waitFor();
    expect(await page.locator(".timeline .band").count()).toBeGreaterThan(0);
    await page.goto(`${base}/jobs/${waits}`);
    await page.getByText(reason).filter({ visible: true }).first().waitFor();

    // At its start the running job saves a checkpoint and waits.
    clock.advance(start - clock.now());
    await lab.reached(runs, "queued");
    await until("its reason", async () => /starts after it$/.test((await lab.job(runs)).progress.waiting ?? ""));
    expect(await read()).toContain("Maintenance until");
    expect((await member.send("POST", hide, { form: {} })).status).toBe(409);
    expect(await lab.attempts(runs)).toMatchObject([{ outcome: "paused" }]);

    // It is extended: who hid the first announcement gets the new times.
    await page.goto(`${base}/admin/maintenance`);
    await page.getByRole("link", { name: when }).click();
    await page.fill("[name=ends_at]", local(end + 30 * MINUTE));
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL(`${base}/admin/maintenance`);
    await until("the notices", async () => (await events()).length === 8);
    expect((await events()).at(-1)?.type).toBe("maintenance.changed");
    clock.advance(end - clock.now());
    expect((await lab.json("GET", "/v1/maintenance")).data).toMatchObject([{ state: "running" }]);
    expect((await lab.job(waits)).state).toBe("queued");

    // It ends, and everything resumes by itself.
    await page.reload();
    await page.getByRole("button", { name: "End now" }).click();
    await page.getByRole("button", { name: "End it" }).click();
    await page.getByText("The maintenance has ended. Jobs resume.").waitFor();
    await lab.reached(runs, "succeeded");
    await lab.reached(waits, "succeeded");
    const { series } = await lab.json<{ series: Record<string, { points: [number, number][] }> }>(
      "GET",
      `/v1/jobs/${runs}/metrics?keys=train/loss`,
    );
    expect((series["train/loss"]?.points ?? []).map(([at]) => at)).toEqual(
      Array.from({ length: 120 }, (_, i) => i + 1),
    );
    const attempts = await lab.attempts(runs);
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["paused", "succeeded"]);
    expect(await read()).not.toContain(REASON);
    const actions = (await lab.ctx.db.select().from(auditLog)).map(({ action }) => action);
    expect(actions.filter((action) => action.startsWith("maintenance."))).toEqual([
      "maintenance.schedule",
      "maintenance.change",
      "maintenance.end",
    ]);
    expect(troubles).toEqual([]);
  }, 120_000);

  test("is canceled before its start, with a notice; other times may not overlap", async () => {
    const body = { starts_at: Math.floor(clock.now() / 1000) + 3600, ends_at: Math.floor(clock.now() / 1000) + 7200 };
    const before = (await events()).length;
    const { id } = await lab.json<{ id: string }>("POST", "/v1/admin/maintenance", {
      body: { ...body, reason: "Move" },
    });
    await until("the notices", async () => (await events()).length === before + 4);
    const codeOf = async (path: string, given: object = {}) => {
      const answer = await lab.request("POST", `/v1/admin/maintenance${path}`, given);
      return [answer.status, ((await answer.json()) as { error: { code: string } }).error.code];
    };
    expect(await codeOf("", { body: { ...body, reason: "Other" } })).toEqual([409, "maintenance_overlaps"]);
    expect(await codeOf("", { body: { ends_at: 1, reason: "Past" } })).toEqual([400, "maintenance_ends_first"]);
    expect(await codeOf(`/${id}/end`)).toEqual([409, "maintenance_not_started"]);
    expect(await lab.json("POST", `/v1/admin/maintenance/${id}/cancel`)).toMatchObject({ state: "canceled" });
    expect(await codeOf(`/${id}/cancel`)).toEqual([409, "maintenance_over"]);
    await until("the notices", async () => (await events()).length === before + 8);
    expect((await events()).at(-1)?.type).toBe("maintenance.canceled");
    expect((await lab.json("GET", "/v1/maintenance")).data).toEqual([]);
  }, 60_000);
});
