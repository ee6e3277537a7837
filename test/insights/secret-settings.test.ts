/** Secret settings: written by hand in plain text, entered in the page, encrypted, and taken out of their files. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createApp, createCtx, type OpenCtx } from "../../src/app.ts";
import { startBackground } from "../../src/background.ts";
import { plainText } from "../../src/cli/doctor/site.ts";
import { type ConfigInput, loadConfig } from "../../src/config.ts";
import { secretSetting } from "../../src/db/schema/audit.ts";
import { plainSecrets } from "../../src/insights/installation/plain-secrets.ts";
import { mailServer } from "../../src/notices/mail/settings.ts";
import { createTestApp, type TestApp } from "../support/app.ts";

const TOKEN = "hf_written-by-hand-4711";
const KEY = "provider-key-0815-in-the-clear";
/** A plugin that needs a key, and says in its title which one it got. */
const PLUGIN = `export default {
  id: "rented", title: "Rented", contract: 1, kind: "machine",
  capabilities: { logs: false, gpus: false, survivesServer: true, local: false },
  config: [{ name: "api_key", label: "API key", help: "From the console.", type: "secret", required: true }],
  create: (_host, config) => ({
    validate: async () => { globalThis.rentedKey = config.api_key; return { ok: true }; },
    offers: async () => [], launch: async () => { throw new Error("no"); }, describe: async () => ({ state: "absent" }),
    terminate: async () => ({ state: "gone" }), listOwned: async () => [],
  }),
};`;
interface View {
  name: string;
  source: string | null;
  path: string | null;
  needs_restart: boolean;
}
let lab: TestApp;
let ctx: OpenCtx;
const logged: string[] = [];
const keyInUse = () => (globalThis as { rentedKey?: string }).rentedKey;
const file = (name: string) => join(lab.dir, name);
const write = (name: string, value: unknown) => writeFileSync(file(name), JSON.stringify(value), { mode: 0o600 });

/** Starts the server on the data directory, with these environment variables. */
async function start(env: Record<string, string> = {}): Promise<void> {
  await ctx.close();
  const config = loadConfig({ data_dir: lab.dir, listen: "127.0.0.1:0" }, env);
  ctx = await createCtx(config, { log: (...given) => void logged.push(Bun.inspect(given, { depth: 9 })) });
}

async function send(method: string, path: string, given: { json?: object; form?: Record<string, string> } = {}) {
  const headers = new Headers({ authorization: `Bearer ${lab.keys.admin}` });
  if (given.json) headers.set("content-type", "application/json");
  const body = given.json ? JSON.stringify(given.json) : given.form && new URLSearchParams(given.form);
  return createApp(ctx).handle(new Request(`http://localhost${path}`, { method, headers, body }));
}
const list = async () => ((await (await send("GET", "/v1/admin/settings/secrets")).json()) as { data: View[] }).data;
const one = async (name: string) => (await list()).find((each) => each.name === name);
const save = async (name: string, value?: string) => {
  const answer = await send("POST", "/v1/admin/settings/secrets", { json: { name, ...(value ? { value } : {}) } });
  return { status: answer.status, body: (await answer.json()) as View & { error?: { code: string } } };
};
/** Everything in the database, its log included. */
const stored = () => ["lab.db", "lab.db-wal"].map((name) => readFileSync(file(name)).toString("latin1")).join("");

beforeAll(async () => {
  lab = await createTestApp();
  ctx = lab.ctx;
  write("config.json", { hub_token: TOKEN, train_slots: 3, mail_url: "smtp://lab:mail-pass@mail.example" });
  mkdirSync(file("plugins/rented-folder"), { recursive: true });
  writeFileSync(file("plugins/rented-folder/index.ts"), PLUGIN);
  await start();
});
afterAll(async () => {
  await ctx?.close();
  if (lab) rmSync(lab.dir, { recursive: true, force: true });
});

