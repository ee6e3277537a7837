/** Deletion with a grace period: what is refused meanwhile, what is erased at the end, and what stays. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq, sql } from "drizzle-orm";
import { verifyAudit } from "../../src/accounts/audit/service.ts";
import { changeUser } from "../../src/accounts/organizations/users.ts";
import { systemActor } from "../../src/ctx.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { user } from "../../src/db/schema/auth.ts";
import { meterInterval } from "../../src/db/schema/billing.ts";
import { dataset } from "../../src/db/schema/datasets.ts";
import { answer } from "../../src/db/schema/evaluations.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { logLine } from "../../src/db/schema/metrics.ts";
import { termsAcceptance } from "../../src/db/schema/terms.ts";
import { OF_ORGANIZATION } from "../../src/erasure/tables.ts";
import { eraseDue } from "../../src/erasure/worker.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { type As, createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { chatLines } from "../support/datasets.ts";
import { makeEverything } from "../support/everything.ts";
import { until } from "../support/live.ts";
import { type MailBox, startMailBox } from "../support/mail-server.ts";

const DAY = 86_400_000;
const PLANTED = "zebra-planted-8f3k";
const OTHERS = "heron-of-others-2m7q";
let t: TestApp;
let clock: FakeClock;
let box: MailBox;
let failing = false;
beforeAll(async () => {
  clock = fakeClock(Date.now());
  const failPoint = (name: string) => {
    if (failing && name === "erasure.rows") throw new Error("killed here");
  };
  box = await startMailBox();
  const mail = { mail_url: `smtp://localhost:${box.port}`, mail_from: "lab@example.com", mail_ca: box.ca };
  t = await createTestApp({ ctx: { clock, failPoint }, config: { deletion_grace_days: 10, ...mail } });
});
afterAll(() => Promise.all([t.close(), box.close()]));

const cookieOf = async (as: As) => {
  const form = { email: t.emails[as], password: PASSWORD, next: "/" };
  const answer = await t.request("POST", "/login", { as: "anonymous", form });
  expect([as, answer.status]).toEqual([as, 303]);
  return answer.headers
    .getSetCookie()
    .map((each) => each.split(";")[0])
    .join("; ");
};
const by = async (cookie: string, method: string, path: string, body?: unknown) =>
  t.request(method, path, { as: "anonymous", headers: { cookie }, ...(body ? { body } : {}) });
const codeOf = async (answer: Response) => [answer.status, (await answer.json()).error?.code];

/** Files below the data directory that contain a text, as bytes or as UTF-16. */
function filesWith(text: string, folder = t.dir): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat || stat.isSocket()) return [];
    if (stat.isDirectory()) return filesWith(text, path);
    return readFileSync(path).includes(text) ? [path] : [];
  });
}

async function upload(as: As, text: string): Promise<string> {
  const lines = [
    ...chatLines(3),
    JSON.stringify({
      messages: [
        { role: "user", content: text },
        { role: "assistant", content: text },
      ],
    }),
  ];
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([`${lines.join("\n")}\n`], `${text}.jsonl`));
  const { id } = await t.json<{ id: string }>("POST", "/v1/files", { as, raw: form });
  await until(
    "the file",
    async () => (await t.json("GET", `/v1/files/${id}`, { as })).status === "processed",
    45_000,
    20,
  );
  return id;
}

