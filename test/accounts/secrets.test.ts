/**
 * Secrets at rest: every kind is planted through the API and not found in any file, is bound to its row, and survives
 * a rotation of the installation's secret, also one that is interrupted.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createCipheriv, hkdfSync, randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { listProviders, secretOf } from "../../src/accounts/sso/providers.ts";
import { createApp, createCtx, type OpenCtx } from "../../src/app.ts";
import { systemActor } from "../../src/ctx.ts";
import { termsOf } from "../../src/custody/subjects/run.ts";
import { sourceOf } from "../../src/data/imports/run.ts";
import { subjectRequest } from "../../src/db/schema/archives.ts";
import { auditForward } from "../../src/db/schema/audit.ts";
import { datasetImport } from "../../src/db/schema/imports.ts";
import { noticeDelivery, webhookEndpoint } from "../../src/db/schema/notices.ts";
import { hubPush } from "../../src/db/schema/pushes.ts";
import { SEALED, sealedIn } from "../../src/db/sealed-columns.ts";
import { secretId, unseal } from "../../src/lib/sealed.ts";
import { mailIn } from "../../src/notices/delivery/outbox.ts";
import { mailServer } from "../../src/notices/mail/settings.ts";
import { wandbOf } from "../../src/training/results/wandb-settings.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { browserOf } from "../support/cookies.ts";
import { until } from "../support/live.ts";
import { insertTuned, readyBase } from "../support/models.ts";
import { PROGRAM } from "../support/program.ts";
import { fromBase32, totp } from "../support/totp.ts";
import { tracesIn } from "../support/traces.ts";
import { startWandbServer, type TestWandb } from "../support/wandb.ts";

const logged: string[] = [];
const log = (...given: unknown[]) => void logged.push(Bun.inspect(given, { depth: 9 }));
let lab: TestApp;
let ctx: OpenCtx;
let wandb: TestWandb;
/** What was planted, by kind. */
const planted: Record<string, string[]> = {};
let importId = "";
let recovery: string[] = [];
let seed = "";
/** A hub that never answers: a push to it keeps its token. */
const silent = Bun.serve({ port: 0, hostname: "127.0.0.1", idleTimeout: 0, fetch: () => new Promise(() => {}) });

const WORD = (name: string) => `planted-${name}-${randomBytes(9).toString("hex")}`;

