/**
 * The audit log at real receivers: syslog over UDP, TCP and TLS, read strictly, and a signed webhook. Nothing is lost
 * when a receiver breaks or the server restarts.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { asc } from "drizzle-orm";
import { noteRefusal } from "../../src/accounts/audit/refusals.ts";
import { pruneAudit } from "../../src/accounts/audit/retention.ts";
import { audit, verifyAudit } from "../../src/accounts/audit/service.ts";
import { auditForward, auditLog } from "../../src/db/schema/audit.ts";
import { startForwarding } from "../../src/notices/forwarding/loop.ts";
import type { ForwardingView } from "../../src/notices/forwarding/model.ts";
import { framed, syslogMessage } from "../../src/notices/forwarding/syslog.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { startLive, until } from "../support/live.ts";
import { startReceiver } from "../support/receiver.ts";
import { readSyslog, type SyslogReceiver, startSyslog } from "../support/syslog.ts";

const PATH = "/v1/admin/audit/forwarding";
const sender = {
  facility: "auth",
  hostname: "lab.example.com",
  enterprise: 32_473,
  version: "1",
  maxBytes: 2048,
} as const;
let app: TestApp;
let clock: FakeClock;
let stop: (() => Promise<void>) | null = null;
let logged: { message: string; fields: unknown }[] = [];

beforeEach(async () => {
  clock = fakeClock(Date.now());
  logged = [];
  const log = (_level: string, message: string, fields?: unknown) => void logged.push({ message, fields });
  app = await createTestApp({ ctx: { clock, log } });
  stop = startForwarding(app.ctx);
});
afterEach(async () => {
  await stop?.();
  await app.close();
});

const write = (count: number, detail: Record<string, unknown> = {}) =>
  app.ctx.write(async (tx) => {
    for (let n = 0; n < count; n++) await audit(tx, app.ctx, app.actor("admin"), "job.create", `ftjob-${n}`, detail);
  });
const all = () => app.ctx.db.select().from(auditLog).orderBy(asc(auditLog.seq));
const views = async () => (await app.json<{ data: ForwardingView[] }>("GET", PATH)).data;
const view = async () => {
  const [one] = await views();
  if (!one) throw new Error("nothing is forwarded");
  return one;
};
const setSyslog = (receiver: { port: number }, transport: string, more: object = {}) =>
  app.json<ForwardingView>("POST", `${PATH}/syslog`, {
    body: {
      host: transport === "udp" ? "127.0.0.1" : "localhost",
      port: receiver.port,
      transport,
      from: "beginning",
      ...more,
    },
  });
/** Lets the loop look again until everything is sent. */
const sent = () =>
  until(
    "the end of the log",
    async () => {
      clock.advance(2_000);
      return (await view()).waiting === 0;
    },
    20_000,
    5,
  );
const idsAt = (receiver: SyslogReceiver) => receiver.messages.map(({ data }) => data["audit@32473"]?.id);

