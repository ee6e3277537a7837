/** Small helpers for tests of datasets: rows, uploads, waiting for validation. */
import { readFileSync } from "node:fs";
import { splitPath } from "../../src/data/datasets/rows.ts";
import type { TestApp } from "./app.ts";

/** One chat row as a line of JSON. */
export const chatLine = (n: number | string): string =>
  JSON.stringify({
    messages: [
      { role: "user", content: `question ${n}` },
      { role: "assistant", content: `answer ${n}` },
    ],
  });
export const chatLines = (count: number): string[] => Array.from({ length: count }, (_, i) => chatLine(i + 1));

export interface VersionObject {
  id: string;
  dataset_id: string;
  number: number;
  status: "validating" | "needs_mapping" | "ready" | "failed";
  hash: string | null;
  format: string | null;
  row_type: "chat" | "preference" | "unpaired" | "text" | "prompt";
  rows: number;
  train_rows: number;
  holdout_rows: number;
  bad_rows: number;
  error: string | null;
  encoding: string | null;
  part: string | null;
  repair_text: boolean;
  file_id: string;
}
export interface DatasetObject {
  id: string;
  name: string;
  version: VersionObject;
}
interface ProblemObject {
  code: string;
  severity: string;
  message: string;
  count: number;
  samples: { line: number; path: string; sample: string; detail: string }[];
}
export interface ReportObject {
  version: VersionObject;
  report: {
    rows: number;
    bad_rows: number;
    blank_lines: number;
    bad_rows_left_out: boolean;
    encoding: { bom: boolean; line_endings: string };
    roles: Record<string, number>;
    labels?: { good: number; bad: number };
    turns: { total: number; max: number };
    characters: { total: number; max: number };
    rows_with_tools: number;
    tool_calls: number;
    untrained_turns: number;
    duplicates: { rows: number; complete: boolean };
    ignored_fields: Record<string, number>;
    problems: ProblemObject[];
    mapping?: {
      used: Record<string, unknown> | null;
      proposed: Record<string, unknown> | null;
      reason: string;
      columns: { name: string; kind: string; values: string[] | null }[];
      rows: Record<string, unknown>[];
    } | null;
    source?: { compression: string[]; unpacked_bytes: number | null; part: string | null; other_parts: string[] };
    csv: { columns: string[]; delimiter: string; proposed: Record<string, string>; first_rows: string[][] } | null;
  };
}

/** Uploads bytes as a dataset, without waiting. `query` holds settings such as `seed=1`. */
export function sendDataset(
  lab: TestApp,
  content: string | Uint8Array,
  filename = "train.jsonl",
  query = "",
): Promise<Response> {
  return lab.request("POST", `/v1/datasets?filename=${encodeURIComponent(filename)}${query && `&${query}`}`, {
    raw: content as RequestInit["body"],
    headers: { "content-type": "application/octet-stream" },
  });
}

/** The dataset once its newest version is no longer validating. */
export async function settled(lab: TestApp, id: string): Promise<DatasetObject> {
  for (let i = 0; i < 600; i++) {
    const found = await lab.json<DatasetObject>("GET", `/v1/datasets/${id}`);
    if (found.version.status !== "validating") return found;
    await Bun.sleep(20);
  }
  throw new Error(`dataset ${id} is still validating`);
}

/** Uploads, waits, and returns dataset and report. */
export async function validated(lab: TestApp, content: string | Uint8Array, filename?: string, query?: string) {
  const answer = await sendDataset(lab, content, filename, query);
  if (!answer.ok) throw new Error(`upload answered ${answer.status}: ${await answer.text()}`);
  const dataset = await settled(lab, ((await answer.json()) as DatasetObject).id);
  const { report } = await lab.json<ReportObject>("GET", `/v1/datasets/${dataset.id}/report`);
  return { dataset, version: dataset.version, report };
}

/** A row as it is on disk. */
export interface CanonicalRow {
  id: number;
  messages: {
    role: string;
    content: string;
    weight?: number;
    tool_calls?: unknown[];
    tool_call_id?: string;
    name?: string;
  }[];
  tools?: unknown[];
}

/** All rows of one side of a version, read from its file. */
export const canonicalRows = (lab: TestApp, versionId: string, split: "train" | "holdout" = "train"): CanonicalRow[] =>
  readFileSync(splitPath(lab.ctx, versionId, split), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