beforeAll(async () => {
  wandb = startWandbServer();
  // Nobody listens on the discard port: the import fails, and keeps its credentials for a retry.
  lab = await createTestApp({ config: { import_hosts: ["127.0.0.1:9"], hub_url: silent.url.origin }, ctx: { log } });
  ctx = lab.ctx;

  const access = { access_key_id: WORD("id"), secret_access_key: WORD("s3"), session_token: WORD("session") };
  const source = { type: "s3", endpoint: "http://127.0.0.1:9", bucket: "rows", key: "a.jsonl", ...access };
  importId = (await lab.json<{ id: string }>("POST", "/v1/datasets/import", { body: { source } })).id;
  await until("the import to fail", async () => {
    const { status } = await lab.json<{ status: string }>("GET", `/v1/datasets/imports/${importId}`);
    return status === "failed";
  });
  planted.import = Object.values(access);

  const address = { wandb_url: wandb.url, wandb_key: wandb.key };
  await lab.json("POST", `/v1/admin/orgs/${lab.orgs.a}/wandb`, { body: address });
  planted.wandb = [wandb.key];

  const [first, second] = [WORD("hook"), WORD("hook")];
  const hook = { name: "a", url: `https://93.184.215.14/?token=${first}`, event_types: ["dataset.ready"] };
  const made = await lab.json<{ id: string; signing_secret: string }>("POST", "/v1/webhook_endpoints", { body: hook });
  const rotated = await lab.json<{ signing_secret: string }>("POST", `/v1/webhook_endpoints/${made.id}/rotate_secret`, {
    body: { keep_old_secret_active_for_24_hours: true },
  });
  planted.webhook_secret = [made.signing_secret, rotated.signing_secret].map((text) => text.replace("whsec_", ""));
  await lab.json("POST", "/v1/webhook_endpoints", {
    body: { ...hook, url: `https://93.184.215.14/?token=${second}` },
  });
  planted.webhook_url = [first, second];
  const third = WORD("hook");
  const siem = { url: `https://93.184.215.14/?token=${third}` };
  const forwarded = await lab.json<{ signing_secret: string }>("POST", "/v1/admin/audit/forwarding/webhook", {
    body: siem,
  });
  planted.audit_webhook_url = [third];
  planted.audit_webhook_secret = [forwarded.signing_secret.replace("whsec_", "")];

  const server = { host: "mail.invalid", port: 587, security: "starttls", user: "lab", from: "lab@example.test" };
  const password = WORD("smtp");
  await lab.json("POST", "/v1/admin/mail", { body: { ...server, password } });
  planted.mail_server = [password];
  await lab.request("POST", "/forgot", { as: "anonymous", form: { email: lab.emails.other } });
  const letter = await until("the mail", async () => (await ctx.db.select().from(noticeDelivery))[0]);
  const { token } = /token=(?<token>[\w.-]+)/.exec(mailIn(ctx, letter).mail.text)?.groups ?? {};
  planted.mail = [token ?? ""];

  const client = { client_id: "lab", client_secret: WORD("sso"), domains: ["planted.test"] };
  const provider = { name: "a", issuer: "https://93.184.215.14", ...client };
  await lab.json("POST", "/v1/admin/sso", { body: provider });
  planted.sso = [client.client_secret];

  const browser = browserOf(lab);
  await browser.signIn("member");
  seed = (await browser.json<{ secret: string }>("POST", "/v1/two_factor", { password: PASSWORD })).secret;
  const confirmed = await browser.json<{ codes: string[] }>("POST", "/v1/two_factor/confirm", { code: totp(seed) });
  recovery = confirmed.codes;
  await readyBase(ctx);
  const model = encodeURIComponent((await insertTuned(ctx, lab.orgs.a)).id);
  planted.push = [WORD("hub")];
  const push = { repository: "acme/model", token: planted.push[0] };
  await lab.json("POST", `/v1/models/${model}/pushes`, { body: push });
  planted.setting = [WORD("setting")];
  await lab.json("POST", "/v1/admin/settings/secrets", { body: { name: "hub_token", value: planted.setting[0] } });
  planted.subject = [WORD("person")];
  await lab.json("POST", "/v1/subject_requests", { body: { terms: planted.subject } });
  planted.authenticator = [seed, fromBase32(seed).toString(), ...recovery];
}, 60_000);
afterAll(async () => {
  void silent.stop(true);
  wandb?.stop();
  await ctx?.close();
  if (lab) rmSync(lab.dir, { recursive: true, force: true });
});

/** Sealed values of every listed column. */
async function sealedValues(): Promise<{ column: string; value: string }[]> {
  const found = await Promise.all(
    SEALED.map(async ({ table, column, where, field }) => {
      const query = `select ${column} as value from ${table} where ${column} is not null and ${where ?? "true"}`;
      const rows = await ctx.db.all<{ value: string }>(sql.raw(query.replace(" key ", ' "key" ')));
      return rows.map(({ value }) => ({
        column: `${table}.${column}`,
        value: field ? ((JSON.parse(value) as Record<string, string>)[field] ?? "") : value,
      }));
    }),
  );
  return found.flat();
}

/** Opens the closed data directory again, as a start of the server does. */
async function reopen(): Promise<void> {
  ctx = await createCtx(lab.ctx.config, { log });
}