describe("a message", () => {
  const entry = { at: Date.UTC(2026, 10, 30, 12, 0, 0, 7), action: "job.create", seq: 5, json: "{}", shortJson: "{}" };

  test("is what RFC 5424 says, whatever is in it", () => {
    const data = { id: "aud_1", target: 'a "quoted\\" ]bracket\nü 漢 \ud800', none: null };
    const json = '{"target":"ü\\n漢"}';
    const bytes = syslogMessage({ ...sender, hostname: "läb host" }, { ...entry, data, json });
    const read = readSyslog(bytes);
    expect(read).toMatchObject({
      facility: 4,
      severity: 5,
      timestamp: "2026-11-30T12:00:00.007Z",
      hostname: "lbhost",
      app: "finetune-lab",
      msgid: "job.create",
      text: json,
    });
    expect(read.data["audit@32473"]).toEqual({ id: "aud_1", target: 'a "quoted\\" ]bracket ü 漢 \ufffd' });
    expect(read.data.meta).toEqual({ sequenceId: "5" });
    expect(bytes.toString("utf8")).toContain('target="a \\"quoted\\\\\\" \\]bracket ü 漢 \ufffd"');
    expect([...bytes].join().split("239,187,191")).toHaveLength(2);
    expect(framed(bytes).toString("latin1").startsWith(`${bytes.length} <37>1 `)).toBe(true);
  });

  test.each([
    ["session.fail", 4],
    ["access.denied", 4],
    ["user.create", 5],
  ])("%s has the severity %d", (action, severity) => {
    expect(readSyslog(syslogMessage(sender, { ...entry, action, data: {} })).severity).toBe(severity);
  });

  test("is no longer than the transport takes, and still has the id", () => {
    const long = { ...entry, data: { id: "aud_1", target: "ü".repeat(5000) }, json: "x".repeat(3000), shortJson: "{}" };
    const bytes = syslogMessage(sender, long);
    expect(bytes.length).toBeLessThanOrEqual(2048);
    expect(readSyslog(bytes)).toMatchObject({ text: "{}", data: { "audit@32473": { id: "aud_1" } } });
  });
});

