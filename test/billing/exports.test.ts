/** Exports of metered use over HTTP: every format has the same figures, members get their own, and cells are safe. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { addJob, addUse, NOW, on, recordHour } from "../support/metered.ts";

let t: TestApp;

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock: fakeClock(NOW) } });
  await addUse(t);
  await addJob(t, "ftjob-tagged", "admin", { metadata: { team: 'a "quoted", one' } });
  await recordHour(t, on(12), { jobId: "ftjob-tagged", model: "=HYPERLINK(1)" });
});
afterAll(() => t.close());

type Row = Record<string, string | number | null>;

async function exported(
  format: string,
  { as = "admin", query = "" }: { as?: As; query?: string } = {},
): Promise<Response> {
  const answer = await t.request("GET", `/v1/usage/export?format=${format}${query}`, { as });
  expect(answer.status).toBe(200);
  return answer;
}

/** Cells of a line of CSV. */
const cells = (line: string) =>
  [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? "",
  );

function csvRows(text: string): Record<string, string>[] {
  const [head = "", ...lines] = text.trimEnd().split("\r\n");
  const names = cells(head);
  return lines.map((line) => Object.fromEntries(cells(line).map((value, n) => [names[n], value])));
}

const jsonRows = async (as?: As): Promise<Row[]> =>
  (await (await exported("jsonl", { as })).text())
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

async function parquetRows(format: string): Promise<{ rows: Record<string, unknown>[]; groups: number }> {
  const file = await (await exported(format)).arrayBuffer();
  return { rows: await parquetReadObjects({ file }), groups: parquetMetadata(file).row_groups.length };
}

test("JSON Lines: one line for each interval of the month, with price, unit and cost", async () => {
  const rows = await jsonRows();
  expect(rows.map(({ id }) => String(id).split(" ").slice(0, 2).join(" "))).toEqual([
    "ftjob-own gpu_seconds",
    "ftjob-own gpu_seconds",
    "ftjob-own gpu_seconds",
    "ftjob-rented gpu_seconds",
    "ftjob-rented gpu_seconds",
    "ftjob-tagged gpu_seconds",
    "use input_tokens",
    "use output_tokens",
  ]);
  expect(rows[0]).toEqual({
    id: `ftjob-own gpu_seconds ${on(10)}`,
    from: "2026-11-10T00:00:00Z",
    to: "2026-11-10T01:00:00Z",
    kind: "train",
    meter: "gpu_seconds",
    quantity: 3600,
    unit: "GPU-second",
    free_quantity: 0,
    free_reason: null,
    unit_price_usd: 3.6,
    price_unit: "GPU-hour",
    cost_usd: 3.6,
    user_id: t.users.admin,
    key_id: null,
    job_id: "ftjob-own",
    attempt_id: null,
    deployment_id: null,
    model: "tiny",
    provider: "process",
    gpu_model: "H100",
    price_list_id: "prices_1",
    reverses: null,
    reversed_for: null,
    statement: null,
  });
  expect(rows.filter(({ reversed_for }) => reversed_for === "lost")).toMatchObject([
    { quantity: -1800, cost_usd: -1.8 },
  ]);
  expect(rows.reduce((sum, row) => sum + Number(row.cost_usd), 0)).toBeCloseTo(11.2 + 3.6, 9);
});

test("CSV and Parquet have the same rows; a cell that looks like a formula is text", async () => {
  const lines = await jsonRows();
  const answer = await exported("csv");
  expect(answer.headers.get("content-disposition")).toBe('attachment; filename="usage-2026-11-01-2026-11-30.csv"');
  const text = await answer.text();
  expect(text).toContain(",'=HYPERLINK(1),");
  const safe = (value: unknown) => (String(value ?? "").startsWith("=") ? `'${value}` : String(value ?? ""));
  expect(csvRows(text)).toEqual(
    lines.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, safe(value)]))),
  );
  const { rows } = await parquetRows("parquet");
  expect(rows).toEqual(
    lines.map((row) => ({ ...row, from: new Date(String(row.from)), to: new Date(String(row.to)) })),
  );
});