describe("an account", () => {
  let cookie: string;
  beforeAll(async () => {
    cookie = await cookieOf("member");
    await t.ctx.write(async (tx) => {
      await tx
        .insert(dataset)
        .values({ id: "ds_mine", org: t.orgs.a, name: "mine", createdBy: t.users.member, createdAt: 1 });
      const given = { email: t.emails.member, versionId: "v", document: "terms", number: 1, how: "page" as const };
      await tx.insert(termsAcceptance).values({
        id: "acc_1",
        userId: t.users.member,
        ...given,
        adult: true,
        address: "203.0.113.7",
        userAgent: "Firefox",
        createdAt: 1,
      });
    });
  });

  test("shows what is erased and kept before, and wants its address typed again, by a person", async () => {
    const view = await (await by(cookie, "GET", "/v1/account/deletion")).json();
    expect(view).toMatchObject({ erase_at: null, grace_days: 10, blocked: null });
    expect(view.kept.length).toBeGreaterThan(3);
    expect(await codeOf(await by(cookie, "POST", "/v1/account/deletion", { confirm: "no" }))).toEqual([
      400,
      "not_confirmed",
    ]);
    const byKey = await t.request("POST", "/v1/account/deletion", { as: "member", body: { confirm: t.emails.member } });
    expect(await codeOf(byKey)).toEqual([403, "session_required"]);
  });

  test("is signed out, its key is refused, and it signs in to read and to cancel", async () => {
    expect((await by(cookie, "POST", "/v1/account/deletion", { confirm: t.emails.member })).status).toBe(200);
    expect((await by(cookie, "GET", "/v1/me")).status).toBe(401);
    expect(await codeOf(await t.request("GET", "/v1/models", { as: "member" }))).toEqual([403, "deletion_scheduled"]);
    cookie = await cookieOf("member");
    expect((await by(cookie, "GET", "/v1/datasets")).status).toBe(200);
    expect(await codeOf(await by(cookie, "POST", "/v1/jobs", { model: "x" }))).toEqual([403, "deletion_scheduled"]);
    expect(await (await by(cookie, "GET", "/datasets")).text()).toContain("Your account will be deleted");
    expect((await by(cookie, "DELETE", "/v1/account/deletion")).status).toBe(200);
    expect((await t.request("GET", "/v1/models", { as: "member" })).status).toBe(200);
  });

  test("is erased at the end: its objects belong to an owner, and nothing personal is left", async () => {
    expect((await by(cookie, "POST", "/v1/account/deletion", { confirm: t.emails.member })).status).toBe(200);
    clock.advance(9 * DAY);
    await eraseDue(t.ctx);
    expect((await t.ctx.db.select().from(user).where(eq(user.id, t.users.member))).length).toBe(1);
    clock.advance(DAY + 60_000);
    await eraseDue(t.ctx);
    // Its address goes last: the mail that says what is kept is sent first.
    expect((await t.ctx.db.select().from(user).where(eq(user.id, t.users.member))).length).toBe(1);
    const stop = startNotices(t.ctx);
    const last = () => box.taken.find(({ text }) => text.includes("is deleted"));
    await until("the last mail", async () => last());
    await stop();
    expect(last()).toMatchObject({ to: t.emails.member, text: expect.stringContaining("Kept: Usage records") });
    await eraseDue(t.ctx);
    expect((await t.ctx.db.select().from(user).where(eq(user.id, t.users.member))).length).toBe(0);
    const [mine] = await t.ctx.db.select().from(dataset).where(eq(dataset.id, "ds_mine"));
    expect(mine?.createdBy).toBe(t.users.admin);
    const [accepted] = await t.ctx.db.select().from(termsAcceptance).where(eq(termsAcceptance.id, "acc_1"));
    expect(accepted).toMatchObject({ email: "", address: "", userAgent: "", userId: t.users.member, number: 1 });
    expect(filesWith(t.emails.member)).toEqual([]);
    expect((await verifyAudit(t.ctx)).brokenAt).toBeNull();
    const records = await t.json<{ data: Record<string, unknown>[] }>("GET", "/v1/admin/deletions");
    expect(records.data.map(({ state }) => state).sort()).toEqual(["canceled", "erased"]);
  });
});

