/** Monthly usage over HTTP and as CSV: administrators see everybody's, members see their own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { UsageSummary } from "../../src/billing/ledger/model.ts";
import { recordUse } from "../../src/billing/ledger/record.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { trainSpec } from "../support/attempt.ts";

let t: TestApp;

beforeAll(async () => {
  t = await createTestApp();
  const at = t.ctx.clock.now();
  await t.ctx.write(async (tx) => {
    for (const [n, as] of (["admin", "member", "other"] as const).entries()) {
      const { org, userId, keyId } = t.actor(as);
      const id = `ftjob-${as}`;
      await tx.insert(job).values({
        id,
        org,
        kind: "train",
        name: as,
        state: "succeeded",
        request: {},
        metadata: {},
        progress: {},
        keyId,
        spec: trainSpec(),
        createdBy: userId,
        createdAt: at,
      });
      const from = Math.floor(at / 3_600_000) * 3_600_000;
      await recordUse(tx, at, {
        source: `att_${as} gpu_seconds 0`,
        org,
        userId,
        keyId,
        kind: "train",
        meter: "gpu_seconds",
        jobId: id,
        attemptId: `att_${as}`,
        deploymentId: null,
        sweepId: null,
        model: "tiny",
        provider: "process",
        gpuModel: null,
        from,
        to: from + 3_600_000,
        quantity: 3600,
        free: null,
        costMicros: (n + 1) * 1_000_000,
      });
      await tx.insert(inference).values({
        id: `req_${as}`,
        org,
        userId,
        keyId,
        model: "tiny",
        at,
        status: 200,
        streamed: false,
        promptTokens: 10 + n,
        completionTokens: 1,
        totalMs: 1,
      });
    }
  });
});
afterAll(() => t.close());

const GROUPS = ["user", "model", "key", "kind", "provider"];
const usage = (group: string, as: As) =>
  t.json<UsageSummary & Record<string, unknown>>("GET", `/v1/usage?group_by=${group}`, { as });

test("a member sees their own work, requests and cost in every grouping, and no id of a colleague", async () => {
  for (const group of GROUPS) {
    const mine = await usage(group, "member");
    expect(mine.total_cost_usd).toBe(2);
    expect(mine.work.map((row) => row.attempts)).toEqual([1]);
    expect(mine.requests.map((row) => row.prompt_tokens)).toEqual([11]);
    const text =
      JSON.stringify(mine) + (await (await t.request("GET", `/usage.csv?group_by=${group}`, { as: "member" })).text());
    const page = await (await t.request("GET", `/usage?group_by=${group}`, { as: "member" })).text();
    for (const foreign of [t.users.admin, t.keyIds.admin]) expect(text + page).not.toContain(foreign);
  }
  expect((await usage("user", "member")).work).toMatchObject([{ group: t.users.member, cost_usd: 2 }]);
  expect((await usage("key", "member")).requests).toMatchObject([{ group: t.keyIds.member }]);
});

test("an administrator sees the usage of the whole organization, and nothing of another one", async () => {
  for (const group of GROUPS) {
    const all = await usage(group, "admin");
    expect(all.total_cost_usd).toBe(3);
    expect(all.requests.reduce((sum, row) => sum + row.prompt_tokens, 0)).toBe(21);
    expect(JSON.stringify(all)).not.toContain(t.users.other);
  }
  const csv = await (await t.request("GET", "/usage.csv?group_by=user")).text();
  expect(csv).toContain(t.users.member);
  expect(csv).toContain(t.users.admin);
});
