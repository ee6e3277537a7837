/**
 * A small Weights & Biases server: what wandb 0.31 was recorded to send and read. It keeps runs and their lines of
 * history, and refuses what the real one would.
 */

interface WandbRun {
  entity: string;
  project: string;
  displayName: string | null;
  tags: string[];
  config: Record<string, { value: unknown }>;
  history: Record<string, unknown>[];
  summary: Record<string, unknown>;
  exitCode: number | null;
}

export interface TestWandb {
  url: string;
  key: string;
  runs: Map<string, WandbRun>;
  /** Requests by kind. */
  requests: string[];
  /** Answers this instead. */
  instead: (() => Response) | null;
  stop(): Promise<void>;
}

type Json = Record<string, unknown>;
interface Stream {
  files?: Record<string, { offset: number; content: string[] }>;
  complete?: boolean;
  exitcode?: number;
}

function graphql(wandb: TestWandb, { query, variables }: { query: string; variables: Json }): unknown {
  if (query.includes("upsertBucket")) {
    const { name, project, entity, displayName, config, tags } = variables as Record<string, string | null>;
    if (!name || !project) return { errors: [{ message: "name and project are required" }] };
    const run = wandb.runs.get(name);
    const made: WandbRun = run ?? {
      entity: entity ?? "owner",
      project,
      displayName: null,
      tags: [],
      config: {},
      history: [],
      summary: {},
      exitCode: null,
    };
    if (displayName) made.displayName = displayName;
    if (tags) made.tags = tags as unknown as string[];
    if (config) made.config = JSON.parse(config);
    wandb.runs.set(name, made);
    const bucket = {
      id: btoa(name),
      name,
      displayName: made.displayName ?? name,
      description: "",
      sweepName: null,
      config: JSON.stringify(made.config),
      historyLineCount: made.history.length,
      project: { id: btoa(project), name: project, entity: { id: btoa(made.entity), name: made.entity } },
    };
    return { data: { upsertBucket: { bucket, inserted: run === undefined } } };
  }
  if (query.includes("createRunFiles")) {
    const files = (variables.files as string[]).map((name) => ({ name, uploadUrl: `${wandb.url}/upload/${name}` }));
    return { data: { createRunFiles: { runID: "r", uploadHeaders: [], files } } };
  }
  const serverInfo = { cliVersionInfo: { max_cli_version: "99.0.0" }, latestLocalVersionInfo: null, features: [] };
  const viewer = { id: "V", entity: "owner", username: "ada", flags: "{}", teams: { edges: [] } };
  return { data: { viewer, serverInfo, model: { bucket: null }, project: null } };
}

function stream(run: WandbRun, { files, complete, exitcode }: Stream): Response {
  const history = files?.["wandb-history.jsonl"];
  if (history) {
    if (history.offset > run.history.length) return Response.json({ error: "lines are missing" }, { status: 400 });
    run.history.splice(history.offset, Number.POSITIVE_INFINITY, ...history.content.map((line) => JSON.parse(line)));
  }
  const summary = files?.["wandb-summary.json"]?.content.at(-1);
  if (summary) run.summary = JSON.parse(summary);
  if (complete) run.exitCode = exitcode ?? null;
  return Response.json({ limits: {} });
}

export function startWandbServer(): TestWandb {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname.startsWith("/upload/") || pathname.startsWith("/sdk/")) return new Response("");
      if (request.headers.get("authorization") !== `Basic ${btoa(`api:${wandb.key}`)}`)
        return new Response("invalid key", { status: 401 });
      if (wandb.instead) return wandb.instead();
      const bytes = await request.bytes();
      const text = request.headers.get("content-encoding") === "gzip" ? Bun.gunzipSync(bytes) : bytes;
      const body = JSON.parse(new TextDecoder().decode(text));
      if (pathname === "/graphql") {
        wandb.requests.push(/(?:query|mutation) (\w+)/.exec(body.query)?.[1] ?? "graphql");
        return Response.json(graphql(wandb, body));
      }
      const [, files, entity = "", project, name = "", kind] = pathname.split("/").map(decodeURIComponent);
      const run = wandb.runs.get(name);
      if (files !== "files" || kind !== "file_stream" || run?.entity !== entity || run.project !== project)
        return new Response("not found", { status: 404 });
      wandb.requests.push("file_stream");
      return stream(run, body);
    },
  });
  const wandb: TestWandb = {
    url: `http://127.0.0.1:${server.port}`,
    // Keys of self-hosted servers have this form.
    key: `local-${"0123456789".repeat(4)}`,
    runs: new Map(),
    requests: [],
    instead: null,
    stop: () => server.stop(true),
  };
  return wandb;
}
