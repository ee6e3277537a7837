/** Beta features over HTTP: the switch of the installation and of an organization, refusals, labels, and removal. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { BETA_FEATURES, BETA_NAMES } from "../../src/accounts/beta/features.ts";
import type { AdminBetaView, BetaView } from "../../src/accounts/beta/model.ts";
import { auditLog, betaSwitch } from "../../src/db/schema/audit.ts";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { browserOf } from "../support/cookies.ts";
import { insertTuned, readyBase } from "../support/models.ts";

let app: TestApp;
let model: string;
beforeAll(async () => {
  app = await createTestApp();
  await readyBase(app.ctx, "tiny");
  model = (await insertTuned(app.ctx, app.orgs.a)).id;
});
afterEach(async () => {
  for (const { id, switches } of (await app.json<{ data: AdminBetaView[] }>("GET", "/v1/admin/beta")).data)
    for (const { organization } of switches) await set(id, null, organization);
});
afterAll(() => app.close());

const set = (id: string, enabled: boolean | null, organization: string | null = null) =>
  app.json<AdminBetaView>("POST", `/v1/admin/beta/${id}`, { body: { enabled, organization } });
const isOn = async (id: string, as: As) =>
  (await app.json<{ data: BetaView[] }>("GET", "/v1/beta", { as })).data.find((one) => one.id === id)?.enabled;
/** Status and code of a request to each feature; a wrong body shows that it was let through. */
const use: Record<string, (as: As) => Promise<[number, string, string | null]>> = {
  model_pushes: (as) => ask(`/v1/models/${model}/pushes`, as),
  responses: (as) => ask("/v1/responses", as),
};
async function ask(path: string, as: As): Promise<[number, string, string | null]> {
  const answer = await app.request("POST", path, { as, body: { nonsense: 1 } });
  const { error } = (await answer.json()) as { error: { code: string } };
  return [answer.status, error.code, answer.headers.get("x-beta-feature")];
}

describe("a beta feature", () => {
  test("has a request here, and names routes that exist", () => {
    expect(Object.keys(use).sort()).toEqual([...BETA_NAMES].sort());
    const known = new Set(app.app.routes.map(({ method, path }) => `${method} ${path.replace(/(?<=.)\/$/, "")}`));
    for (const name of BETA_NAMES) expect(BETA_FEATURES[name].routes.filter((route) => !known.has(route))).toEqual([]);
  });

  test.each([...BETA_NAMES])("%s is on after an upgrade, and its answers say so", async (name) => {
    expect(await isOn(name, "member")).toBe(true);
    expect((await use[name]?.("member"))?.slice(1)).toEqual(["missing_required_parameter", name]);
  });

  test.each([...BETA_NAMES])("%s is refused where it is off, with the place to switch it on", async (name) => {
    await set(name, false);
    expect(await use[name]?.("member")).toEqual([403, "beta_feature_off", null]);
    expect(await isOn(name, "member")).toBe(false);
    const path = name === "responses" ? "/v1/responses" : `/v1/models/${model}/pushes`;
    const { error } = await (await app.request("POST", path, { body: {} })).json();
    expect(error.message).toContain("Administration, Beta features (/admin/beta)");
  });

  test("the switch of an organization counts before that of the installation", async () => {
    await set("responses", false);
    await set("responses", true, app.orgs.b);
    expect([await isOn("responses", "member"), await isOn("responses", "other")]).toEqual([false, true]);
    await set("responses", null);
    await set("responses", false, app.orgs.b);
    expect([await isOn("responses", "member"), await isOn("responses", "other")]).toEqual([true, false]);
    const removed = await set("responses", null, app.orgs.b);
    expect(removed).toMatchObject({ enabled: true, switches: [] });
    expect(await isOn("responses", "other")).toBe(true);
  });

  test("shows who switched it and when, and the audit log has it", async () => {
    const now = Math.floor(Date.now() / 1000);
    const { switches } = await set("responses", false, app.orgs.b);
    expect(switches).toMatchObject([
      { organization: app.orgs.b, organization_name: "Beta", enabled: false, changed_by_email: app.emails.admin },
    ]);
    expect(switches[0]?.changed_at).toBeGreaterThanOrEqual(now);
    const [entry] = (await app.ctx.db.select().from(auditLog))
      .filter(({ action }) => action === "beta.switch")
      .slice(-1);
    expect(entry).toMatchObject({ target: "responses", detail: { enabled: false, organization: app.orgs.b } });
  });

  test("that no longer exists leaves switches that count for nothing", async () => {
    const row = { feature: "old", org: "", enabled: false, changedBy: app.users.admin, changedAt: 0 };
    await app.ctx.write((tx) => tx.insert(betaSwitch).values(row));
    await set("responses", true);
    const { data } = await app.json<{ data: BetaView[] }>("GET", "/v1/beta");
    expect(data.map(({ id }) => id)).toEqual(BETA_NAMES);
    expect((await app.request("POST", "/v1/admin/beta/old", { body: { enabled: true } })).status).toBe(404);
  });

  test("has a label on its page, which says when it is off; administrators switch it on their page", async () => {
    const admin = browserOf(app);
    await admin.signIn("admin");
    const text = async (path: string) => (await admin.send("GET", path, { headers: { accept: "text/html" } })).text();
    const page = `/models/${encodeURIComponent(model)}`;
    expect(await text(page)).toMatch(/Push to a hub <span class="tag"[^>]*>Beta<\/span>/);
    await admin.send("POST", "/admin/beta/model_pushes", { form: { organization: "", enabled: "off" } });
    expect(await text(page)).toContain("is a beta feature that is off for your organization");
    const shown = await text("/admin/beta");
    expect(shown).toContain("The installation");
    expect(shown).toContain(app.emails.admin);
    const refused = await admin.send("POST", `${page}/pushes`, { form: {}, headers: { accept: "text/html" } });
    expect([refused.status, (await refused.text()).includes("Beta features")]).toEqual([403, true]);
    await admin.send("POST", "/admin/beta/model_pushes", { form: { organization: "", enabled: "" } });
    expect(await isOn("model_pushes", "admin")).toBe(true);
  });
});
