/**
 * The HTTP interface of a Weights & Biases server, as its own client (wandb 0.31) speaks it: a run is created by a
 * GraphQL mutation, and its history is sent in lines to its file stream.
 */
import { readUpTo } from "../../lib/body.ts";

const TIMEOUT_MS = 20_000;
const MAX_ANSWER = 1024 ** 2;
const VIEWER = "query Viewer { viewer { id entity username } }";
const UPSERT = `mutation UpsertBucket($name: String, $project: String, $entity: String, $displayName: String, $config: JSONString, $tags: [String!]) {
  upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName, config: $config, tags: $tags}) {
    bucket { id name project { id name entity { id name } } historyLineCount }
    inserted
  }
}`;

export interface WandbAccess {
  /** Without a slash at the end. */
  url: string;
  key: string;
}

/** A run as the server knows it. */
export interface WandbTarget {
  entity: string;
  project: string;
  run: string;
}

async function post(access: WandbAccess, path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
  const answer = await fetch(access.url + path, {
    method: "POST",
    // The key is for this server alone.
    redirect: "error",
    headers: { authorization: `Basic ${btoa(`api:${access.key}`)}`, "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  }).catch((cause) => {
    throw new Error(`${access.url} cannot be reached`, { cause });
  });
  const { bytes } = await readUpTo(answer.body, MAX_ANSWER);
  if (answer.status === 401 || answer.status === 403) throw new Error(`${access.url} refuses the key`);
  if (!answer.ok) throw new Error(`${access.url} answered ${answer.status}`);
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new Error(`${access.url} answered with something else than JSON: it is not a Weights & Biases server`, {
      cause,
    });
  }
}

async function ask<T>(access: WandbAccess, query: string, variables: object, signal: AbortSignal): Promise<T> {
  const operationName = /\b(?:query|mutation) (\w+)/.exec(query)?.[1];
  const answer = (await post(access, "/graphql", { query, variables, operationName }, signal)) as {
    data?: T | null;
    errors?: { message?: unknown }[];
  };
  const [error] = answer.errors ?? [];
  if (error) throw new Error(`${access.url} refused: ${String(error.message).slice(0, 300)}`);
  if (!answer.data) throw new Error(`${access.url} is not a Weights & Biases server`);
  return answer.data;
}

/** Whose key it is. @throws Error when the server cannot be reached or does not know the key */
export async function wandbViewer(access: WandbAccess, signal: AbortSignal): Promise<string> {
  const { viewer } = await ask<{ viewer: { entity?: string; username?: string } | null }>(access, VIEWER, {}, signal);
  if (!viewer) throw new Error(`${access.url} refuses the key`);
  return viewer.username ?? viewer.entity ?? "";
}

interface NewRun {
  id: string;
  project: string;
  entity: string | undefined;
  name: string;
  tags: readonly string[];
  config: Record<string, unknown>;
}

/** Creates the run, or finds the one with the same id. Without an entity it belongs to the owner of the key. */
export async function openWandbRun(access: WandbAccess, run: NewRun, signal: AbortSignal): Promise<WandbTarget> {
  const config = Object.fromEntries(Object.entries(run.config).map(([name, value]) => [name, { value }]));
  const { upsertBucket: made } = await ask<{
    upsertBucket: { bucket: { name: string; project: { name: string; entity: { name: string } } } } | null;
  }>(
    access,
    UPSERT,
    {
      name: run.id,
      project: run.project,
      entity: run.entity ?? null,
      displayName: run.name,
      config: JSON.stringify(config),
      tags: run.tags,
    },
    signal,
  );
  if (!made) throw new Error(`${access.url} did not create the run`);
  const { name, project } = made.bucket;
  return { entity: project.entity.name, project: project.name, run: name };
}

interface Sent {
  /** Lines that the server has already. */
  offset: number;
  lines: readonly Record<string, number>[];
  summary: Record<string, unknown>;
  /** Exit code of a run that has ended. */
  exitCode: number | null;
}

/** Sends lines of history; the same lines may be sent again. Without lines it is a heartbeat. */
export async function streamWandbRun(
  access: WandbAccess,
  { entity, project, run }: WandbTarget,
  { offset, lines, summary, exitCode }: Sent,
  signal: AbortSignal,
): Promise<void> {
  const path = ["files", entity, project, run, "file_stream"].map(encodeURIComponent).join("/");
  const content = lines.map((line) => JSON.stringify(line));
  await post(
    access,
    `/${path}`,
    {
      files: {
        ...(content.length > 0 ? { "wandb-history.jsonl": { offset, content } } : {}),
        "wandb-summary.json": { offset: 0, content: [JSON.stringify(summary)] },
      },
      ...(exitCode === null ? {} : { complete: true, exitcode: exitCode }),
    },
    signal,
  );
}
