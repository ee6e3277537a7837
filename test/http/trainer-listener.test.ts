/** The listener for trainers elsewhere: over TLS and behind a proxy it serves the trainer protocol and nothing else. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { loadConfig } from "../../src/config.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, type TestTrainer } from "../support/attempt.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { tlsProxy } from "../support/tls-proxy.ts";

let certificates: Certificates;
let t: TestApp;
let server: RunningServer;
let trainer: TestTrainer;
let tls: { ca: string };
beforeAll(async () => {
  certificates = makeCertificates();
  tls = { ca: readFileSync(certificates.caFile, "utf8") };
  t = await createTestApp({
    config: {
      trainer_listen: "127.0.0.1:0",
      trainer_cert_file: certificates.chainFile,
      trainer_key_file: certificates.keyFile,
      listen_trainers: false,
    },
  });
  server = startServer(t.ctx, t.app);
  trainer = await makeTrainer(t);
});
afterAll(async () => {
  await server.stop(1);
  await t.close();
  certificates.remove();
});

const get = (path: string, headers: Record<string, string> = { authorization: `Bearer ${trainer.token}` }) =>
  fetch(`${server.trainerUrl}${path}`, { headers, tls });

test("trainers are answered over TLS, whatever name they call", async () => {
  expect(server.trainerUrl).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  const spec = await get("/trainer/v1/spec");
  expect([spec.status, ((await spec.json()) as { job_id: string }).job_id]).toEqual([200, trainer.jobId]);
  expect(
    (await get("/trainer/v1/spec", { authorization: "Bearer fta-wrong-0123456789", host: "lab.example" })).status,
  ).toBe(401);
  const events = { events: [{ seq: 1, at: 1, type: "log", level: "info", message: "hello" }] };
  const sent = await fetch(`${server.trainerUrl}/trainer/v1/events`, {
    method: "POST",
    headers: { authorization: `Bearer ${trainer.token}`, "content-type": "application/json" },
    body: JSON.stringify(events),
    tls,
  });
  expect(await sent.json()).toEqual({ last_seq: 1, commands: [] });
});

test("nothing else answers there, whatever key comes along", async () => {
  const key = { authorization: `Bearer ${t.keys.admin}` };
  for (const path of [
    "/",
    "/login",
    "/v1/me",
    "/v1/jobs",
    "/healthz",
    "/metrics",
    "/assets/app.css",
    "/trainer/v1/../../v1/me",
    "/trainer/v1/%2e%2e/%2e%2e/v1/me",
    "/trainer/v1",
  ])
    expect([path, (await get(path, key)).status]).toEqual([path, 404]);
});

test("the address for people answers no trainers any more, and everybody else as before", async () => {
  const asked = await fetch(`${server.url}/trainer/v1/spec`, { headers: { authorization: `Bearer ${trainer.token}` } });
  expect(asked.status).toBe(404);
  expect(await asked.text()).toContain("trainer_url");
  expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
});

test("plain HTTP and certificates that nobody vouches for do not get through", async () => {
  await expect(fetch(`${server.trainerUrl?.replace("https:", "http:")}/trainer/v1/spec`)).rejects.toThrow();
  await expect(fetch(`${server.trainerUrl}/trainer/v1/spec`)).rejects.toThrow(/certificate/);
});

test("behind a TLS proxy the listener speaks plain HTTP", async () => {
  const behind = await createTestApp({ config: { trainer_listen: "127.0.0.1:0" } });
  const plain = startServer(behind.ctx, behind.app);
  const proxy = tlsProxy(plain.trainerUrl as string, certificates);
  try {
    const own = await makeTrainer(behind);
    const asked = await fetch(`${proxy.url}/trainer/v1/spec`, {
      headers: { authorization: `Bearer ${own.token}` },
      tls,
    });
    expect([asked.status, ((await asked.json()) as { job_id: string }).job_id]).toEqual([200, own.jobId]);
    expect(proxy.seen.length).toBe(1);
    expect((await fetch(`${proxy.url}/v1/me`, { tls })).status).toBe(404);
    // Both addresses serve trainers unless `listen_trainers` is false.
    expect((await fetch(`${plain.url}/trainer/v1/spec`)).status).toBe(401);
  } finally {
    proxy.stop();
    await plain.stop(1);
    await behind.close();
  }
});

test.each([
  [{ trainer_cert_file: "/c.pem" }, /trainer_key_file.*trainer_cert_file/],
  [{ trainer_key_file: "/k.pem" }, /trainer_cert_file.*trainer_key_file/],
  [{ trainer_cert_file: "/c.pem", trainer_key_file: "/k.pem" }, /needs trainer_listen/],
  [{ listen_trainers: false }, /Set it/],
  [{ trainer_url: "http://lab.example" }, /https/],
  [{ trainer_url: "https://lab.example/path" }, /no path/],
  [{ trainer_fingerprint: "abc" }, /64 hexadecimal digits/],
] as const)("%j is refused", (settings, message) => {
  expect(() => loadConfig({ data_dir: t.dir, ...settings }, {})).toThrow(message);
});

test("fingerprints are read as openssl prints them", () => {
  const printed = certificates.leaf.toUpperCase().replace(/(..)(?!$)/g, "$1:");
  expect(loadConfig({ data_dir: t.dir, trainer_fingerprint: printed }, {}).trainer_fingerprint).toEqual([
    certificates.leaf,
  ]);
});

test("a key of another certificate is refused at the start, by the names of the settings", async () => {
  const other = makeCertificates();
  try {
    const config = { ...t.ctx.config, listen: "127.0.0.1:0", trainer_key_file: other.keyFile };
    expect(() => startServer({ ...t.ctx, config } as typeof t.ctx, t.app)).toThrow(
      /trainer_key_file must be PEM files.*not the one of the certificate/,
    );
  } finally {
    other.remove();
  }
});
