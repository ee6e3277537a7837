/** Where webhooks may not go, who may create them, and what a request for one must not say. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { recordEvent } from "../../src/notices/events/store.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { until } from "../support/live.ts";
import { type Receiver, startReceiver } from "../support/receiver.ts";

interface Delivery {
  last_error: string | null;
}

let lab: TestApp;
let receiver: Receiver;
let stop: () => void;

beforeAll(async () => {
  receiver = startReceiver();
  lab = await createTestApp({ config: { webhook_hosts: [receiver.host] } });
  stop = startNotices(lab.ctx);
});
afterAll(async () => {
  stop();
  receiver.stop();
  await lab.close();
});

const create = (more: object = {}) =>
  lab.json<{ id: string }>("POST", "/v1/webhook_endpoints", {
    body: { name: "hook", url: `${receiver.url}/hook`, event_types: ["dataset.ready"], ...more },
  });

describe("what is refused", () => {
  const cases: [string, object, string, RegExp][] = [
    [
      "a private address",
      { url: "https://10.0.0.1/hook" },
      "address_refused",
      /10\.0\.0\.1 is not called.*webhook_hosts/,
    ],
    ["the address of cloud metadata", { url: "https://169.254.169.254/" }, "address_refused", /private/],
    ["this machine in IPv6", { url: "https://[::1]/" }, "address_refused", /private/],
    ["this machine in decimal", { url: "https://2130706433/" }, "address_refused", /private/],
    ["an address without TLS", { url: "http://example.com/" }, "address_refused", /not HTTPS/],
    ["a user in the address", { url: "https://a:b@example.com/" }, "invalid_value", /user or a password/],
    ["an event that does not exist", { event_types: ["batch.completed"] }, "invalid_type", /webhook_event_types/],
    ["no event", { event_types: [] }, "invalid_value", /at least one/],
    ["an unknown field", { secret: "x" }, "unknown_parameter", /secret/],
  ];
  test.each(cases)("%s", async (_, more, code, says) => {
    const body = { name: "hook", url: "https://example.com/hook", event_types: ["dataset.ready"], ...more };
    const answer = await lab.request("POST", "/v1/webhook_endpoints", { body });
    const { error } = (await answer.json()) as { error: { code: string; message: string } };
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(says);
  });

  test("a name that leads to a private address, when the connection is made", async () => {
    const port = receiver.host.split(":")[1];
    const endpoint = await create({ url: `https://localhost:${port}/hook` });
    const event = { org: lab.orgs.a, type: "dataset.ready" as const, subject: "ds_1", userId: null };
    const message = await lab.ctx.write((tx) =>
      recordEvent(tx, lab.ctx, { ...event, title: "a", body: "", path: "/datasets/ds_1" }),
    );
    lab.ctx.bus.emit(message.name, message.event as never);
    const tried = await until(
      "the attempt",
      async () => {
        const path = `/v1/webhook_endpoints/${endpoint.id}/deliveries`;
        const [found] = (await lab.json<{ data: Delivery[] }>("GET", path)).data;
        return found?.last_error ? found : null;
      },
      45_000,
      5,
    );
    expect(tried.last_error).toMatch(/its name leads to a private address/);
    expect(receiver.taken).toEqual([]);
  });

  test("an offline installation sends only where its administrator allows it", async () => {
    const offline = await createTestApp({ config: { offline: true, webhook_hosts: ["hooks.internal"] } });
    const to = (url: string) =>
      offline.request("POST", "/v1/webhook_endpoints", {
        body: { name: "a", url, event_types: ["dataset.ready"] },
      });
    expect((await to("https://example.com/")).status).toBe(503);
    expect((await to("http://hooks.internal/")).status).toBe(200);
    await offline.close();
  });

  test("security events of others: only administrators send them anywhere", async () => {
    const body = { name: "a", url: `${receiver.url}/`, event_types: ["security.key.created"] };
    expect((await lab.request("POST", "/v1/webhook_endpoints", { as: "member", body })).status).toBe(403);
    const endpoint = await create(body);
    for (const [path, given] of [
      ["", { url: `${receiver.url}/mine` }],
      ["/rotate_secret", {}],
      ["/test", { event_type: "security.key.created" }],
    ] as const)
      expect(
        (await lab.request("POST", `/v1/webhook_endpoints/${endpoint.id}${path}`, { as: "member", body: given }))
          .status,
      ).toBe(403);
    expect((await lab.request("DELETE", `/v1/webhook_endpoints/${endpoint.id}`, { as: "member" })).status).toBe(403);
  });
});