describe("syslog", () => {
  test.each(["udp", "tcp", "tls"] as const)("over %s gets every entry in order, and a test", async (transport) => {
    const receiver = await startSyslog(transport);
    await write(250, { note: 'a "b" ] \\ \n ü' });
    await noteRefusal(app.ctx, {
      action: "session.fail",
      account: null,
      target: "x",
      source: { address: "203.0.113.7", userAgent: "t" },
      reason: "wrong_password",
    });
    const made = await setSyslog(
      receiver,
      transport,
      transport === "tls" ? { ca: receiver.ca } : { facility: "local3" },
    );
    expect(made).toMatchObject({ destination: expect.stringContaining(`:${receiver.port}`), position: 0 });
    await sent();
    const rows = await all();
    await until("all messages", async () => receiver.messages.length >= rows.length, 5_000, 5);
    expect(receiver.problems).toEqual([]);
    expect(idsAt(receiver)).toEqual(rows.map(({ id }) => id));
    const of = (action: string) => receiver.messages.find(({ msgid }) => msgid === action);
    expect(of("session.fail")).toMatchObject({ severity: 4, facility: transport === "tls" ? 13 : 19 });
    const job = of("job.create");
    const body = JSON.parse(job?.text ?? "");
    const row = rows.find(({ id }) => id === body.id);
    expect(body).toMatchObject({
      detail: row?.detail,
      hash: row?.hash,
      previous_hash: row?.previousHash,
      org: app.orgs.a,
    });
    expect(job?.data["audit@32473"]).toMatchObject({
      actorEmail: app.emails.admin,
      target: "ftjob-0",
      hash: row?.hash,
    });
    expect(await view()).toMatchObject({ position: rows.at(-1)?.seq, waiting: 0, last_error: null, attempts: 0 });

    const tested = await app.json("POST", `${PATH}/syslog/test`);
    expect(tested).toMatchObject({ sent: true, error: null });
    await until("the test", async () => receiver.messages.at(-1)?.msgid === "audit.test", 5_000, 5);
    await receiver.close();
  });

  test("a receiver that breaks in the middle, is away, and a server that restarts lose nothing", async () => {
    const receiver = await startSyslog("tcp");
    receiver.breakAfter = 130;
    await write(300);
    await setSyslog(receiver, "tcp");
    // The second hundred breaks after thirty entries: they are sent again.
    await until(
      "a failure",
      async () => {
        clock.advance(2_000);
        return (await view()).attempts > 0;
      },
      10_000,
      5,
    );
    expect(await view()).toMatchObject({ position: 100, last_error: expect.stringMatching(/connection|receiver/) });
    const { port } = receiver;
    await receiver.close();
    await write(50);
    await until(
      "a refused connection",
      async () => {
        clock.advance(60_000);
        return (await view()).last_error === "The connection was refused.";
      },
      10_000,
      5,
    );
    const away = await view();
    expect(away.attempts).toBeGreaterThan(1);
    expect(away.waiting).toBeGreaterThanOrEqual(250);
    // Twice as long after each failure.
    const wait = (away.next_attempt_at ?? 0) - (away.last_error_at ?? 0);
    expect(Math.abs(wait - 2 ** away.attempts)).toBeLessThanOrEqual(1);
    expect(logged.some(({ message }) => message.includes("could not be forwarded"))).toBe(true);
    // A request is not slower for it, and its entry waits too.
    await app.json("POST", "/v1/keys", { body: { name: "while it is away" } });

    await stop?.();
    stop = startForwarding(app.ctx);
    const again = await startSyslog("tcp", port);
    await until(
      "the end of the log",
      async () => {
        clock.advance(300_000);
        return (await view()).waiting === 0;
      },
      10_000,
      5,
    );
    const rows = await all();
    expect(idsAt(again)).toEqual(rows.filter(({ seq }) => seq > 100).map(({ id }) => id));
    expect(new Set([...idsAt(receiver), ...idsAt(again)])).toEqual(new Set(rows.map(({ id }) => id)));
    expect(await view()).toMatchObject({ attempts: 0, last_error: null, next_attempt_at: null });
    await again.close();
  });

  test("a certificate of another authority is refused, and nothing is sent", async () => {
    const receiver = await startSyslog("tls");
    await setSyslog(receiver, "tls");
    const tested = await app.json<{ sent: boolean; error: string }>("POST", `${PATH}/syslog/test`);
    expect(tested).toMatchObject({ sent: false, error: expect.stringMatching(/self.signed|certificate/i) });
    expect(receiver.messages).toEqual([]);
    await receiver.close();
  });

  test("retention waits for entries that were not sent yet", async () => {
    await stop?.();
    stop = null;
    await app.close();
    app = await createTestApp({ ctx: { clock }, config: { audit_retention_days: 1 } });
    await write(20);
    await setSyslog({ port: 9 }, "tcp");
    await app.ctx.write((tx) => tx.update(auditForward).set({ position: 10 }));
    clock.advance(3 * 86_400_000);
    await pruneAudit(app.ctx);
    expect((await all())[0]?.seq).toBe(11);
    expect((await verifyAudit(app.ctx)).brokenAt).toBeNull();
  });

  test("settings are checked, audited and only for administrators; new destinations begin now", async () => {
    const refused = async (body: object) => {
      const answer = await app.request("POST", `${PATH}/syslog`, { body });
      return [answer.status, ((await answer.json()) as { error: { param: string } }).error.param];
    };
    const good = { host: "logs.example.com", port: 6514, transport: "tls" };
    expect(await refused({ ...good, port: 0 })).toEqual([400, "port"]);
    expect(await refused({ ...good, host: "a b" })).toEqual([400, "host"]);
    expect(await refused({ ...good, ca: "text" })).toEqual([400, "ca"]);
    expect(await refused({ ...good, facility: "kern" })).toEqual([400, "facility"]);
    const ca = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----";
    expect(await refused({ ...good, transport: "tcp", ca })).toEqual([400, "ca"]);
    expect((await app.request("POST", `${PATH}/syslog`, { as: "member", body: good })).status).toBe(403);
    await write(5);
    const newest = (await all()).at(-1)?.seq ?? 0;
    const made = await app.json<ForwardingView>("POST", `${PATH}/syslog`, { body: good });
    expect(made).toMatchObject({ position: newest, waiting: 1 });
    expect((await all()).at(-1)).toMatchObject({ action: "audit.forward", detail: { host: "logs.example.com" } });
    expect(await app.json("DELETE", `${PATH}/syslog`)).toMatchObject({ deleted: true });
    expect(await views()).toEqual([]);
    expect((await app.request("POST", `${PATH}/syslog/test`)).status).toBe(404);
  });
});

