/** Real trainings on rows that a template spoils: with the template for tools, and without the refused rows. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Progress } from "../../src/contract/job.ts";
import type { TrainSpec } from "../../src/contract/spec.ts";
import { rowsCase, templateCase } from "../support/bases.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importModel, TINY_MODEL } from "../support/tiny.ts";

interface JobView {
  state: string;
  progress: Progress;
  spec: TrainSpec;
  error: { code: string; message: string } | null;
}

describe.skipIf(trainerMissing !== null)("a run", () => {
  let live: Live;
  let strict = "";

  beforeAll(async () => {
    strict = mkdtempSync(join(tmpdir(), "ftl-strict-"));
    cpSync(TINY_MODEL, strict, { recursive: true });
    writeFileSync(join(strict, "chat_template.jinja"), templateCase("strict"));
    live = await startLive();
    await importModel(live, TINY_MODEL, "tiny");
    await importModel(live, strict, "strict");
  }, 90_000);
  afterAll(async () => {
    await live.close();
    rmSync(strict, { recursive: true, force: true });
  });

  /** The job once it has ended, and its log. */
  async function trained(rows: string, model: string, extra: Record<string, unknown>) {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([rowsCase(rows)], `${rows}.jsonl`));
    const headers = { authorization: `Bearer ${live.key}` };
    const sent = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
    const { id: file } = (await sent.json()) as { id: string };
    const body = { model, training_file: file, max_steps: 2, batch_size: 4, evaluate_after: false, ...extra };
    const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", body);
    const job = await until(
      `the run on ${rows}`,
      async () => {
        const now = await live.call<JobView>("GET", `/v1/jobs/${id}`);
        return ["succeeded", "failed", "cancelled"].includes(now.state) ? now : null;
      },
      150_000,
    );
    expect([job.state, job.error]).toEqual(["succeeded", null]);
    const { data } = await live.call<{ data: { message: string }[] }>(
      "GET",
      `/v1/fine_tuning/jobs/${id}/events?limit=100`,
    );
    return { job, events: data.map(({ message }) => message).join("\n") };
  }

  test("with the template for tools trains on the calls, and its model has the template", async () => {
    const { job } = await trained("only-tool-calls", "tiny", { chat_template: "tools" });
    expect(job.spec.data).toEqual({ chat_template: "tools" });
    // The server renders the first batch again, with the same template.
    expect(job.progress.first_batch).toMatchObject({ state: "same" });
    const files = [...new Bun.Glob("artifacts/*/chat_template.jinja").scanSync(live.dir)];
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) expect(readFileSync(join(live.dir, file), "utf8")).toContain("<tool_call>");
  }, 200_000);

  test("leaves out the rows that the template refuses, as many as planned", async () => {
    const { job, events } = await trained("one-row-refused", "strict", { on_template_error: "leave_out" });
    expect(job.progress.first_batch).toMatchObject({ state: "same" });
    expect(events).toContain(`${job.spec.dataset.train_rows} rows`);
  }, 200_000);
});