/** Every planted value is read as it was given. */
async function everythingOpens(): Promise<void> {
  const [row] = await ctx.db.select().from(datasetImport);
  if (!row) throw new Error("no import");
  expect(Object.values(sourceOf(ctx, row))).toEqual(expect.arrayContaining(planted.import ?? []));
  expect((await wandbOf(ctx, lab.orgs.a))?.key).toBe(wandb.key);
  expect((await mailServer(ctx))?.password).toBe(planted.mail_server?.[0] ?? "");
  const [provider] = await listProviders(ctx, systemActor());
  expect(provider && secretOf(ctx, provider)).toBe(planted.sso?.[0] ?? "");
  const [letter] = await ctx.db.select().from(noticeDelivery);
  expect(letter && mailIn(ctx, letter).mail.text).toContain(planted.mail?.[0] ?? "-");
  const [push] = await ctx.db.select().from(hubPush);
  expect(push && unseal(ctx.secret, sealedIn("push", push.id), push.secret ?? "")).toBe(planted.push?.[0] ?? "-");
  expect(ctx.config.hub_token).toBe(planted.setting?.[0] ?? "-");
  const [person] = await ctx.db.select().from(subjectRequest);
  expect(person && termsOf(ctx, person)).toEqual(planted.subject ?? []);
  const hooks = await ctx.db.select().from(webhookEndpoint);
  for (const hook of hooks) {
    const url = unseal(ctx.secret, sealedIn("webhook_url", hook.id), hook.url);
    expect(planted.webhook_url).toContain(new URL(url).searchParams.get("token") ?? "");
  }
  const [log] = await ctx.db.select().from(auditForward);
  const opened = (kind: "audit_webhook_url" | "audit_webhook_secret", sealed?: string | null) =>
    unseal(ctx.secret, sealedIn(kind, "webhook"), sealed ?? "");
  expect(opened("audit_webhook_url", log?.url)).toEndWith(planted.audit_webhook_url?.[0] ?? "-");
  expect(opened("audit_webhook_secret", log?.secret)).toEndWith(planted.audit_webhook_secret?.[0] ?? "-");
  const rotated = hooks.find(({ oldSecret }) => oldSecret !== null);
  const keys = [rotated?.oldSecret, rotated?.secret].map((text) =>
    unseal(ctx.secret, sealedIn("webhook_secret", rotated?.id ?? ""), text ?? ""),
  );
  expect(keys).toEqual((planted.webhook_secret ?? []).map((text) => `whsec_${text}`));
}

/** Signs the member in with a code: of the app, or a recovery code. */
async function signsIn(code: string): Promise<boolean> {
  const app = createApp(ctx);
  const request: TestApp["request"] = async (method, path, given = {}) => {
    const headers = new Headers({ origin: "http://localhost", "sec-fetch-site": "same-origin", ...given.headers });
    const body = given.form && new URLSearchParams(given.form as Record<string, string>);
    return app.handle(new Request(`http://localhost${path}`, { method, headers, body }));
  };
  const browser = browserOf({ ...lab, ctx, app, request });
  await browser.signIn("member");
  await browser.enterCode(code);
  return browser.isSignedIn();
}

const rotate = (env: Record<string, string> = {}) => {
  const ran = Bun.spawnSync([...PROGRAM, "secret", "rotate", "--data", lab.dir], {
    env: { PATH: process.env.PATH ?? "", HOME: lab.dir, ...env },
  });
  return { code: ran.exitCode, signal: ran.signalCode, said: ran.stdout.toString() + ran.stderr.toString() };
};

/** Text columns whose name looks like a secret, and what they hold instead of a readable one. */
const NOT_SECRET: Record<string, string> = {
  "account.access_token": "unused: the tokens of an identity provider are not kept",
  "account.refresh_token": "unused",
  "account.id_token": "unused",
  "account.password": "argon2id hash",
  "api_key.hash": "SHA-256 of 165 random bits",
  "audit_log.hash": "chains the entries",
  "attempt.token_hash": "SHA-256 of 165 random bits",
  "attempt.bootstrap_hash": "SHA-256 of 165 random bits",
  "attempt.bootstrap_nonce_hash": "SHA-256 of random bits of the trainer",
  "base_model.hash": "hash of files",
  "dataset_version.hash": "hash of rows",
  "failed_attempt.key": "keyed hash",
  "installation.key": "names of facts",
  "invitation.token_hash": "SHA-256 of 165 random bits",
  "job.lease_token": "names the lease of a process, and opens nothing",
  "moderation_case.hash": "hash of rows or files",
  "object_deletion.key": "name of an object",
  "provider_orphan.key": "names what a provider holds",
  "rented_machine.key": "names what a provider holds",
  "passkey.credential_id": "names the key pair of an authenticator, and opens nothing",
  "restriction.hash": "hash of rows or files",
  "stored_object.key": "name of an object",
  "scim_connection.token_hash": "SHA-256 of random bits",
  "scim_connection.token_hint": "the last characters, shown on the page",
  "secret_setting.name": "names of settings",
  "series.key": "names of metrics",
  "session.token": "no use without the signature with the secret, which is not in the database",
  "two_factor.backup_codes": "scrypt hashes",
  "used_code.key": "keyed hash",
  "webhook_endpoint.secret_hint": "the last characters, shown on the page",
};
const LOOKS_SECRET =
  /secret|token(?!s|_acc)|passw|credential|(^|\.)key$|private|otp|backup_codes|(?<!manifest_|request_|previous_)hash$/;