describe("a webhook", () => {
  test("is signed, guarded, and gets every entry once it answers", async () => {
    const receiver = startReceiver();
    const body = { url: `${receiver.url}/audit?key=hidden`, from: "beginning" };
    const refused = await app.request("POST", `${PATH}/webhook`, { body });
    expect(((await refused.json()) as { error: { code: string } }).error.code).toBe("address_refused");
    await stop?.();
    await app.close();
    const hosts = [receiver.host];
    app = await createTestApp({ ctx: { clock }, config: { webhook_hosts: hosts } });
    stop = startForwarding(app.ctx);
    await write(150);
    receiver.statuses.push(503);
    const made = await app.json<ForwardingView & { signing_secret: string }>("POST", `${PATH}/webhook`, { body });
    expect(made.destination).toBe(`${receiver.url}/audit?…`);
    expect(made.signing_secret).toMatch(/^whsec_/);
    await sent();
    const entries = receiver.taken
      .slice(1)
      .flatMap(({ body: text }) => (JSON.parse(text) as { data: { id: string }[] }).data);
    expect(entries.map(({ id }) => id)).toEqual((await all()).map(({ id }) => id));
    const [first, second] = receiver.taken;
    expect(second?.headers.get("webhook-id")).toBe(first?.headers.get("webhook-id") ?? "");
    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ apiKey: "none", webhookSecret: made.signing_secret });
    // The moved clock is ahead of the real one.
    const headers = second?.headers ?? new Headers();
    await client.webhooks.verifySignature(second?.body ?? "", headers, made.signing_secret, 86_400);
    expect(JSON.parse(second?.body ?? "")).toMatchObject({ object: "event", type: "audit.entries" });
    const sealed = (await app.ctx.db.select().from(auditForward))[0];
    expect(JSON.stringify(sealed)).not.toContain("hidden");
    expect(JSON.stringify(sealed)).not.toContain(made.signing_secret);

    const kept = await app.json<{ signing_secret: null }>("POST", `${PATH}/webhook`, { body });
    expect(kept.signing_secret).toBeNull();
    const rotated = await app.json<{ signing_secret: string }>("POST", `${PATH}/webhook`, {
      body: { ...body, rotate_secret: true },
    });
    expect(rotated.signing_secret).not.toBe(made.signing_secret);
    await stop();
    stop = null;
    receiver.statuses.push(500);
    expect(await app.json("POST", `${PATH}/webhook/test`)).toMatchObject({ sent: false, error: "It answered 500." });
    receiver.stop();
  });
});

test("a server that is killed after sending sends again, and loses nothing", async () => {
  const receiver = await startSyslog("tcp");
  const live = await startLive({ env: { FTL_FAIL_POINTS: "audit.forwarded" } });
  const body = { host: "127.0.0.1", port: receiver.port, transport: "tcp", from: "beginning" };
  await live.call("POST", `${PATH}/syslog`, body);
  await live.ended();
  const before = idsAt(receiver);
  expect(before.length).toBeGreaterThan(1);
  await live.start({ FTL_FAIL_POINTS: "" });
  await live.call("POST", "/v1/keys", { name: "after the kill" });
  const state = () => live.call<{ data: ForwardingView[] }>("GET", PATH);
  await until("the end of the log", async () => (await state()).data[0]?.waiting === 0, 20_000);
  const { data } = await live.call<{ data: { id: string }[] }>("GET", "/v1/admin/audit?limit=100");
  const ids = data.map(({ id }) => id).reverse();
  expect(idsAt(receiver).slice(before.length)).toEqual(ids);
  expect(before).toEqual(ids.slice(0, before.length));
  expect(receiver.problems).toEqual([]);
  await live.close();
  await receiver.close();
}, 60_000);
