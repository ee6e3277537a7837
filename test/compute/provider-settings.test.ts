/** Settings of bundled providers in the page and the API: checked, stored, sealed, and used at once. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { checkAccounts } from "../../src/compute/limits/accounts.ts";
import { openCompute } from "../../src/compute/providers/registry.ts";
import { loadStoredProviders } from "../../src/compute/providers/stored.ts";
import type { Handle, Offer } from "../../src/contract/provider.ts";
import { providerPause } from "../../src/db/schema/hosts.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { storedSecrets } from "../../src/db/secret-settings.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { FakeCloud } from "../support/fake-cloud/core.ts";
import { launchContext, NEED } from "../support/fake-cloud/lab.ts";
import { RUNPOD } from "../support/fake-cloud/runpod.ts";
import { serveCloud } from "../support/fake-cloud/server.ts";
import { insertTuned } from "../support/models.ts";

const IMAGE = `registry.example.com/finetune-lab/trainer@sha256:${"ab".repeat(32)}`;
const KEY = "rpa_never-shown-again";
const PATH = "/v1/admin/providers/runpod/settings";

let t: TestApp;
let cloud: FakeCloud;
let served: Awaited<ReturnType<typeof serveCloud>>;
beforeAll(async () => {
  t = await createTestApp();
  cloud = new FakeCloud(RUNPOD, { clock: systemClock, apiKey: KEY });
  served = await serveCloud(cloud);
});
afterAll(async () => {
  await served?.stop();
  await t?.close();
});

interface Form {
  enabled: boolean;
  enabled_source: string;
  loaded: boolean;
  fields: { name: string; value: unknown; is_set: boolean; source: string | null }[];
}
interface Refusal {
  error: { code: string; param: string | null; message: string };
}
const read = (app = t) => app.json<Form>("GET", PATH);
const save = (body: unknown) => t.json<Form>("PUT", PATH, { body });
async function refused(body: unknown, app = t) {
  const answer = await app.request("PUT", PATH, { body });
  const { error } = (await answer.json()) as Refusal;
  return { status: answer.status, code: error.code, param: error.param, message: error.message };
}
const field = (form: Form, name: string) => form.fields.find((one) => one.name === name);
const providerNow = () => t.ctx.compute.get("runpod")?.provider;

test("a provider that is not in use shows its fields with their defaults", async () => {
  const form = await read();
  expect(form).toMatchObject({ enabled: false, enabled_source: "default", loaded: false });
  expect(field(form, "disk_gb")).toMatchObject({ value: 60, source: "default" });
  expect(field(form, "api_key")).toMatchObject({ value: null, is_set: false, source: null });
  for (const id of ["process", "none"])
    expect((await t.request("GET", `/v1/admin/providers/${id}/settings`)).status).toBe(404);
});

test("what a provider or its fields refuse is named, and changes nothing", async () => {
  const wrong: [unknown, string, string][] = [
    [{ settings: { api_kee: "x" } }, "unknown_parameter", "settings.api_kee"],
    [{ enable: true }, "unknown_parameter", "enable"],
    [{ settings: { disk_gb: 1.5 } }, "invalid_value", "settings.disk_gb"],
    [{ settings: { spot: "yes" } }, "invalid_value", "settings.spot"],
    [{ settings: { cloud: "MOON" } }, "invalid_value", "settings.cloud"],
    [{ enabled: true, settings: { image: IMAGE } }, "invalid_value", "settings.api_key"],
    [{ enabled: true, settings: { image: "latest", api_key: KEY } }, "invalid_value", "settings.image"],
  ];
  for (const [body, code, param] of wrong) expect(await refused(body)).toMatchObject({ status: 400, code, param });
  expect(await loadStoredProviders(t.ctx.db)).toEqual(new Map());
  expect(storedSecrets(t.ctx).size).toBe(0);
  expect(t.ctx.compute.get("runpod")).toBeNull();
});

test("saved settings are used at once and after a restart, and secrets are sealed and never shown", async () => {
  const settings = { api_key: KEY, image: IMAGE, api_url: served.url };
  const form = await save({ enabled: true, settings });
  expect(form).toMatchObject({ enabled: true, enabled_source: "page", loaded: true });
  expect(field(form, "api_key")).toMatchObject({ value: null, is_set: true, source: "page" });
  expect((await providerNow()?.offers(NEED))?.length).toBeGreaterThan(0);

  const again = await openCompute(t.ctx, storedSecrets(t.ctx), await loadStoredProviders(t.ctx.db));
  expect(again.list().map(({ plugin }) => plugin.id)).toEqual(["process", "runpod"]);
  expect(again.settings("runpod")?.config).toMatchObject({ api_key: KEY, image: IMAGE });

  const page = await (await t.request("GET", "/admin/providers/runpod", { headers: { accept: "text/html" } })).text();
  const audits = await t.json<{ data: { action: string }[] }>("GET", "/v1/admin/audit?limit=20");
  expect(JSON.stringify(audits)).toContain("provider.settings");
  for (const text of [page, JSON.stringify(audits), JSON.stringify(await read())]) expect(text).not.toContain(KEY);
  const db = new Database(join(t.dir, "lab.db"), { readonly: true });
  expect(db.query("select name from secret_setting").all()).toEqual([{ name: "provider.runpod.api_key" }]);
  db.close();
  for (const file of ["lab.db", "lab.db-wal"]) expect(readFileSync(join(t.dir, file)).includes(KEY)).toBe(false);
});

test("a key saved on the page of secrets is used at once, and one that is needed is not removed", async () => {
  const before = providerNow();
  const path = "/v1/admin/settings/secrets";
  const name = "provider.runpod.api_key";
  const { data } = await t.json<{ data: { name: string; needs_restart: boolean }[] }>("GET", path);
  expect(data.find((one) => one.name === name)?.needs_restart).toBe(false);
  expect((await t.request("POST", path, { body: { name, value: KEY } })).status).toBe(200);
  expect(providerNow()).not.toBe(before);
  expect((await t.request("DELETE", `${path}/${name}`)).status).toBe(400);
  expect(storedSecrets(t.ctx).get(name)).toBe(KEY);
});

test("the account is asked in the background: balance with its age, one notice when it is low, and errors", async () => {
  type State = { account: { balance_usd: number; low: boolean; error: string | null; checked_at: number } | null };
  const state = () => t.json<State>("GET", "/v1/admin/providers/runpod");
  const notices = () => t.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.type, "provider.balance_low"));
  await checkAccounts(t.ctx);
  expect((await state()).account).toMatchObject({ balance_usd: 100, low: false, error: null });
  expect(await notices()).toEqual([]);
  cloud.account.balance = 4.5;
  await checkAccounts(t.ctx);
  await checkAccounts(t.ctx);
  expect((await state()).account).toMatchObject({ balance_usd: 4.5, low: true });
  const sent = await notices();
  expect(new Set(sent.map(({ title }) => title))).toEqual(new Set(["RunPod has $4.50 left"]));
  const page = await (await t.request("GET", "/providers", { headers: { accept: "text/html" } })).text();
  for (const text of ["$4.50", "Account checked", "The balance is low"]) expect(page).toContain(text);
  const form = await (await t.request("GET", "/admin/providers/runpod", { headers: { accept: "text/html" } })).text();
  for (const text of ["Balance $4.50", "Account checked"]) expect(form).toContain(text);
  cloud.account.revoked = true;
  await checkAccounts(t.ctx);
  const { account } = await state();
  expect(account).toMatchObject({ balance_usd: 4.5, error: expect.stringContaining("key") });
  cloud.account.revoked = false;
  cloud.account.balance = 100;
  // The same day there is no second notice.
  expect((await notices()).length).toBe(sent.length);
});

test("a saved change ends the pause of a provider that refused its key", async () => {
  const at = t.ctx.clock.now();
  await t.ctx.write((tx) =>
    tx.insert(providerPause).values({ provider: "runpod", kind: "auth", message: "no", since: at, until: at + 60_000 }),
  );
  await save({ settings: { disk_gb: 80 } });
  expect(await t.ctx.db.select().from(providerPause)).toEqual([]);
});

test("a stored secret is not sent to another address", async () => {
  const other = { settings: { api_url: "https://elsewhere.example.com" } };
  expect(await refused(other)).toMatchObject({ code: "invalid_value", param: "settings.api_key" });
  expect(field(await read(), "api_url")).toMatchObject({ value: served.url });
});

test("what runs is supervised by the new provider, and settings that would lose it are refused", async () => {
  const old = providerNow();
  const offer = (await old?.offers(NEED))?.find((one) => one.available) as Offer;
  const spec = { kind: "train" as const, need: NEED, image: null, argv: null, env: {} };
  const context = { ...launchContext(cloud, "running"), deadline: Date.now() + 3_600_000 };
  const handle = (await old?.launch(spec, offer, context)) as Handle;
  const { jobId } = await insertTuned(t.ctx, t.orgs.a);
  const row = { id: "att_form", org: t.orgs.a, jobId, number: 9, state: "running" as const, provider: "runpod" };
  await t.ctx.write((tx) => tx.insert(attempt).values({ ...row, tokenHash: "x", offer, handle, createdAt: 1 }));

  await save({ settings: { disk_gb: 100 } });
  expect(providerNow()).not.toBe(old);
  expect((await providerNow()?.describe(handle))?.state).not.toBe("absent");

  const kept = providerNow();
  expect(await refused({ settings: { api_key: "rpa_another-account" } })).toMatchObject({
    code: "invalid_value",
    param: "settings.connection",
  });
  expect(await refused({ enabled: false })).toMatchObject({ status: 409, code: "provider_in_use" });
  expect(providerNow()).toBe(kept);
  expect(storedSecrets(t.ctx).get("provider.runpod.api_key")).toBe(KEY);

  await kept?.terminate(handle);
  // A handle that the vendor does not list is a machine that these settings do not show.
  const lost = { ...handle, key: "elsewhere" };
  await t.ctx.write((tx) => tx.update(attempt).set({ handle: lost }).where(eq(attempt.id, row.id)));
  expect((await refused({ settings: { disk_gb: 90 } })).message).toContain("1 machine in use");
  await t.ctx.write((tx) => tx.update(attempt).set({ goneAt: 2 }).where(eq(attempt.id, row.id)));
});

test("the page marks the refused field, keeps what was typed except secrets, and saves", async () => {
  const typed = { enabled: "yes", set_image: IMAGE, set_cloud: "SECURE", set_api_url: served.url, set_regions: "" };
  const post = (form: Record<string, string>) =>
    t.request("POST", "/admin/providers/runpod/settings", { raw: new URLSearchParams(form) });
  const bad = await post({ ...typed, set_disk_gb: "5", set_api_key: "rpa_typed-now" });
  expect(bad.status).toBe(422);
  const text = await bad.text();
  expect(text).toMatch(/id="field-set_disk_gb-error"[\s\S]*20 to 2000/);
  expect(text).toContain('value="5"');
  expect(text).not.toContain("rpa_typed-now");
  expect((await post({ ...typed, set_disk_gb: "120", set_spot: "yes" })).status).toBe(303);
  const form = await read();
  expect(field(form, "disk_gb")).toMatchObject({ value: 120, source: "page" });
  expect(field(form, "spot")).toMatchObject({ value: true, source: "page" });
  expect(storedSecrets(t.ctx).get("provider.runpod.api_key")).toBe(KEY);
});

test("a provider that is switched off is out of use at once", async () => {
  expect(await save({ enabled: false })).toMatchObject({ enabled: false, loaded: false });
  expect(t.ctx.compute.get("runpod")).toBeNull();
  const again = await openCompute(t.ctx, storedSecrets(t.ctx), await loadStoredProviders(t.ctx.db));
  expect(again.list().map(({ plugin }) => plugin.id)).toEqual(["process"]);
  const page = await (await t.request("GET", "/admin/providers", { headers: { accept: "text/html" } })).text();
  expect(page).toContain("Set up RunPod");
});

test("the configuration wins, and says so", async () => {
  const provider_settings = { runpod: { disk_gb: 77, api_key: "rpa_in-the-file" } };
  const own = await createTestApp({ config: { providers: ["process"], provider_settings } });
  try {
    const form = await read(own);
    expect(form).toMatchObject({ enabled: false, enabled_source: "flag" });
    expect(field(form, "disk_gb")).toMatchObject({ value: 77, source: "flag" });
    expect(field(form, "api_key")).toMatchObject({ value: null, is_set: true, source: "flag" });
    for (const body of [{ enabled: true }, { settings: { disk_gb: 90 } }])
      expect(await refused(body, own)).toMatchObject({ status: 409, code: "setting_fixed" });
    const page = await own.request("GET", "/admin/providers/runpod", { headers: { accept: "text/html" } });
    expect(await page.text()).toContain("set on the command line");
  } finally {
    await own.close();
  }
});