test("a token written by hand is used, and reported; encrypting it takes it out of the file", async () => {
  expect(ctx.config.hub_token).toBe(TOKEN);
  expect(plainSecrets(lab.dir).map(({ name }) => name)).toEqual(["hub_token", "mail_url"]);
  const config = loadConfig({ data_dir: lab.dir }, { FTL_METRICS_TOKEN: "m".repeat(20) });
  expect(plainText(config)[0]?.found).toBe(
    `in plain text: hub_token in ${file("config.json")}, mail_url in ${file("config.json")}, FTL_METRICS_TOKEN`,
  );
  expect(await one("hub_token")).toMatchObject({ source: "file", path: file("config.json"), needs_restart: false });
  logged.length = 0;
  await startBackground(ctx)();
  expect(logged.filter((line) => line.includes("a secret in plain text"))).toHaveLength(2);
  expect(logged.join()).not.toContain(TOKEN);

  expect(await save("hub_token")).toMatchObject({ status: 200, body: { source: "page", path: null } });
  expect(JSON.parse(readFileSync(file("config.json"), "utf8"))).toEqual({
    train_slots: 3,
    mail_url: "smtp://lab:mail-pass@mail.example",
  });
  expect(statSync(file("config.json")).mode & 0o777).toBe(0o600);
  expect(stored()).not.toContain(TOKEN);
  await start();
  expect([ctx.config.hub_token, ctx.config.sources.hub_token, ctx.config.train_slots]).toEqual([TOKEN, "page", 3]);
  const settings = await (await send("GET", "/v1/admin/settings")).text();
  expect([settings.includes(TOKEN), settings.includes('"source":"page"')]).toEqual([false, true]);
  // Who writes it into the file by hand again has precedence, until it is saved.
  write("config.json", { hub_token: "hf_by-hand-again" });
  await start();
  expect(ctx.config.hub_token).toBe("hf_by-hand-again");
  expect((await save("hub_token", "hf_of-the-page")).status).toBe(200);
  expect(readFileSync(file("config.json"), "utf8").trim()).toBe("{}");
  await start();
  expect(ctx.config.hub_token).toBe("hf_of-the-page");
  const entries = await (await send("GET", "/v1/admin/audit?action=setting.change")).text();
  expect([entries.includes("hub_token"), entries.includes("hf_")]).toEqual([true, false]);
});

test("a value of the environment cannot be changed in the page; a value that is not valid is refused", async () => {
  await start({ FTL_HUB_TOKEN: "hf_of-the-environment" });
  expect(ctx.config.hub_token).toBe("hf_of-the-environment");
  expect(await one("hub_token")).toMatchObject({ source: "environment" });
  expect(await save("hub_token", "hf_other")).toMatchObject({
    status: 409,
    body: { error: { code: "setting_fixed" } },
  });
  await start();
  expect(await save("metrics_token", "short")).toMatchObject({
    status: 400,
    body: { error: { code: "invalid_value" } },
  });
  expect((await save("database_url", "x")).status).toBe(404);
  expect(await save("metrics_token")).toMatchObject({ status: 400, body: { error: { code: "missing_value" } } });
});

test("a provider that lacks its key is listed, gets it at the next start, and its file loses a plain one", async () => {
  expect(ctx.compute.get("rented")).toBeNull();
  const name = "provider.rented.api_key";
  expect(await one(name)).toMatchObject({ source: null, needs_restart: true });
  expect((await save(name, KEY)).body).toMatchObject({ source: "page" });
  await start();
  expect([ctx.compute.get("rented")?.plugin.id, keyInUse()]).toEqual(["rented", KEY]);
  expect(stored()).not.toContain(KEY);
  expect(logged.join()).not.toContain(KEY);

  write("plugins/rented-folder/config.json", { api_key: "another-key-in-plain-text" });
  await start();
  expect(keyInUse()).toBe("another-key-in-plain-text");
  expect(await one(name)).toMatchObject({ source: "file", path: file("plugins/rented-folder/config.json") });
  expect((await save(name)).body).toMatchObject({ source: "page" });
  expect(readFileSync(file("plugins/rented-folder/config.json"), "utf8").trim()).toBe("{}");
  await start();
  expect(keyInUse()).toBe("another-key-in-plain-text");
});

test("the page sets, shows and removes a value, and never has it", async () => {
  const page = async () => (await send("GET", "/admin/settings")).text();
  const post = (path: string, form: Record<string, string>) => send("POST", `/admin/settings/secrets${path}`, { form });
  const set = await post("", { name: "hub_token", value: "hf_entered-in-the-page" });
  expect([set.status, set.headers.get("location")]).toEqual([303, "/admin/settings"]);
  expect(ctx.config.hub_token).toBe("hf_entered-in-the-page");
  const shown = await page();
  expect([shown.includes("Set, encrypted"), shown.includes("hf_entered")]).toEqual([true, false]);
  expect((await post("/encrypt", { name: "metrics_token" })).status).toBe(400);
  expect((await post("/remove", { name: "hub_token" })).status).toBe(303);
  expect([ctx.config.hub_token, ctx.config.sources.hub_token]).toEqual([null, undefined]);
  expect(await ctx.db.select({ name: secretSetting.name }).from(secretSetting)).toEqual([
    { name: "provider.rented.api_key" },
  ]);
});

