/** A real server with a real tiny run for the screenshots: upload, training, evaluation, endpoint, chat, export. */
import { openAsBlob, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Live, startLive, until } from "../test/support/live.ts";
import { importTinyModel, trainingLines } from "../test/support/tiny.ts";
import type { Shot, Site } from "./screenshots-shoot.ts";

const ROWS = 60;
/** Long enough for a machine that does other work. */
const RUN_MS = 900_000;
const REAL_PAGES: [name: string, path: string][] = [
  ["home", "/"],
  ["datasets", "/datasets"],
  ["jobs", "/jobs"],
  ["jobs-new", "/jobs/new"],
  ["models", "/models"],
  ["models-base", "/models?tab=base"],
  ["sweeps", "/sweeps"],
  ["evaluations", "/evaluations"],
  ["playground", "/playground"],
  ["deployments", "/deployments"],
  ["queue", "/queue"],
  ["hosts", "/hosts"],
  ["usage", "/usage"],
  ["settings", "/settings"],
  ["docs", "/docs"],
  ["admin-users", "/admin/users"],
  ["admin-teams", "/admin/teams"],
  ["admin-providers", "/admin/providers"],
  ["admin-settings", "/admin/settings"],
  ["admin-backups", "/admin/backups"],
  ["admin-audit", "/admin/audit"],
  ["admin-status", "/admin/status?checks=yes"],
];

interface Job {
  state: string;
  error: { message: string } | null;
  model: string | null;
}

/** Waits for the end of a job. @throws when it did not succeed */
async function finished(live: Live, id: string): Promise<void> {
  await until(
    `the end of ${id}`,
    async () => {
      const job = await live.call<Job>("GET", `/v1/jobs/${id}`);
      if (["failed", "cancelled"].includes(job.state)) throw new Error(`${id} ${job.state}: ${job.error?.message}`);
      return job.state === "succeeded";
    },
    RUN_MS,
  );
}

/** Uploads rows as a file, which becomes a dataset. @returns its id */
async function upload(live: Live): Promise<{ file: string; dataset: string }> {
  const path = join(live.dir, "tickets.jsonl");
  writeFileSync(path, trainingLines(ROWS));
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", await openAsBlob(path), "tickets.jsonl");
  const headers = { authorization: `Bearer ${live.key}` };
  const file = (await (await fetch(`${live.url}/v1/files`, { method: "POST", headers, body: form })).json()) as {
    id: string;
  };
  const dataset = await until("the dataset", async () => {
    const { data } = await live.call<{ data: { id: string; version: { status: string } | null }[] }>(
      "GET",
      "/v1/datasets",
    );
    return data.find((one) => one.version?.status === "ready")?.id;
  });
  return { file: file.id, dataset };
}

/** Starts the server and does all the work. The pages of what it made come after the fixed ones. */
export async function startReal(): Promise<{ site: Site; shots: Shot[]; stop(): Promise<void> }> {
  const live = await startLive();
  const say = (text: string) => console.log(`real: ${text}`);
  try {
    await importTinyModel(live);
    const { file, dataset } = await upload(live);
    say("training");
    const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", {
      model: "tiny",
      training_file: file,
      name: "tickets",
    });
    await finished(live, id);
    const { data: models } = await live.call<{ data: { id: string }[] }>("GET", "/v1/models");
    const model = models.find((one) => one.id.startsWith("ft:") && !one.id.includes(":ckpt-"))?.id ?? "";
    say("evaluation, export and endpoint");
    const evaluation = await until(
      "the evaluation",
      async () => {
        const { data } = await live.call<{ data: { id: string; status: string }[] }>("GET", "/v1/evaluations");
        return data.find((one) => one.status === "succeeded")?.id;
      },
      RUN_MS,
    );
    const made = await live.call<{ id: string }>("POST", `/v1/models/${encodeURIComponent(model)}/exports`, {
      format: "safetensors",
    });
    await finished(live, made.id);
    const deployment = await live.call<{ id: string }>("POST", "/v1/deployments", { model });
    await live.call("POST", "/v1/chat/completions", {
      model,
      messages: [{ role: "user", content: "My card was stolen" }],
      max_tokens: 8,
    });
    const pages: typeof REAL_PAGES = [
      ...REAL_PAGES,
      ["dataset", `/datasets/${dataset}`],
      ["job", `/jobs/${id}`],
      ["job-export", `/jobs/${made.id}`],
      ["model", `/models/${encodeURIComponent(model)}`],
      ["evaluation", `/evaluations/${evaluation}`],
      ["deployment", `/deployments/${deployment.id}`],
      ["playground-model", `/playground?models=${encodeURIComponent(model)}`],
      ["host", "/hosts/process.local"],
    ];
    return {
      site: { base: live.url, email: live.email, password: live.password },
      shots: pages.map(([name, path]) => ({ name, path })),
      stop: () => live.close(),
    };
  } catch (error) {
    console.error(live.log().split("\n").slice(-20).join("\n"));
    await live.close();
    throw error;
  }
}
