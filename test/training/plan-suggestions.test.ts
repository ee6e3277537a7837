/** The smallest change that makes a run fit: in plans, after running out of memory, and on the page. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { gpu, host } from "../../src/db/schema/hosts.ts";
import { baseModel } from "../../src/db/schema/models.ts";
import { adviseOutOfMemory } from "../../src/training/plan/oom-advice.ts";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { MACHINE, type PlanLab, SHAPE, startPlanLab } from "../support/plan-lab.ts";

let p: PlanLab;
beforeAll(async () => {
  p = await startPlanLab();
}, 60_000);
afterAll(() => p.lab.close());

describe("the smallest change that makes a run fit", () => {
  const room = async (memoryMb: number) => {
    p.offer([{ ...MACHINE, memoryMb }]);
    return p.plan(SHAPE);
  };
  /** A model with large activations. */
  beforeAll(async () => {
    await p.lab.ctx.write((tx) =>
      tx
        .update(baseModel)
        .set({
          architecture: {
            parameters: 1.2e9,
            layers: 16,
            hidden_size: 2048,
            intermediate_size: 8192,
            attention_heads: 32,
            key_value_heads: 8,
            head_dim: 64,
            vocab_size: 49_152,
            tied_embeddings: true,
            context_length: 2048,
          },
        })
        .where(eq(baseModel.id, "tiny")),
    );
  });

  test("first keeps the result, then costs quality, and is missing when nothing helps", async () => {
    const all = await room(200_000);
    expect(all.suggestion).toBeNull();
    const some = await room(all.memory_mb - 100);
    expect(some.offers[0]).toMatchObject({ fits: false, memory_mb: all.memory_mb - 100 });
    expect(some.suggestion).toMatchObject({ effect: "same" });
    expect(Object.keys(some.suggestion?.change ?? {})).toEqual(["per_device_batch_size"]);
    const less = await room(5000);
    expect(less.suggestion?.effect).toBe("quality");
    expect(less.suggestion?.change).toHaveProperty("quantization");
    expect((await room(1000)).suggestion).toBeNull();
  });

  test("gives a plan with the memory it promises", async () => {
    const { suggestion } = await room(7000);
    const made = await p.plan({ ...SHAPE, ...suggestion?.change });
    expect(made.memory_mb).toBe(suggestion?.memory_mb ?? 0);
    expect(made.offers[0]?.fits).toBe(true);
    expect(made.spec.hyperparameters.batch_size).toBe(8);
  });

  test("is advised to a run that ran out of memory, based on what it used", async () => {
    const wide = await room(200_000);
    const id = await p.ended(wide, { outOfMemory: (wide.spec.need.formula_mb ?? 0) * 1.2 });
    await room(wide.memory_mb);
    await adviseOutOfMemory(p.lab.ctx, id);
    const { error } = await p.lab.json<{ error: { advice: string; suggestion: object } }>("GET", `/v1/jobs/${id}`);
    expect(error.advice).toStartWith("Smallest change that makes it fit: set the per-device batch size");
    expect(Object.keys(error.suggestion)).toEqual(["per_device_batch_size"]);
    const page = await (await p.lab.request("GET", `/jobs/${id}`)).text();
    const href = /href="(\/jobs\/new\?[^"]+)"[^>]*><[^>]*>[\s\S]{0,200}Apply change and run/.exec(page)?.[1] ?? "";
    const form = await (await p.lab.request("GET", href.replaceAll("&amp;", "&"))).text();
    expect(form).toMatch(/name="per_device_batch_size"[^>]*value="[1-4]"/);
    await room(200_000);
    const again = await p.ended(wide, { outOfMemory: (wide.spec.need.formula_mb ?? 0) * 1.5 });
    await adviseOutOfMemory(p.lab.ctx, again);
    const second = await p.lab.json<{ error: { advice: string; suggestion?: object } }>("GET", `/v1/jobs/${again}`);
    expect(second.error.advice).toStartWith("The memory it needs is now known. Run the job again");
    expect(second.error.suggestion).toBeUndefined();
    await p.forget();
  });

  test("is part of the plan for a run that fits no GPU, while a job of it is refused", async () => {
    const card = { gpus: 1, gpuName: "NVIDIA L4", gpuMemoryMb: 4000 };
    p.offer([{ ...MACHINE, ...card }]);
    await p.addGpu(4000);
    const request = { batch_size: 8, max_length: 512, loss_on: "all", gpus: 1 };
    const made = await p.plan(request);
    expect(made.memory.device).toBe("gpu");
    expect(made.offers[0]).toMatchObject({ fits: false, memory_mb: 4000 });
    expect(made.suggestion?.memory_mb).toBeLessThanOrEqual(4000);
    const refused = await p.lab.request("POST", "/v1/jobs", {
      body: { model: "tiny", training_file: p.fileId, ...request },
    });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { code: "does_not_fit", param: "gpus" } });
    expect((await p.plan({ ...request, ...made.suggestion?.change })).offers[0]?.fits).toBe(true);
    await p.lab.ctx.write(async (tx) => {
      await tx.delete(gpu);
      await tx.delete(host);
    });
  });

  test("is a button on the page that fills the form", async () => {
    await room(7000);
    const form = { data: p.fileId, model: "tiny", method: "auto", ...SHAPE, batch_size: "8", max_length: "512" };
    const page = await (await p.lab.request("POST", "/jobs/plan", { form })).text();
    const value = /name="change" value="([^"]+)"/.exec(page)?.[1]?.replaceAll("&amp;", "&") ?? "";
    expect(page).toContain("Smallest change that makes it fit");
    const [name, first] = [...new URLSearchParams(value)][0] ?? [];
    const after = await (await p.lab.request("POST", "/jobs/plan", { form: { ...form, change: value } })).text();
    expect(after).not.toContain("Smallest change that makes it fit");
    expect(after).toMatch(
      new RegExp(`name="${name}"[^>]*value="${first}"|name="${name}"[\\s\\S]{0,600}value="${first}" selected`),
    );
  });

  test.skipIf(!hasBrowser)(
    "fills the form with one click in a browser, and the plan fits",
    async () => {
      await room(7000);
      const lasting = await openBrowser(p.lab);
      const { page } = lasting;
      await page.goto(`${lasting.base}/jobs/new?model=tiny&data=${p.fileId}`);
      await page.getByText("Hyperparameters").click();
      for (const [name, value] of [
        ["batch_size", "8"],
        ["max_length", "512"],
      ] as const)
        await page.fill(`[name=${name}]`, value);
      await page.selectOption("[name=loss_on]", "all");
      await page.selectOption("[name=precision]", "float32");
      const button = page.getByRole("button", { name: "Apply change" });
      await button.waitFor();
      expect(await page.locator(".memory-bar").getAttribute("aria-label")).toContain("Activations");
      await button.click();
      await page.getByText("fits", { exact: true }).waitFor();
      expect(await page.inputValue("[name=per_device_batch_size]")).not.toBe("");
      expect(await page.inputValue("[name=max_length]")).toBe("512");
      expect(await button.count()).toBe(0);
      expect(lasting.troubles).toEqual([]);
      await lasting.close();
    },
    60_000,
  );
});
