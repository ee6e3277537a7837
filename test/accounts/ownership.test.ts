/** Members delete and stop what they created; what others created needs an owner or administrator of the team. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { withCreators } from "../../src/accounts/organizations/creators.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { model } from "../../src/db/schema/models.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { settled } from "../support/datasets.ts";
import { type Everything, makeEverything } from "../support/everything.ts";
import { idOf, insertAll, jobRow } from "../support/seed-rows.ts";

let t: TestApp;
let made: Everything;

beforeAll(async () => {
  t = await createTestApp();
  made = await makeEverything(t);
  await insertAll(t.ctx, job, [jobRow(t.actor("admin"), t.ctx.clock.now(), 1, "queued")]);
});
afterAll(() => t.close());

const waiting = idOf("ftjob-", 1);
/** What ends or removes an object, in an order in which each can succeed. */
const endings = (): [method: string, path: string][] => [
  ["POST", `/v1/jobs/${waiting}/pause`],
  ["POST", `/v1/jobs/${waiting}/cancel`],
  ["POST", `/v1/fine_tuning/jobs/${waiting}/cancel`],
  ["DELETE", `/v1/jobs/${waiting}`],
  ["POST", `/v1/deployments/${made.deployment}/stop`],
  ["DELETE", `/v1/deployments/${made.deployment}`],
  ["DELETE", `/v1/exports/${made.export}`],
  ["DELETE", `/v1/evaluations/${made.evaluation}`],
  ["POST", `/v1/sweeps/${made.sweep}/cancel`],
  ["DELETE", `/v1/sweeps/${made.sweep}`],
  ["POST", `/v1/pushes/${made.push}/cancel`],
  ["POST", `/v1/datasets/imports/${made.import}/cancel`],
  ["DELETE", `/v1/models/${encodeURIComponent(made.model)}`],
  ["DELETE", `/v1/datasets/${made.dataset}`],
  ["DELETE", `/v1/files/${made.file}`],
];

test("a member is refused for each object of somebody else, with the permission and who has it", async () => {
  for (const [method, path] of endings()) {
    const answer = await t.request(method, path, { as: "member" });
    const { error } = (await answer.json()) as { error: { code: string; message: string } };
    expect([path, answer.status, error.code]).toEqual([path, 403, "permission_denied"]);
    expect(error.message).toContain("delete or stop what somebody else created (permission objects.manage)");
    expect(error.message).toContain("owner or administrator");
  }
});

test("the page of each object says who created it: a person, a service account, or the server", async () => {
  const model = `/models/${encodeURIComponent(made.model)}`;
  const creatorOf = async (path: string) => {
    const page = await (await t.request("GET", path, { as: "member", headers: { accept: "text/html" } })).text();
    return /Created by <span dir="auto">([^<]*)</.exec(page)?.[1];
  };
  for (const path of [
    `/jobs/${waiting}`,
    `/deployments/${made.deployment}`,
    `/datasets/${made.dataset}`,
    `/sweeps/${made.sweep}`,
    `/evaluations/${made.evaluation}`,
  ])
    expect([path, await creatorOf(path)]).toEqual([path, "admin"]);
  const set = (createdBy: string) => t.ctx.write((tx) => tx.update(job).set({ createdBy }));
  await set(made.service);
  expect([await creatorOf(`/jobs/${waiting}`), await creatorOf(model)]).toEqual(["Nightly", "Nightly"]);
  await set("system");
  expect(await creatorOf(model)).toBe("the server");
  await set(t.users.admin);
});

