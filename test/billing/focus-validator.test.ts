/** FOCUS exports of this product, checked by the validator of the specification. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { focusMissing, validateFocus } from "../support/focus-validator.ts";
import { addJob, addUse, NOW, on, recordHour } from "../support/metered.ts";

let t: TestApp;
let dir: string;

beforeAll(async () => {
  if (focusMissing) return;
  dir = mkdtempSync(join(tmpdir(), "ftl-focus-"));
  t = await createTestApp({ ctx: { clock: fakeClock(NOW) } });
  await addUse(t);
  await addJob(t, "ftjob-tagged", "admin", { metadata: { team: 'a "quoted", one' } });
  const tagged = { jobId: "ftjob-tagged", model: "=HYPERLINK(1)" };
  await recordHour(t, on(12), tagged);
  await recordHour(t, on(12), { ...tagged, meter: "joules", quantity: 500 });
  const more = { meter: "byte_hours", kind: "storage", model: "datasets", provider: null, gpuModel: null } as const;
  await recordHour(t, on(13), { ...more, quantity: 1024 ** 4 });
  await recordHour(t, on(14), { kind: "serve", meter: "endpoint_seconds", deploymentId: "dep_1" });
});
afterAll(async () => {
  await t?.close();
  if (dir) rmSync(dir, { recursive: true });
});

async function exported(format: "focus_csv" | "focus_parquet"): Promise<Uint8Array> {
  const answer = await t.request("GET", `/v1/usage/export?format=${format}`);
  expect(answer.status).toBe(200);
  return new Uint8Array(await answer.arrayBuffer());
}

function stored(name: string, content: string | Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

// The validator has no condition for these three rules of the specification: "null when there is no invoice" and "not
// null when there is one" cannot both hold for one file. docs/billing-exports.md says so.
const NOT_INVOICED = "InvoiceId-C-005-C";
const INVOICED = "InvoiceId-C-004-C";

describe.skipIf(focusMissing !== null)("focus-validator", () => {
  test("every rule that applies passes, but the one for charges with an invoice: there is none yet", async () => {
    const { passed, failed } = await validateFocus(stored("unbilled.parquet", await exported("focus_parquet")));
    expect(failed).toEqual([NOT_INVOICED]);
    expect(passed).toBeGreaterThan(200);
  });

  test("it fails for a wrong file, and only the rule for charges without an invoice fails for those with one", async () => {
    await t.ctx.write((tx) =>
      tx.run(sql`insert into statement (id, number, org, month, mode, state, subtotal_cents, total_cents, closed_at)
        values ('stm_1', '2026-000001', ${t.orgs.a}, '2026-11', 'chargeback', 'final', 0, 0, 0)`),
    );
    await t.ctx.write((tx) => tx.run(sql`update meter_interval set statement_id = 'stm_1' where org = ${t.orgs.a}`));
    const text = new TextDecoder().decode(await exported("focus_csv"));
    const broken = text.replaceAll(`,${t.orgs.a},`, ",,");
    expect(broken).not.toBe(text);
    const { failed } = await validateFocus(stored("broken.csv", broken), "InvoiceId");
    // An empty column is no text.
    expect(failed).toEqual(["BillingAccountId-C-000-M", "BillingAccountId-C-001-M", INVOICED]);
  });
});