describe("at rest", () => {
  test("every column that looks like a secret is sealed, or is known to hold none", async () => {
    const columns = await ctx.db.all<{ name: string }>(sql`
      select m.name || '.' || c.name as name from sqlite_master m, pragma_table_info(m.name) c
      where m.type = 'table' and m.name not like 'sqlite_%' and m.name not like '\\_\\_%' escape '\\'
        and lower(c.type) = 'text'`);
    const names = columns.map(({ name }) => name);
    const sealed = SEALED.map(({ table, column }) => `${table}.${column}`);
    expect(sealed.filter((name) => !names.includes(name))).toEqual([]);
    const open = names.filter((name) => LOOKS_SECRET.test(name) && !sealed.includes(name)).sort();
    expect(open.filter((name) => !(name in NOT_SECRET))).toEqual([]);
    // The list above has no line for a column that is gone.
    expect(Object.keys(NOT_SECRET).filter((name) => !names.includes(name))).toEqual([]);
  });

  test("a secret of every kind, given through the API, is in no file and no log line", async () => {
    expect(Object.keys(planted).sort()).toEqual([...new Set(SEALED.map(({ kind }) => kind))].sort());
    const values = await sealedValues();
    expect([...new Set(values.map(({ column }) => column))].sort()).toEqual(
      SEALED.map(({ table, column }) => `${table}.${column}`).sort(),
    );
    for (const { value } of values) expect(value).toStartWith(`s1.${secretId(ctx.secret)}.`);
    expect(existsSync(join(lab.dir, "lab.db-wal"))).toBe(true);
    const given = [...Object.values(planted).flat(), PASSWORD, lab.keys.admin];
    expect(given.filter((text) => text.length < 8)).toEqual([]);
    writeFileSync(join(lab.dir, "server.log"), logged.join("\n"));
    expect(given.flatMap((text) => tracesIn(lab.dir, text))).toEqual([]);
  });

  test("a value that is moved to another row is not opened", async () => {
    const [a, b] = await ctx.db.select().from(webhookEndpoint);
    if (!a || !b) throw new Error("two endpoints are needed");
    expect(unseal(ctx.secret, sealedIn("webhook_secret", a.id), a.secret)).toStartWith("whsec_");
    expect(() => unseal(ctx.secret, sealedIn("webhook_secret", b.id), a.secret)).toThrow();
    expect(() => unseal(ctx.secret, sealedIn("webhook_url", a.id), a.secret)).toThrow();
  });
});

