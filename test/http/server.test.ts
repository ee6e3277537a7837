/**
 * The listeners of one server: TCP for people and clients, a socket for trainers, a socket for the administrator, and
 * one owner of a data directory.
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { adminCommand, createCtx } from "../../src/app.ts";
import { callServer } from "../../src/cli/admin-socket.ts";
import { loadConfig } from "../../src/config.ts";
import { socketPath } from "../../src/lib/disk/sockets.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";

let app: TestApp;
let server: RunningServer;
beforeEach(async () => {
  app = await createTestApp();
  server = startServer(app.ctx, app.app);
});
afterEach(async () => {
  await server.stop(1);
  await app.close();
});

const bearer = () => ({ authorization: `Bearer ${app.keys.admin}` });
const trainerSocket = () => app.ctx.trainerHome.slice("unix:".length);

test("the API answers on TCP, on the address that was asked for", async () => {
  expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  const answer = await fetch(`${server.url}/v1/me`, { headers: bearer() });
  expect(answer.status).toBe(200);
});

test("the trainers' socket answers trainers and nothing else, whatever key comes along", async () => {
  const ask = (path: string) => fetch(`http://localhost${path}`, { unix: trainerSocket(), headers: bearer() });
  for (const path of ["/v1/me", "/", "/login", "/v1/admin/users", "/healthz", "/trainer/v1/../../v1/me"])
    expect((await ask(path)).status).toBe(404);
  expect((await ask("/trainer/v1/spec")).status).toBe(401);
  expect((await fetch(`${server.url}/trainer/v1/spec`)).status).toBe(401);
});

test("both sockets can be opened by the server's own user alone", () => {
  for (const path of [trainerSocket(), join(app.dir, "run", "admin.sock")])
    expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("accounts and keys are made while the server runs, and work at once", async () => {
  const config = app.ctx.config;
  const made = await adminCommand(config, "user.create", {
    email: "cli@example.test",
    password: PASSWORD,
    role: "member",
  });
  expect(made.id).toBeString();
  const asked = { email: "cli@example.test", name: "script", allowed_addresses: ["127.0.0.0/8", "::1"] };
  const { id, key } = await adminCommand(config, "key.create", asked);
  const me = (secret: unknown) => fetch(`${server.url}/v1/me`, { headers: { authorization: `Bearer ${secret}` } });
  expect(await (await me(key)).json()).toMatchObject({ id: made.id, email: "cli@example.test", role: "member" });
  const rotated = await adminCommand(config, "key.rotate", { id, overlap_seconds: 0 });
  expect([(await me(key)).status, (await me(rotated.key)).status]).toEqual([401, 200]);
  expect(await callServer(app.dir, "status", {})).toMatchObject({ pid: process.pid });
});

test.each([
  ["user.create", { email: "nonsense", password: PASSWORD }, /e-mail/],
  ["user.create", { email: "weak@example.test", password: "12345678900987654321" }, /attackers/],
  ["key.create", { email: "nobody@example.test", name: "x" }, /No such user/],
  ["drop.everything", {}, /no command/],
])("the command %s with bad arguments says what is wrong", async (name, args, message) => {
  await expect(adminCommand(app.ctx.config, name, args)).rejects.toThrow(message);
});

test("a second server on the same data directory is refused, by name and process", async () => {
  await expect(createCtx(app.ctx.config)).rejects.toThrow(
    new RegExp(`${app.dir} is in use by another Fine-Tune Lab \\(process ${process.pid}, at ${server.url}\\)`),
  );
});

test("a data directory whose owner was killed opens again, and its stale socket is no server", async () => {
  const dir = mkdtempSync(join(tmpdir(), "ftl-killed-"));
  const code = `
    const { createCtx, createApp } = await import("${join(import.meta.dir, "../../src/app.ts")}");
    const { loadConfig } = await import("${join(import.meta.dir, "../../src/config.ts")}");
    const { startServer } = await import("${join(import.meta.dir, "../../src/server.ts")}");
    const ctx = await createCtx(loadConfig({ data_dir: process.argv[1], listen: "127.0.0.1:0" }));
    startServer(ctx, createApp(ctx));
    console.log("up");`;
  const child = Bun.spawn([process.execPath, "-e", code, dir], { stdout: "pipe", stderr: "inherit" });
  const first = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(first.value)).toContain("up");
  child.kill("SIGKILL");
  await child.exited;
  expect(await callServer(dir, "status", {})).toBeNull();
  const ctx = await createCtx(loadConfig({ data_dir: dir }, {}), { log: () => {} });
  await ctx.close();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

test("a socket whose path is too long for the system moves to a private folder, the same each time", () => {
  const long = join("/", "x".repeat(120));
  const path = socketPath(long, "trainer.sock");
  expect(Buffer.byteLength(path)).toBeLessThanOrEqual(100);
  expect(socketPath(long, "trainer.sock")).toBe(path);
  expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
  rmSync(join(path, ".."), { recursive: true });
});
