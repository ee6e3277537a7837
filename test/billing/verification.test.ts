/** The page on which administrators check the ledger: never checked, running, and the results of the last run. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { readVerification, startVerification, verifyNow } from "../../src/billing/ledger/verification.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { browserOf } from "../support/cookies.ts";
import { until } from "../support/live.ts";

let t: TestApp;
let browser: ReturnType<typeof browserOf>;
const PATH = "/admin/billing/verify";

beforeAll(async () => {
  t = await createTestApp();
  browser = browserOf(t);
  await browser.signIn("admin");
});
afterAll(() => t.close());

const page = async () => (await browser.send("GET", PATH)).text();
const read = () => readVerification(t.ctx, t.actor("admin"));

test("one run at a time, with its progress; the page has the results, and when they are from", async () => {
  expect(await page()).toContain("Not checked yet");
  startVerification(t.ctx, t.actor("admin"));
  startVerification(t.ctx, t.actor("admin"));
  const { state, last } = await read();
  expect(last).toBeNull();
  expect(state.progress).toMatchObject({ of: expect.any(Number), name: expect.any(String) });
  const running = await page();
  if ((await read()).state.startedAt !== null) expect(running).toContain('hx-trigger="every 1s"');
  const found = await verifyNow(t.ctx);
  expect((await read()).state).toEqual({ startedAt: null, progress: null, failure: null });
  expect((await read()).last).toEqual(found);
  const done = await page();
  expect(done).toContain("Everything agrees");
  expect(done).not.toContain('hx-trigger="every');
  for (const { name } of found.checks) expect(done).toContain(name);
});

test("what is wrong is listed; the API, the command line and the button keep their result for the page", async () => {
  await t.ctx.write((tx) =>
    tx.run(sql`insert into ledger_entry (txn, org, account, micros, at) values ('use x', 'o', 'unbilled', 5, 1)`),
  );
  await t.json("GET", "/v1/admin/billing/verify");
  const wrong = await page();
  expect(wrong).toContain("use x adds up to 5");
  expect(wrong).toContain("3 checks failed");
  const before = (await read()).last?.endedAt ?? 0;
  expect((await browser.send("POST", PATH)).status).toBe(303);
  await until("the next result", async () => ((await read()).last?.endedAt ?? 0) > before);
});

test("a run that fails says so, and the last result stays", async () => {
  const { db } = t.ctx;
  const { last } = await read();
  (t.ctx as { db: unknown }).db = { all: () => Promise.reject(new Error("disk")) };
  await expect(verifyNow(t.ctx)).rejects.toThrow("disk");
  (t.ctx as { db: unknown }).db = db;
  const after = await read();
  expect(after.state).toMatchObject({ startedAt: null, failure: "The checks did not end; see the server log." });
  expect(after.last).toEqual(last);
  expect(await page()).toContain("The last run failed");
});

test("members may neither see nor start it", async () => {
  const member = browserOf(t);
  await member.signIn("member");
  expect((await member.send("GET", PATH)).status).toBe(403);
  expect((await member.send("POST", PATH)).status).toBe(403);
});
