/**
 * A proxy for the test suite of OpenAI's Python client: it replaces the suite's example ids by those of real objects,
 * makes a new object where the request uses one up, and replaces example values that no server takes, such as a page of
 * 0 items. Fields that are refused here by name are taken out, once the server has refused each of them.
 */

import { createHash } from "node:crypto";
import type { Live } from "../support/live.ts";
import { until } from "../support/live.ts";
import { trainingLines } from "../support/tiny.ts";
import unsupported from "./openai-suite-unsupported.json";

/** What the suite's example ids stand for. */
interface Tuned {
  status: string;
  fine_tuned_model: string | null;
}

interface Objects {
  /** A deployed model. */
  model: string;
  /** A finished job with checkpoints, and its files. */
  job: string;
  checkpoint: string;
  trainingFile: string;
  validationFile: string;
  /** Another organization. */
  project: string;
  /** Fine-tuned models to delete. */
  spare: string[];
}

type Json = Record<string, unknown>;
interface Made {
  id: string;
}

const PART = '{"text":"a"}';

/** Creates everything that the suite reads. */
export async function createObjects(live: Live, model: string): Promise<Objects> {
  const trainingFile = await createFile(live, trainingLines(12));
  const validationFile = await createFile(live, trainingLines(20).split("\n").slice(12).join("\n"));
  const tune = async (ftl: Json) =>
    (
      await live.call<Made>("POST", "/v1/fine_tuning/jobs", {
        model,
        training_file: trainingFile,
        ftl: { ...ftl, evaluate_after: false },
      })
    ).id;
  const tuned = (job: string) =>
    until(
      "the job to end",
      async () => {
        const { status, fine_tuned_model: made } = await live.call<Tuned>("GET", `/v1/fine_tuning/jobs/${job}`);
        return status === "succeeded" && made;
      },
      180_000,
    );
  const job = await tune({ max_steps: 2, save_every: 1 });
  const more = [await tune({ max_steps: 1 }), await tune({ max_steps: 1 }), await tune({ max_steps: 1 })];
  await tuned(job);
  const spare = await Promise.all(more.map(tuned));
  const { data } = await live.call<{ data: { fine_tuned_model_checkpoint: string }[] }>(
    "GET",
    `/v1/fine_tuning/jobs/${job}/checkpoints`,
  );
  const { id: project } = await live.call<Made>("POST", "/v1/admin/orgs", { name: "Project" });
  return {
    model,
    job,
    checkpoint: data[0]?.fine_tuned_model_checkpoint ?? "",
    trainingFile,
    validationFile,
    project,
    spare,
  };
}

async function createFile(live: Live, text: string): Promise<string> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([text], "rows.jsonl"));
  const answer = await fetch(`${live.url}/v1/files`, {
    method: "POST",
    headers: { authorization: `Bearer ${live.key}` },
    body: form,
  });
  if (!answer.ok) throw new Error(await answer.text());
  return ((await answer.json()) as Made).id;
}

/** Values that no server takes, and real ones in their place. */
const EXAMPLES: Json = {
  max_tokens: 16,
  max_completion_tokens: 16,
  best_of: 1,
  logit_bias: { "1": 0 },
  bytes: PART.length,
  md5: createHash("md5").update(PART).digest("hex"),
  // The client's strict mode checks the numbers before it decodes them.
  encoding_format: "float",
};

/** The query with a page of one item in place of none, and without the ids of items that do not exist. */
function realQuery(url: URL): string {
  const query = new URLSearchParams(url.search);
  if (query.get("limit") === "0") query.set("limit", "1");
  for (const cursor of ["after", "before"]) query.delete(cursor);
  return query.size > 0 ? `?${query}` : "";
}

const inside = (value: unknown, key: string): unknown => (value as Json | undefined)?.[key];

/** A copy without the values at these paths. */
function without(body: Json, paths: readonly string[]): Json {
  const copy = structuredClone(body);
  for (const path of paths) {
    const keys = path.split(".");
    const last = keys.pop() ?? "";
    const holder = keys.reduce(inside, copy as unknown) as Json | undefined;
    if (holder) delete holder[last];
  }
  return copy;
}

/**
 * The proxy. @returns its address, for `TEST_API_BASE_URL`, and the fields on the list that are not refused by name
 */