test("FOCUS: charges with exact products of price and quantity, metadata of jobs as tags, nothing that has no price", async () => {
  await recordHour(t, on(12), { jobId: "ftjob-tagged", meter: "joules", quantity: 500 });
  const rows = csvRows(await (await exported("focus_csv")).text());
  expect(rows).toHaveLength(8);
  expect(rows.reduce((sum, row) => sum + Number(row.BilledCost), 0)).toBeCloseTo(14.8, 9);
  for (const row of rows) {
    expect(Number(row.ListCost)).toBe(Number(row.ListUnitPrice) * Number(row.PricingQuantity));
    expect(row).toMatchObject({ BillingAccountId: t.orgs.a, BillingAccountName: "Alpha", BillingCurrency: "USD" });
  }
  expect(rows.find(({ ResourceId }) => ResourceId === "ftjob-tagged")).toMatchObject({
    BilledCost: "3.6",
    BillingPeriodStart: "2026-11-01T00:00:00Z",
    BillingPeriodEnd: "2026-12-01T00:00:00Z",
    ChargePeriodStart: "2026-11-12T00:00:00Z",
    ConsumedQuantity: "3600.0",
    ConsumedUnit: "GPU-Seconds",
    PricingQuantity: "1.0",
    PricingUnit: "GPU-Hours",
    ServiceCategory: "AI and Machine Learning",
    Tags: '{"team":"a \\"quoted\\", one"}',
    x_UserId: t.users.admin,
  });
  expect(rows.find(({ x_FreeReason }) => x_FreeReason === "loading")).toMatchObject({
    BilledCost: "0.0",
    ConsumedQuantity: "600.0",
    PricingQuantity: "0.0",
    x_FreeQuantity: "600.0",
  });
  const { rows: same } = await parquetRows("focus_parquet");
  expect(same.map(({ BilledCost }) => BilledCost)).toEqual(rows.map(({ BilledCost }) => Number(BilledCost)));
});

test("what an earlier statement contains is corrected, and names its invoice", async () => {
  await t.ctx.write(async (tx) => {
    await tx.run(
      `insert into statement (id, number, org, month, mode, state, subtotal_cents, total_cents, closed_at)
        values ('stm_1', '2026-000001', '${t.orgs.a}', '2026-11', 'chargeback', 'final', 0, 0, 0)`,
    );
    await tx.run(`update meter_interval set statement_id = 'stm_1' where source = 'ftjob-own gpu_seconds ${on(11)}'`);
  });
  const rows = csvRows(await (await exported("focus_csv")).text());
  const of = (id: string) => rows.find(({ x_IntervalId }) => x_IntervalId === id);
  expect(of(`ftjob-own gpu_seconds ${on(11)}`)).toMatchObject({ InvoiceId: "2026-000001", ChargeClass: "" });
  expect(of(`ftjob-own gpu_seconds ${on(11)} reversed`)).toMatchObject({ InvoiceId: "", ChargeClass: "Correction" });
});

test("a member gets their own intervals only, and of another team nothing", async () => {
  const mine = await jsonRows("member");
  expect(mine.map(({ user_id }) => user_id)).toEqual(new Array(4).fill(t.users.member));
  expect((await jsonRows("other")).map(({ user_id }) => user_id)).toEqual([t.users.other]);
});

test("a period without use has a header alone, or is a Parquet file without rows", async () => {
  const query = `&from=${on(2) / 1000}&to=${on(3) / 1000}`;
  expect(csvRows(await (await exported("csv", { query })).text())).toEqual([]);
  expect(await (await exported("jsonl", { query })).text()).toBe("");
  const file = await (await exported("focus_parquet", { query })).arrayBuffer();
  expect(parquetMetadata(file)).toMatchObject({ num_rows: 0n });
});

test("more intervals than a page, several in one moment: each is exported once", async () => {
  await t.ctx.write((tx) =>
    tx.run(`insert into meter_interval (source, org, kind, meter, from_ms, to_ms, quantity, at)
      with recursive n(x) as (select 1 union all select x + 1 from n where x < 4100)
      select 'many ' || x, '${t.orgs.b}', 'train', 'cpu_seconds', ${on(15)} + x / 1500 * 1000, ${on(15, 1)}, x, 0 from n`),
  );
  const query = `&from=${on(15) / 1000}&to=${on(16) / 1000}`;
  const answer = await exported("csv", { as: "otherAdmin", query });
  const quantities = csvRows(await answer.text()).map(({ quantity }) => Number(quantity));
  expect(new Set(quantities).size).toBe(4100);
  expect(quantities.reduce((sum, one) => sum + one, 0)).toBe((4100 * 4101) / 2);
  const file = await (await exported("parquet", { as: "otherAdmin", query })).arrayBuffer();
  expect(parquetMetadata(file).row_groups.map(({ num_rows }) => num_rows)).toEqual([2000n, 2000n, 100n]);
});

test("refuses other formats and impossible periods", async () => {
  const code = async (query: string) => {
    const answer = await t.request("GET", `/v1/usage/export?${query}`);
    return [answer.status, (await answer.json()).error.message];
  };
  expect(await code("format=xml")).toEqual([400, expect.stringContaining("format")]);
  expect(await code("from=20&to=10")).toEqual([400, "'to' must be later than 'from'."]);
  expect(await code("from=0&to=90000000")).toEqual([400, expect.stringContaining("at most 400 days")]);
});
