/**
 * Webhooks over HTTP: OpenAI's clients create endpoints and read what arrives; failures are repeated, given up and sent
 * again; private addresses are refused when the connection is made.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import OpenAI from "openai";
import { noticeDelivery, noticeEvent, webhookEndpoint } from "../../src/db/schema/notices.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { MAX_ATTEMPTS, waitAfter } from "../../src/notices/delivery/outbox.ts";
import { recordEvent } from "../../src/notices/events/store.ts";
import type { EventType } from "../../src/notices/events/types.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { chatLines } from "../support/datasets.ts";
import { TRAINER_ENV, until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";
import { type Receiver, startReceiver } from "../support/receiver.ts";

interface Endpoint {
  id: string;
  url: string;
  signing_secret: string;
  signing_secret_hint: string;
  [field: string]: unknown;
}
interface Delivery {
  id: string;
  status: string;
  attempts: number;
  last_status: number | null;
  last_error: string | null;
}

let lab: TestApp;
let clock: FakeClock;
let receiver: Receiver;
let client: OpenAI;
let stop: () => void;

beforeAll(async () => {
  // OpenAI's clients compare timestamps with the time of this machine.
  clock = fakeClock(Date.now());
  receiver = startReceiver();
  lab = await createTestApp({ config: { webhook_hosts: [receiver.host] }, ctx: { clock } });
  await readyBase(lab.ctx);
  stop = startNotices(lab.ctx);
  client = new OpenAI({
    apiKey: lab.keys.admin,
    baseURL: "http://localhost/v1",
    maxRetries: 0,
    fetch: async (input, init) => lab.app.handle(new Request(input as string, init as RequestInit)),
  });
});
afterAll(async () => {
  stop();
  receiver.stop();
  await lab.close();
});
beforeEach(() => {
  receiver.taken.length = 0;
  receiver.statuses.length = 0;
});
afterEach(() =>
  lab.ctx.write(async (tx) => {
    for (const table of [noticeDelivery, noticeEvent, webhookEndpoint]) await tx.delete(table);
  }),
);

const create = (more: object = {}) =>
  lab.json<Endpoint>("POST", "/v1/webhook_endpoints", {
    body: { name: "hook", url: `${receiver.url}/hook`, event_types: ["fine_tuning.job.failed"], ...more },
  });

/** Something happens: the event as a service stores it, in a transaction. */
async function happen(type: EventType = "fine_tuning.job.failed", subject = "ftjob-1") {
  const event = {
    org: lab.orgs.a,
    type,
    subject,
    userId: null,
    title: "Run <a> & b failed",
    body: "",
    path: "/jobs/1",
  };
  const message = await lab.ctx.write((tx) => recordEvent(tx, lab.ctx, event));
  lab.ctx.bus.emit(message.name, message.event as never);
}

const deliveries = async (endpoint: Endpoint) =>
  (await lab.json<{ data: Delivery[] }>("GET", `/v1/webhook_endpoints/${endpoint.id}/deliveries`)).data;
/** The only delivery of an endpoint, once it has had `attempts`. */
const attempted = (endpoint: Endpoint, attempts: number) =>
  until(
    `attempt ${attempts}`,
    async () => {
      const found = await deliveries(endpoint);
      expect(found.length).toBeLessThanOrEqual(1);
      return found[0]?.attempts === attempts ? found[0] : null;
    },
    45_000,
    5,
  );