export function startProxy(live: Live, objects: Objects): { url: string; accepted: string[]; stop(): Promise<void> } {
  const accepted: string[] = [];
  const make = (path: string, body: Json) => live.call<Made>("POST", path, body).then(({ id }) => id);
  // Its window is hours away: it stays queued, whatever the suite does with it and however long that takes.
  const hour = (ahead: number) => `${String((new Date().getUTCHours() + ahead) % 24).padStart(2, "0")}:00`;
  const newJob = () =>
    make("/v1/fine_tuning/jobs", {
      model: objects.model,
      training_file: objects.trainingFile,
      ftl: { window: { from: hour(6), until: hour(7), tz: "UTC" } },
    });
  const newUpload = () =>
    make("/v1/uploads", { bytes: 12, filename: "a.jsonl", mime_type: "application/jsonl", purpose: "fine-tune" });
  // The client's type of stored messages only allows the assistant's.
  const messages = [{ role: "assistant", content: "Hello" }];
  const newCompletion = () =>
    make("/v1/chat/completions", { model: objects.model, messages, store: true, max_tokens: 4 });
  const newResponse = (background: boolean) =>
    make("/v1/responses", { model: objects.model, input: messages, max_output_tokens: 16, store: true, background });

  /** The id of a real object for an example id in a path. */
  async function idFor(kind: string, method: string, verb: string): Promise<string | null> {
    switch (kind) {
      case "files":
        return method === "DELETE" ? createFile(live, trainingLines(3)) : objects.trainingFile;
      case "uploads":
        return newUpload();
      case "models":
        return method === "DELETE" ? (objects.spare.pop() ?? null) : objects.model;
      case "fine_tuning/jobs": {
        if (method === "GET") return objects.job;
        const job = await newJob();
        if (verb === "resume") await live.call("POST", `/v1/fine_tuning/jobs/${job}/pause`);
        return job;
      }
      case "fine_tuning/checkpoints":
        return objects.checkpoint;
      case "chat/completions":
        return newCompletion();
      case "responses":
        return newResponse(verb === "cancel");
      default:
        return null;
    }
  }

  async function newPermission(): Promise<string> {
    const path = `/v1/fine_tuning/checkpoints/${encodeURIComponent(objects.checkpoint)}/permissions`;
    const made = await live.call<{ data: Made[] }>("POST", path, { project_ids: [objects.project] });
    return made.data[0]?.id ?? "";
  }

  /** The path with a real id in it. An empty id stays: the client itself refuses it. */
  async function realPath(method: string, path: string): Promise<string> {
    const found =
      /^\/(files|uploads|models|fine_tuning\/jobs|fine_tuning\/checkpoints|chat\/completions|responses)\/([^/]+)(?:\/(.*))?$/.exec(
        path,
      );
    if (!found || found[2] === "input_tokens" || found[2] === "compact") return path;
    const [, kind = "", , tail] = found;
    const rest = tail?.startsWith("permissions/") ? `permissions/${await newPermission()}` : tail;
    const id = await idFor(kind, method, rest ?? "");
    return id === null ? path : `/${kind}/${encodeURIComponent(id)}${rest === undefined ? "" : `/${rest}`}`;
  }

  /** The body with real ids, as far as it is JSON. */
  async function realBody(path: string, body: Json): Promise<Json> {
    const next = { ...body };
    // The suite leaves out what a stored prompt could give.
    if ((typeof next.model === "string" && path !== "/moderations") || path.startsWith("/responses"))
      next.model = objects.model;
    // The tiny model never ends an answer, and the suite sets no limit.
    const limit = {
      "/chat/completions": "max_tokens",
      "/completions": "max_tokens",
      "/responses": "max_output_tokens",
    }[path];
    if (limit) next[limit] ||= 16;
    for (const [field, value] of Object.entries(EXAMPLES)) if (field in next) next[field] = value;
    if (path === "/responses" || path === "/responses/input_tokens") next.input ??= "Hello";
    // The client's type of what is output only allows the assistant's messages.
    if (path === "/responses/compact") next.input = messages;
    if ("previous_response_id" in next) next.previous_response_id = await newResponse(false);
    // Without a stream no server takes its options.
    if (next.stream === false && !path.startsWith("/responses")) delete next.stream_options;
    if ("project_ids" in next) next.project_ids = [objects.project];
    if ("training_file" in next) next.training_file = objects.trainingFile;
    if ("validation_file" in next) next.validation_file = objects.validationFile;
    const upload = /^\/uploads\/([^/]+)\/complete$/.exec(path)?.[1];
    if (upload) next.part_ids = [await newPart(upload)];
    return next;
  }

  async function newPart(upload: string): Promise<string> {
    const form = new FormData();
    form.set("data", new File([PART], "part"));
    const answer = await fetch(`${live.url}/v1/uploads/${upload}/parts`, {
      method: "POST",
      headers: { authorization: `Bearer ${live.key}` },
      body: form,
    });
    if (!answer.ok) throw new Error(await answer.text());
    return ((await answer.json()) as Made).id;
  }

  const send = (method: string, path: string, headers: Headers, body: BodyInit | null) =>
    fetch(`${live.url}/v1${path}`, { method, headers, body });

  /** The body without the fields that are not supported. */
  async function supported(path: string, body: Json, headers: Headers): Promise<Json> {
    const listed = Object.keys((unsupported as Record<string, Record<string, string>>)[path] ?? {});
    const given = listed.filter((field) => field.split(".").reduce(inside, body) !== undefined);
    for (const field of given) {
      const alone = without(
        body,
        given.filter((other) => other !== field),
      );
      const answer = await send("POST", path, headers, JSON.stringify(alone));
      const { error } = (await answer.json()) as { error?: { param: string | null } };
      const named = error?.param === field || error?.param?.startsWith(`${field}.`);
      if (answer.status !== 400 || !named) accepted.push(`${path} ${field}: ${answer.status} ${JSON.stringify(error)}`);
    }
    return without(body, given);
  }

  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 120,
    async fetch(request) {
      const url = new URL(request.url);
      const path = await realPath(request.method, url.pathname);
      const headers = new Headers(request.headers);
      headers.set("authorization", `Bearer ${live.key}`);
      headers.delete("host");
      headers.delete("content-length");
      headers.delete("accept-encoding");
      let body: BodyInit | null = request.body === null ? null : await request.arrayBuffer();
      if (body && headers.get("content-type")?.startsWith("application/json")) {
        const real = await realBody(path, JSON.parse(new TextDecoder().decode(body as ArrayBuffer)));
        body = JSON.stringify(await supported(path, real, headers));
      }
      const answer = await send(request.method, `${path}${realQuery(url)}`, headers, body);
      if (request.method === "POST" && path === "/fine_tuning/jobs" && answer.ok) {
        const { id } = (await answer.clone().json()) as Made;
        await live.call("POST", `/v1/fine_tuning/jobs/${id}/cancel`);
      }
      return new Response(answer.body, { status: answer.status, headers: answer.headers });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, accepted, stop: () => server.stop(true) };
}
