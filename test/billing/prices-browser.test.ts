/** In a browser: an administrator compares and saves prices; a member sees the plan of a job in money. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { inArray } from "drizzle-orm";
import { user } from "../../src/db/schema/auth.ts";
import { GPU_NAMES } from "../../src/training/plan/throughput.ts";
import { PASSWORD } from "../support/app.ts";
import { hasBrowser, openBrowser, signIn, type TestBrowser } from "../support/browser.ts";
import { MACHINE, type PlanLab, startPlanLab } from "../support/plan-lab.ts";

let p: PlanLab;
let b: TestBrowser;
beforeAll(async () => {
  p = await startPlanLab();
  if (hasBrowser) b = await openBrowser(p.lab);
}, 60_000);
afterAll(async () => {
  await b?.close();
  await p.lab.close();
});

const roleOf = (role: "admin" | "member") =>
  p.lab.ctx.write((tx) =>
    tx
      .update(user)
      .set({ role })
      .where(inArray(user.id, [p.lab.users.member, p.lab.users.other])),
  );

test("GPU models that only a cloud has are suggested, and a name that nobody suggests is taken", async () => {
  p.offer([{ ...MACHINE, id: "cloud", gpus: 1, gpuName: "H100 of a cloud", gpuMemoryMb: 81_920, local: false }]);
  const page = await (await p.lab.request("GET", "/admin/prices/new")).text();
  const suggested = /<datalist id="price-gpus">(.*?)<\/datalist>/s.exec(page)?.[1] ?? "";
  for (const name of ["H100 of a cloud", ...GPU_NAMES]) expect(suggested).toContain(`<option value="${name}">`);
  expect(page).toContain('name="gpu_model_0" list="price-gpus"');
  const form = {
    meter_0: "gpu_seconds",
    gpu_model_0: "Z900",
    provider_0: "",
    model_0: "",
    price_0: "9",
    percent_0: "",
  };
  const compared = await p.lab.request("POST", "/admin/prices/new/compare", { form });
  expect(compared.status).toBe(200);
  expect(await compared.text()).toContain("Z900");
});

test.skipIf(!hasBrowser)(
  "prices are compared, saved, and shown in the plan of a member",
  async () => {
    const { page, base } = b;
    // The first prices need no 30 days as long as only administrators have an account.
    await roleOf("admin");
    await page.goto(`${base}/admin/prices/new`);
    await page.selectOption("[name=meter_0]", "cpu_seconds");
    await page.fill("[name=price_0]", "-1");
    await page.getByRole("button", { name: "Compare" }).click();
    expect(await page.locator("[role=alert]").textContent()).toContain("Price 1: the value must not be negative.");
    await page.fill("[name=price_0]", "36");
    await page.getByRole("button", { name: "Compare" }).click();
    const differences = await page.locator("#differences").textContent();
    expect(differences).toContain("$36.00");
    expect(differences).toContain("can take effect today");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.waitForURL(`${base}/admin/prices`);
    expect(await page.locator("#lists").textContent()).toContain("In force");
    await roleOf("member");

    await b.context.clearCookies();
    await signIn(page, base, p.lab.emails.member, PASSWORD);
    p.offer([MACHINE]);
    await page.goto(`${base}/jobs/new?data=${p.fileId}&model=tiny`);
    const plan = await page.locator("#plan").textContent();
    expect(plan).toMatch(/Cost\s*\$\d+\.\d\d( to \$\d+\.\d\d)?/);
    expect(plan).toContain("At the prices since");
    await page.getByRole("link", { name: /^prices since/ }).click();
    await page.waitForURL(`${base}/pricing`);
    expect(await page.locator("main").textContent()).toContain("$36.00");
    // The refused price.
    expect(b.troubles.filter((one) => !one.includes("422"))).toEqual([]);
  },
  60_000,
);