describe("an organization", () => {
  let mine: string;
  let usage: unknown;
  const sums = () =>
    t.ctx.db.all(sql`select org, sum(to_ms - from_ms) as ms, sum(micros) as cost, sum(quantity) as quantity,
      (select sum(prompt_tokens) from inference where inference.org = m.org) as prompt from meter_interval m group by org`);
  beforeAll(async () => {
    const all = await makeEverything(t);
    await upload("admin", PLANTED);
    mine = await upload("other", OTHERS);
    await t.json("POST", "/v1/keys", { body: { name: PLANTED } });
    await t.json("POST", "/v1/organization/members", { body: { email: `${PLANTED}@example.test` } });
    await t.json("POST", `/v1/jobs/${all.job}/edit`, { body: { note: PLANTED } }).catch(() => {});
    mkdirSync(t.ctx.files.path("artifacts", all.artifact), { recursive: true });
    writeFileSync(t.ctx.files.path("artifacts", all.artifact, "a.txt"), PLANTED);
    await t.ctx.write(async (tx) => {
      await tx.update(job).set({ name: PLANTED, note: PLANTED }).where(eq(job.id, all.job));
      const texts = { prompt: [], expected: PLANTED, output: PLANTED, exact: false, tokens: 1 };
      await tx.insert(answer).values({ jobId: all.job, rowId: 1, side: "base", ...texts });
      await tx
        .insert(logLine)
        .values({ jobId: all.job, attemptId: "att", batchId: 1, at: 1, level: "info", message: PLANTED });
      const of = { jobId: all.job, userId: t.users.admin, kind: "serve", meter: "endpoint_seconds" };
      const used = { from: 0, to: 1000, quantity: 1, micros: 3, at: 5, statementId: "stm_1" };
      for (const [n, org] of [t.orgs.a, t.orgs.b].entries())
        await tx.insert(meterInterval).values({
          source: `use_${n}`,
          attemptId: `att_${n}`,
          org,
          model: n === 0 ? `ft:tiny:${PLANTED}` : "ft:tiny:other",
          ...of,
          ...used,
        });
      const request = { userId: t.users.admin, model: `ft:tiny:${PLANTED}`, at: 5, status: 200, streamed: false };
      const counts = { promptTokens: 7, completionTokens: 8, totalMs: 1 };
      await tx.insert(inference).values({ id: "chatcmpl-1", org: t.orgs.a, ...request, ...counts });
    });
    usage = await sums();
  });

  test("with an administrator of the installation, or by somebody else than its owner, is not deleted", async () => {
    const admin = await cookieOf("admin");
    const answer = await by(admin, "POST", "/v1/organization/deletion", { confirm: "Alpha" });
    expect(await codeOf(answer)).toEqual([409, "administrators_inside"]);
    await changeUser(t.ctx, systemActor(), t.users.admin, { role: "member", teamRole: "owner" });
    const other = await cookieOf("other");
    const foreign = await by(other, "POST", "/v1/organization/deletion", { confirm: "Beta" });
    expect(await codeOf(foreign)).toEqual([403, "permission_denied"]);
  });

  test("is readable meanwhile, starts nothing, and its owner can cancel", async () => {
    const owner = await cookieOf("admin");
    expect((await by(owner, "POST", "/v1/organization/deletion", { confirm: "Alpha" })).status).toBe(200);
    expect((await t.request("GET", "/v1/datasets")).status).toBe(200);
    expect(await codeOf(await t.request("POST", "/v1/jobs", { body: { model: "x" } }))).toEqual([
      403,
      "deletion_scheduled",
    ]);
    expect(await (await by(owner, "GET", "/datasets")).text()).toContain("Your team will be deleted");
    expect((await by(owner, "DELETE", "/v1/organization/deletion")).status).toBe(200);
    expect(await codeOf(await t.request("POST", "/v1/jobs", { body: { model: "x" } }))).not.toEqual([
      403,
      "deletion_scheduled",
    ]);
  });

  test("that is terminated is erased at the end, also when the server is killed in between", async () => {
    const path = `/v1/admin/orgs/${t.orgs.a}/deletion`;
    const body = { reason: "The contract ended" };
    expect((await t.request("POST", path, { as: "otherAdmin", body })).status).toBe(200);
    expect(filesWith(PLANTED).length).toBeGreaterThan(2);
    const owner = await cookieOf("admin");
    expect(await codeOf(await by(owner, "DELETE", "/v1/organization/deletion"))).toEqual([403, "admin_only"]);
    expect(await (await by(owner, "GET", "/v1/organization/deletion")).json()).toMatchObject({ cancelable: false });
    clock.advance(11 * DAY);
    failing = true;
    await eraseDue(t.ctx);
    failing = false;
    expect((await t.request("GET", "/v1/me", { as: "otherAdmin" })).status).toBe(200);
    const again = await t.request("DELETE", path, { as: "otherAdmin" });
    expect(await codeOf(again)).toEqual([409, "erasure_begun"]);
    await eraseDue(t.ctx);
    expect(filesWith(PLANTED)).toEqual([]);
    // Who was in no other team is erased too.
    expect((await t.ctx.db.select().from(user).where(eq(user.id, t.users.admin))).length).toBe(0);
    for (const [table, where] of Object.entries(OF_ORGANIZATION)) {
      const left = await t.ctx.db.all(sql`select 1 from ${sql.identifier(table)} where ${where(t.orgs.a)}`);
      expect([table, left.length]).toEqual([table, 0]);
    }
  });

  test("leaves the data of others, the sums of usage and a log that can be verified", async () => {
    const content = await t.request("GET", `/v1/files/${mine}/content`, { as: "other" });
    expect(await content.text()).toContain(OTHERS);
    expect(await sums()).toEqual(usage as never);
    expect((await verifyAudit(t.ctx)).brokenAt).toBeNull();
    const records = await t.json<{ data: Record<string, unknown>[] }>("GET", "/v1/admin/deletions", {
      as: "otherAdmin",
    });
    expect(records.data.find(({ reason }) => reason === "The contract ended")).toMatchObject({
      subject: "organization",
      subject_id: t.orgs.a,
      state: "erased",
      erased: { datasets: 3, models: 1 },
    });
    // An entry that somebody empties is noticed.
    const [entry] = await t.ctx.db.select().from(auditLog).where(eq(auditLog.org, t.orgs.b)).limit(1);
    await t.ctx.write((tx) =>
      tx
        .update(auditLog)
        .set({ erasedAt: 1, detail: {} })
        .where(eq(auditLog.id, entry?.id ?? "")),
    );
    expect((await verifyAudit(t.ctx)).brokenAt).toBe(entry?.id ?? "");
  });
});