describe("the secret of the installation", () => {
  const path = () => join(lab.dir, "secret");

  test("a start with another secret, or without one, is refused and changes nothing", async () => {
    const before = await sealedValues();
    await ctx.close();
    const own = readFileSync(path(), "utf8");
    const start = () =>
      createCtx(lab.ctx.config, { log }).then(
        () => "started",
        (error: Error) => error,
      );
    renameSync(path(), `${path()}.kept`);
    expect(await start()).toMatchObject({ code: "wrong_secret", message: expect.stringContaining("missing") });
    expect(existsSync(path())).toBe(false);
    writeFileSync(path(), "another secret of another place");
    expect(await start()).toMatchObject({ code: "wrong_secret", message: expect.stringContaining(secretId(own)) });
    renameSync(`${path()}.kept`, path());
    ctx = await createCtx(lab.ctx.config, { log });
    expect(await sealedValues()).toEqual(before);
  });

  test("a rotation encrypts everything again, twice is as good, and a crash at any point loses nothing", async () => {
    const wasSecret = ctx.secret;
    const refused = rotate();
    expect([refused.code, refused.said]).toEqual([3, expect.stringContaining("in use")]);
    const rows = (await sealedValues()).length;

    await ctx.close();
    expect(rotate({ FTL_FAIL_POINTS: "rotate.prepared" }).signal).toBe("SIGKILL");
    await reopen();
    expect(ctx.secret).toBe(wasSecret);
    await everythingOpens();

    await ctx.close();
    expect(rotate({ FTL_FAIL_POINTS: "rotate.stored" }).signal).toBe("SIGKILL");
    expect(readFileSync(path(), "utf8")).toBe(wasSecret);
    await reopen();
    expect(ctx.secret).not.toBe(wasSecret);
    expect(readFileSync(path(), "utf8")).toBe(ctx.secret);
    await everythingOpens();

    const second = ctx.secret;
    await ctx.close();
    const done = rotate();
    expect([done.code, done.said]).toEqual([0, expect.stringContaining(`${rows} values encrypted again`)]);
    await reopen();
    expect([wasSecret, second]).not.toContain(ctx.secret);
    await everythingOpens();
    for (const { value } of await sealedValues()) expect(value).toStartWith(`s1.${secretId(ctx.secret)}.`);
    expect(await signsIn(totp(seed, 1))).toBe(true);
    expect(await signsIn(recovery[0] ?? "")).toBe(true);
    expect(await signsIn(recovery[0] ?? "")).toBe(false);
  }, 60_000);

  test("values of earlier versions are converted at the start, with a wrong secret they are left alone", async () => {
    const { symmetricEncrypt } = await import("better-auth/crypto");
    const { secret } = ctx;
    const earlier = (purpose: string, text: string) => {
      const key = Buffer.from(hkdfSync("sha256", secret, "", `sealed ${purpose}`, 32));
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64");
    };
    const codes = ["aB3de-Fgh1J", "zzzzz-00000"];
    const inner = await symmetricEncrypt({ key: secret, data: Buffer.from(fromBase32(seed)).toString() });
    const opened = (await sealedValues()).length;
    const [hooks, letters] = [await ctx.db.select().from(webhookEndpoint), await ctx.db.select().from(noticeDelivery)];
    const hook = `webhook endpoint of ${lab.orgs.a}`;
    const whsec = (text: string) => earlier(hook, text);
    await ctx.write(async (tx) => {
      await tx.run(
        sql`update dataset_import set secret = ${earlier(`import credentials of ${lab.orgs.a}`, JSON.stringify({ access_key_id: planted.import?.[0], secret_access_key: planted.import?.[1], session_token: planted.import?.[2] }))}`,
      );
      await tx.run(sql`update wandb_server set key = ${earlier(`wandb key of ${lab.orgs.a}`, wandb.key)}`);
      for (const row of hooks) {
        const url = whsec(unseal(secret, sealedIn("webhook_url", row.id), row.url));
        const open = (text: string) => unseal(secret, sealedIn("webhook_secret", row.id), text);
        const old = row.oldSecret && whsec(open(row.oldSecret));
        await tx.run(
          sql`update webhook_endpoint set url = ${url}, secret = ${whsec(open(row.secret))}, old_secret = ${old} where id = ${row.id}`,
        );
      }
      for (const row of letters)
        await tx.run(
          sql`update notice_delivery set payload = ${earlier(`mail ${row.id}`, JSON.stringify(mailIn(ctx, row)))} where id = ${row.id}`,
        );
      const password = earlier("password of the mail server", planted.mail_server?.[0] ?? "");
      await tx.run(sql`update installation set value = json_set(value, '$.password', ${password}) where key = 'mail'`);
      await tx.run(sql`update two_factor set secret = ${earlier("authenticator secret", inner)},
        backup_codes = ${earlier("recovery codes", JSON.stringify(codes))}`);
      await tx.run(sql`delete from installation where key = 'secret_id'`);
      await tx.run(sql`delete from used_code`);
    });
    await ctx.close();
    const own = readFileSync(path(), "utf8");
    writeFileSync(path(), "another secret of another place");
    expect(await createCtx(lab.ctx.config, { log }).catch((error) => error)).toMatchObject({ code: "wrong_secret" });
    writeFileSync(path(), own);
    ctx = await createCtx(lab.ctx.config, { log });
    await everythingOpens();
    const values = await sealedValues();
    expect(values.length).toBe(opened);
    for (const { value } of values) expect(value).toStartWith(`s1.${secretId(own)}.`);
    expect(await signsIn(totp(seed, 1))).toBe(true);
    expect(await signsIn(codes[0] ?? "")).toBe(true);
    expect(await signsIn(codes[0] ?? "")).toBe(false);
    rmSync(join(lab.dir, "server.log"), { force: true });
    expect(codes.flatMap((text) => tracesIn(lab.dir, text))).toEqual([]);
  }, 60_000);
});