test("each list says who created its objects, and filters by the creator", async () => {
  await t.ctx.write((tx) => tx.update(model).set({ createdBy: t.users.admin }));
  for (const [page, api, id] of [
    ["/datasets", "/v1/datasets", made.dataset],
    ["/jobs", "/v1/jobs", waiting],
    ["/evaluations", "/v1/evaluations", made.evaluation],
    ["/deployments", "/v1/deployments", made.deployment],
    ["/models", null, made.model],
  ] as const) {
    const shown = async (as: "admin" | "member", createdBy: string) => {
      // In the list of jobs the column is one of those to choose.
      const filter = page === "/jobs" ? "columns=user&user" : "created_by";
      const path = `${page}?${filter}=${createdBy}`;
      const text = await (await t.request("GET", path, { as, headers: { accept: "text/html" } })).text();
      const creators = [...text.matchAll(/<span class="muted clip words" title="([^"]*)" dir="auto">\1<\/span>/g)];
      return [text.includes(encodeURIComponent(id)), creators.map(([, name]) => name).includes("admin")];
    };
    expect([page, await shown("admin", "me")]).toEqual([page, [true, true]]);
    expect([page, await shown("member", t.users.admin)]).toEqual([page, [true, true]]);
    expect([page, await shown("member", "me")]).toEqual([page, [false, false]]);
    if (!api) continue;
    const ids = async (as: "admin" | "member", createdBy: string) => {
      const { data } = await t.json<{ data: { id: string }[] }>("GET", `${api}?created_by=${createdBy}&limit=100`, {
        as,
      });
      return data.map((one) => one.id);
    };
    expect([api, (await ids("admin", "me")).includes(id)]).toEqual([api, true]);
    expect([api, (await ids("member", t.users.admin)).includes(id)]).toEqual([api, true]);
    expect([api, await ids("member", "me")]).toEqual([api, []]);
  }
});

test("the names of a page's creators take one query; an erased account has none", async () => {
  let queries = 0;
  const counting = (...given: Parameters<typeof t.ctx.db.select>) => {
    queries += 1;
    return t.ctx.db.select(...given);
  };
  const db = new Proxy(t.ctx.db, { get: (of, name) => (name === "select" ? counting : Reflect.get(of, name)) });
  const by = [t.users.admin, "system", made.service, "user-erased", t.users.admin].map((createdBy) => ({ createdBy }));
  const rows = await withCreators({ ...t.ctx, db }, by, ({ createdBy }) => createdBy);
  expect(rows.map(({ creator }) => creator)).toEqual(["admin", "the server", "Nightly", null, "admin"]);
  expect(queries).toBe(1);
});

test("pages show a member no button that ends what somebody else created", async () => {
  const shown = async (as: "admin" | "member", path: string) => {
    const page = await (await t.request("GET", path, { as, headers: { accept: "text/html" } })).text();
    return [...page.matchAll(/action="([^"]*\/(?:cancel|pause|stop|delete|clear))"/g)].map(([, action]) => action);
  };
  const paths = [
    `/jobs/${waiting}`,
    `/deployments/${made.deployment}`,
    `/datasets/${made.dataset}`,
    `/sweeps/${made.sweep}`,
    `/models/${encodeURIComponent(made.model)}`,
  ];
  for (const path of paths) {
    expect([path, await shown("member", path)]).toEqual([path, []]);
    expect((await shown("admin", path)).length).toBeGreaterThan(0);
  }
});

test("a member deletes their own; so does an administrator of the team, who administers nothing else", async () => {
  const row = '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n';
  const sent = await t.request("POST", "/v1/datasets?filename=own.jsonl", {
    as: "member",
    raw: row.repeat(10),
    headers: { "content-type": "application/octet-stream" },
  });
  const { id } = (await sent.json()) as { id: string };
  await settled(t, id);
  expect((await t.request("DELETE", `/v1/datasets/${id}`, { as: "member" })).status).toBe(200);
  const body = { organization_role: "admin" };
  expect((await t.request("POST", `/v1/admin/users/${t.users.member}`, { body })).status).toBe(200);
  for (const [method, path] of endings().slice(0, 2))
    expect([path, (await t.request(method, path, { as: "member" })).status]).toEqual([path, 200]);
});
