/** A libSQL server that wants a token, and the rotation of the secret in a database on a server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SignJWT } from "jose";
import { createCtx } from "../../src/app.ts";
import { loadConfig } from "../../src/config.ts";
import { mailServer } from "../../src/notices/mail/settings.ts";
import { createTestApp } from "../support/app.ts";
import { PROGRAM } from "../support/program.ts";
import { type Sqld, sqldMissing, startSqld } from "../support/sqld.ts";

const suite = sqldMissing ? describe.skip : describe;
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "ftl-token-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A token as a libSQL server reads it: a JWT signed with Ed25519. */
const tokenOf = (key: KeyObject) =>
  new SignJWT().setProtectedHeader({ alg: "EdDSA" }).setExpirationTime("10m").sign(key);

/** Runs a verb of the program with settings in its environment. */
function run(args: string[], env: Record<string, string>) {
  const ran = Bun.spawnSync([...PROGRAM, ...args], { env: { PATH: process.env.PATH ?? "", HOME: dir, ...env } });
  return { code: ran.exitCode, said: ran.stdout.toString() + ran.stderr.toString() };
}

suite("a server that wants a token", () => {
  let server: Sqld;
  const keys = generateKeyPairSync("ed25519");
  const settings = (data: string, token: string | null) =>
    loadConfig({
      data_dir: join(dir, data),
      database_url: server.url("one"),
      database_token: token,
      log_level: "error",
    });
  beforeAll(async () => {
    const file = join(dir, "key.pem");
    writeFileSync(file, keys.publicKey.export({ type: "spki", format: "pem" }));
    server = await startSqld(["--auth-jwt-key-file", file]);
    await server.create("one");
  });
  afterAll(() => server?.stop());

  test("accepts the right one, from a file too, and its backup starts as a data directory", async () => {
    const token = await tokenOf(keys.privateKey);
    const ctx = await createCtx(settings("one", token));
    const { installation } = ctx;
    await ctx.close();
    const file = join(dir, "token");
    writeFileSync(file, `${token}\n`, { mode: 0o600 });
    const env = { FTL_DATABASE_URL: server.url("one"), FTL_DATABASE_TOKEN_FILE: file };
    expect(run(["backup", join(dir, "copy"), "--data", join(dir, "one")], env)).toMatchObject({ code: 0 });
    const copy = await createCtx(loadConfig({ data_dir: join(dir, "copy"), log_level: "error" }));
    expect(copy.installation).toBe(installation);
    await copy.close();
  }, 60_000);

  test.each([
    ["none", () => null],
    ["one of another key", () => tokenOf(generateKeyPairSync("ed25519").privateKey)],
  ])("refuses %s, with the name of the setting", async (_what, token) => {
    await expect(createCtx(settings("two", await token()))).rejects.toThrow(/refuses the token.*database_token/);
  });
});

suite("the secret of an installation with a database on a server", () => {
  test("is rotated: what was encrypted opens with the new one, and not with the old one", async () => {
    const t = await createTestApp({ database: "sqld" });
    const server = { host: "mail.invalid", port: 587, security: "starttls", user: "lab", from: "lab@example.test" };
    await t.json("POST", "/v1/admin/mail", { body: { ...server, password: "a password of mail" } });
    const url = String(t.ctx.config.database_url);
    const old = t.ctx.secret;
    await t.ctx.close();
    const done = run(["secret", "rotate", "--data", t.dir], { FTL_DATABASE_URL: url });
    expect(done).toMatchObject({ code: 0, said: expect.stringMatching(/New secret .* values encrypted again/) });
    const ctx = await createCtx(loadConfig({ data_dir: t.dir, database_url: url, log_level: "error" }));
    expect(ctx.secret).not.toBe(old);
    expect((await mailServer(ctx))?.password).toBe("a password of mail");
    await expect(mailServer({ ...ctx, secret: old })).rejects.toThrow();
    await ctx.close();
    rmSync(t.dir, { recursive: true, force: true });
  }, 60_000);
});