describe("OpenAI's clients", () => {
  test("create, read, list, change, rotate, test and delete an endpoint", async () => {
    const types = (await client.webhooks.eventTypes.list()).data;
    expect(types).toContain("fine_tuning.job.succeeded");
    expect(types).toContain("deployment.failed");
    const made = await client.webhooks.create({
      name: "mine",
      url: `${receiver.url}/hook`,
      event_types: ["fine_tuning.job.succeeded"],
    });
    expect(made).toMatchObject({ object: "webhook_endpoint", name: "mine", url: `${receiver.url}/hook` });
    expect(made.signing_secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const { signing_secret: secret, ...shown } = made;
    expect(await client.webhooks.retrieve(made.id)).toEqual(shown);
    expect(made.signing_secret_hint).toEndWith(secret.slice(-5));
    expect((await client.webhooks.list()).data).toEqual([shown]);
    const changed = await client.webhooks.update(made.id, { name: "ours", event_types: ["fine_tuning.job.failed"] });
    expect(changed).toMatchObject({ name: "ours", event_types: ["fine_tuning.job.failed"], url: made.url });
    const rotated = await client.webhooks.rotateSecret(made.id);
    expect(rotated.signing_secret).not.toBe(secret);
    const tested = await client.webhooks.test(made.id, { event_type: "fine_tuning.job.failed" });
    expect(tested).toMatchObject({ object: "webhook_endpoint.test", status_code: 200, success: true });
    const { body, headers } = await receiver.request(1);
    expect(await client.webhooks.unwrap(body, headers, rotated.signing_secret)).toMatchObject({
      object: "event",
      type: "fine_tuning.job.failed",
      data: { id: "test" },
    });
    expect(await client.webhooks.delete(made.id)).toEqual({
      object: "webhook_endpoint.deleted",
      id: made.id,
      deleted: true,
    });
    expect((await client.webhooks.list()).data).toEqual([]);
  });

  test("accept what arrives, and nothing else", async () => {
    const { signing_secret: secret } = await create({ event_types: ["fine_tuning.job.cancelled", "dataset.ready"] });
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([`${chatLines(12).join("\n")}\n`], "rows.jsonl"));
    const file = await lab.json<{ id: string }>("POST", "/v1/files", { raw: form });
    const job = await lab.json<{ id: string }>("POST", "/v1/fine_tuning/jobs", {
      body: { model: "tiny", training_file: file.id },
    });
    await lab.json("POST", `/v1/fine_tuning/jobs/${job.id}/cancel`);
    await receiver.request(2);
    const all = await Promise.all(
      receiver.taken.map(async ({ body, headers }) => client.webhooks.unwrap(body, headers, secret)),
    );
    const canceled = all.find(({ type }) => type === "fine_tuning.job.cancelled");
    expect(canceled).toEqual({
      object: "event",
      id: expect.stringMatching(/^evt_/),
      type: "fine_tuning.job.cancelled",
      created_at: Math.floor(clock.now() / 1000),
      data: { id: job.id },
    });
    expect(all.map(({ type }) => type as string).sort()).toEqual(["dataset.ready", "fine_tuning.job.cancelled"]);
    const { body, headers } = await receiver.request(1);
    const refused = async (text: string, given: Headers, key: string) =>
      client.webhooks.unwrap(text, given, key).then(
        () => null,
        (error: Error) => error.constructor.name,
      );
    const changed = body.replace(job.id, "ftjob-other").replace("ds_", "dx_");
    expect(await refused(changed, headers, secret)).toBe("InvalidWebhookSignatureError");
    const other = `whsec_${Buffer.alloc(32).toString("base64")}`;
    expect(await refused(body, headers, other)).toBe("InvalidWebhookSignatureError");
    const late = new Headers(headers);
    late.set("webhook-timestamp", String(Math.floor(clock.now() / 1000) - 301));
    expect(await refused(body, late, secret)).toBe("InvalidWebhookSignatureError");
  });

  const python = join(TRAINER_ENV, "bin/python");
  const hasClient = Bun.spawnSync([python, "-c", "import openai"]).exitCode === 0;
  test.skipIf(!hasClient)(
    `the package from PyPI unwraps them too${hasClient ? "" : " (skipped: it is missing)"}`,
    async () => {
      const { signing_secret: secret } = await create();
      await happen("fine_tuning.job.failed", "ftjob-py");
      const { body, headers } = await receiver.request(1);
      const code = `
import json, sys
from openai import OpenAI
given = json.load(sys.stdin)
event = OpenAI(api_key="x", webhook_secret=given["secret"]).webhooks.unwrap(given["body"], given["headers"])
print(type(event).__name__, event.type, event.data.id)`;
      const input = Buffer.from(JSON.stringify({ secret, body, headers: Object.fromEntries(headers) }));
      const run = Bun.spawnSync([python, "-c", code], { stdin: input });
      expect(run.stdout.toString().trim(), run.stderr.toString()).toBe(
        "FineTuningJobFailedWebhookEvent fine_tuning.job.failed ftjob-py",
      );
    },
  );

  test("accept both secrets for a day after a rotation that keeps the old one", async () => {
    const made = await create();
    const rotated = await client.webhooks.rotateSecret(made.id, { keep_old_secret_active_for_24_hours: true });
    await happen();
    const { body, headers } = await receiver.request(1);
    for (const secret of [made.signing_secret, rotated.signing_secret])
      expect(await client.webhooks.unwrap(body, headers, secret)).toMatchObject({ data: { id: "ftjob-1" } });
    clock.advance(24 * 3_600_000);
    await happen();
    expect((await receiver.request(2)).headers.get("webhook-signature")?.split(" ")).toHaveLength(1);
  });
});