test("the password in mail_url is encrypted too, and the address stays in the file", async () => {
  const address = "smtp://lab:mail%2Dpass%2D0815@mail.example:2525";
  write("config.json", { mail_url: address, train_slots: 3 });
  await start();
  expect(await mailServer(ctx)).toMatchObject({ host: "mail.example", user: "lab", password: "mail-pass-0815" });
  expect(await one("mail_password")).toMatchObject({ source: "file", path: file("config.json") });
  expect(await save("mail_password")).toMatchObject({ status: 200, body: { source: "page", path: null } });
  expect(JSON.parse(readFileSync(file("config.json"), "utf8"))).toEqual({
    mail_url: "smtp://lab@mail.example:2525",
    train_slots: 3,
  });
  await start();
  expect(await mailServer(ctx)).toMatchObject({
    host: "mail.example",
    port: 2525,
    user: "lab",
    password: "mail-pass-0815",
    source: "configuration",
  });
  expect(plainSecrets(lab.dir)).toEqual([]);
  expect(stored()).not.toContain("mail-pass");
  // An address of the environment with a password has precedence, and is not changed here.
  await start({ FTL_MAIL_URL: "smtp://other:of-the-environment@mail.example" });
  expect((await mailServer(ctx))?.password).toBe("of-the-environment");
  expect(await save("mail_password", "x")).toMatchObject({ status: 409, body: { error: { code: "setting_fixed" } } });
});

test("a secret may be in a file of its own, which is named and never shown", async () => {
  const secrets = { hub_token: "hf_of-a-credential", metrics_token: "m".repeat(20), mail_password: "p of a file" };
  const env: Record<string, string> = { FTL_MAIL_URL: "smtp://lab@mail.example" };
  for (const [name, value] of Object.entries(secrets)) {
    writeFileSync(file(name), `${value}\n`, { mode: 0o600 });
    env[`FTL_${name.toUpperCase()}_FILE`] = file(name);
  }
  await start(env);
  const { hub_token, metrics_token, mail_password, sources } = ctx.config;
  expect({ hub_token, metrics_token, mail_password }).toEqual(secrets);
  expect([sources.hub_token, sources.hub_token_file]).toEqual(["secret_file", "environment"]);
  expect((await mailServer(ctx))?.password).toBe("p of a file");
  expect(plainText(ctx.config)[0]?.found).toBe("no setting has a secret in plain text");
  expect(await one("hub_token")).toMatchObject({ source: "secret_file", path: null });
  expect(await save("hub_token", "hf_x")).toMatchObject({ status: 409, body: { error: { code: "setting_fixed" } } });
  const settings = await (await send("GET", "/v1/admin/settings")).text();
  const page = await (await send("GET", "/admin/settings")).text();
  for (const value of Object.values(secrets)) expect([settings, page].join().includes(value)).toBe(false);
  expect(settings).toContain(file("hub_token"));
  // The token of a database is needed before the database is open.
  writeFileSync(file("database_token"), "eyJ-of-a-file\r\n");
  const config = loadConfig({ data_dir: lab.dir, database_token_file: file("database_token") }, {});
  expect(config.database_token).toBe("eyJ-of-a-file");
});

const REFUSED: [what: string, given: ConfigInput, setting: string, words: string][] = [
  ["both at once", { hub_token: "hf_1", hub_token_file: "/x" }, "hub_token_file", "Set one of them"],
  ["a file that is not there", { hub_token_file: "/nowhere/token" }, "hub_token_file", "ENOENT"],
  ["a directory", { hub_token_file: "/tmp" }, "hub_token_file", "EISDIR"],
  ["a relative path", { hub_token_file: "token" }, "hub_token_file", "absolute path"],
  ["an empty file", { metrics_token_file: "/dev/null" }, "metrics_token_file", "is empty"],
  ["the password twice", { mail_url: "smtp://a:b@c", mail_password: "d" }, "mail_password", "Take it out"],
  ["a password without a user", { mail_url: "smtp://c", mail_password: "d" }, "mail_password", "with a user"],
];
test.each(REFUSED)("%s is refused by name", (_, given, setting, words) => {
  const load = () => loadConfig({ data_dir: join(lab.dir, "nothing"), ...given }, {});
  expect(load).toThrow(expect.objectContaining({ code: "config_invalid", param: setting }));
  expect(load).toThrow(words);
});
