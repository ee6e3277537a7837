/** Members delete and stop what they created; what others created needs an owner or administrator of the team. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { job } from "../../src/db/schema/jobs.ts";
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