describe("what fails", () => {
  test("is repeated after longer and longer waits, with the same id", async () => {
    const endpoint = await create();
    receiver.statuses.push(500, 302, 200);
    await happen();
    expect(await attempted(endpoint, 1)).toMatchObject({ status: "waiting", last_status: 500 });
    clock.advance(9_999);
    expect(receiver.taken).toHaveLength(1);
    clock.advance(1);
    expect(await attempted(endpoint, 2)).toMatchObject({
      status: "waiting",
      last_error: "It answered 302: redirects are not followed.",
    });
    clock.advance(30_000);
    const sent = await attempted(endpoint, 3);
    expect(sent).toMatchObject({ status: "sent", last_status: 200, last_error: null });
    expect(receiver.taken.map(({ path }) => path)).toEqual(["/hook", "/hook", "/hook"]);
    expect(new Set(receiver.taken.map(({ headers }) => headers.get("webhook-id")))).toEqual(new Set([sent.id]));
    const at = receiver.taken.map(({ headers }) => Number(headers.get("webhook-timestamp")));
    expect((at[2] ?? 0) - (at[0] ?? 0)).toBe(40);
  });

  test("waits at most twelve hours, and is tried for about three days", () => {
    const waits = Array.from({ length: MAX_ATTEMPTS - 1 }, (_, n) => waitAfter(n + 1) / 1000);
    expect(waits.slice(0, 4)).toEqual([10, 30, 90, 270]);
    expect(Math.max(...waits)).toBe(12 * 3600);
    const days = waits.reduce((sum, wait) => sum + wait, 0) / 86_400;
    expect(days).toBeGreaterThan(3);
    expect(days).toBeLessThan(4);
  });

  test("ends with the last attempt; the administrator sees it and sends it again", async () => {
    const endpoint = await create();
    receiver.statuses.push(...Array.from({ length: MAX_ATTEMPTS }, () => 503));
    await happen();
    for (let n = 1; n <= MAX_ATTEMPTS; n++) {
      await attempted(endpoint, n);
      clock.advance(waitAfter(n));
    }
    const [dead] = await deliveries(endpoint);
    expect(dead).toMatchObject({ status: "dead", attempts: MAX_ATTEMPTS, last_error: "It answered 503." });
    const listed = await lab.json<{ data: Delivery[] }>("GET", "/v1/admin/deliveries", { as: "otherAdmin" });
    expect(listed.data).toEqual([dead as Delivery]);
    expect((await lab.request("GET", "/v1/admin/deliveries", { as: "member" })).status).toBe(403);
    await lab.json("POST", `/v1/admin/deliveries/${dead?.id}/resend`, { as: "otherAdmin" });
    expect(await attempted(endpoint, 1)).toMatchObject({ id: dead?.id, status: "sent" });
    expect((await receiver.request(MAX_ATTEMPTS + 1)).headers.get("webhook-id")).toBe(dead?.id as string);
  });

  test("is given up at once when the receiver is gone, and can be sent again by its organization", async () => {
    const endpoint = await create();
    receiver.statuses.push(410);
    await happen();
    const dead = await attempted(endpoint, 1);
    expect(dead.status).toBe("dead");
    const path = `/v1/webhook_endpoints/${endpoint.id}/deliveries/${dead.id}/resend`;
    expect((await lab.request("POST", path, { as: "other" })).status).toBe(404);
    expect(await lab.json("POST", path, { as: "member" })).toMatchObject({ status: "waiting", attempts: 0 });
    expect((await attempted(endpoint, 1)).status).toBe("sent");
  });

  test("a test of an endpoint that does not answer says why", async () => {
    const closed = startReceiver();
    const endpoint = await create();
    await lab.ctx.write((tx) => tx.delete(webhookEndpoint));
    closed.stop();
    const other = await createTestApp({ config: { webhook_hosts: [closed.host] } });
    const made = await other.json<Endpoint>("POST", "/v1/webhook_endpoints", {
      body: { name: "a", url: closed.url, event_types: ["dataset.ready"] },
    });
    const answer = await other.request("POST", `/v1/webhook_endpoints/${made.id}/test`, {
      body: { event_type: "dataset.ready" },
    });
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({
      error: { code: "webhook_unreachable", message: expect.stringMatching(/connection (was refused|failed)/) },
    });
    expect(endpoint.id).not.toBe(made.id);
    await other.close();
  });
});

describe("what is stored", () => {
  test("is sent once to each endpoint that wants it, of its organization only", async () => {
    const wants = await create();
    const alsoWants = await create({ url: `${receiver.url}/second` });
    const wantsOther = await create({ event_types: ["dataset.ready"] });
    const otherOrg = await lab.json<Endpoint>("POST", "/v1/webhook_endpoints", {
      as: "other",
      body: { name: "b", url: `${receiver.url}/foreign`, event_types: ["fine_tuning.job.failed"] },
    });
    await happen();
    await attempted(wants, 1);
    await attempted(alsoWants, 1);
    // A second reading of the same event, as after a restart.
    await lab.ctx.write((tx) => tx.update(noticeEvent).set({ spreadAt: null }));
    lab.ctx.bus.emit("notice.stored", { org: lab.orgs.a });
    await happen("dataset.ready", "ds_1");
    await attempted(wantsOther, 1);
    expect(receiver.taken.map(({ path }) => path).sort()).toEqual(["/hook", "/hook", "/second"]);
    expect((await lab.request("GET", `/v1/webhook_endpoints/${wants.id}`, { as: "other" })).status).toBe(404);
    expect(otherOrg.id).toStartWith("whe_");
  });

  test("a change that is rolled back has no event", async () => {
    const before = await lab.ctx.db.select().from(noticeEvent);
    await lab.ctx
      .write(async (tx) => {
        const event = { org: lab.orgs.a, type: "dataset.ready" as const, subject: "x", userId: null };
        await recordEvent(tx, lab.ctx, { ...event, title: "a", body: "", path: "/" });
        throw new Error("rolled back");
      })
      .catch(() => {});
    expect(await lab.ctx.db.select().from(noticeEvent)).toEqual(before);
  });

  test("addresses and secrets are encrypted, and old rows are deleted", async () => {
    const endpoint = await create({ url: `${receiver.url}/secret-path?token=abc` });
    expect(endpoint.url).toBe(`${receiver.url}/secret-path?…`);
    const [row] = await lab.ctx.db.select().from(webhookEndpoint);
    expect(row?.secret).not.toContain(endpoint.signing_secret.slice(6, 20));
    expect(row?.url).not.toContain("token=abc");
    await happen();
    await attempted(endpoint, 1);
    stop();
    clock.advance(31 * 86_400_000);
    stop = startNotices(lab.ctx);
    await until("the old rows to go", async () => (await deliveries(endpoint)).length === 0, 5000, 5);
    expect(await lab.ctx.db.select().from(noticeEvent)).toEqual([]);
  });
});

describe("a Slack webhook", () => {
  test("gets a text with the link, and its address is not shown", async () => {
    const endpoint = await create({ url: `${receiver.url}/services/T0/B0/secret`, format: "slack" });
    expect(endpoint.url).toBe(`${receiver.url}/…`);
    await happen();
    const { body, path, headers } = await receiver.request(1);
    expect(path).toBe("/services/T0/B0/secret");
    expect(headers.get("content-type")).toBe("application/json");
    expect(JSON.parse(body)).toEqual({ text: "*Run &lt;a&gt; &amp; b failed*\nhttp://127.0.0.1:0/jobs/1" });
  });
});
