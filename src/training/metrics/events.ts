/** The event list of a job: phases, samples, results and state changes as readable text, and thinned metrics. */

import { sql } from "drizzle-orm";
import { phaseWords } from "../../contract/job.ts";
import type { TrainerEvent } from "../../contract/trainer.ts";
import { sqlJson, sqlJsonParts } from "../../db/json.ts";
import type { Db } from "../../db/types.ts";
import { newId } from "../../lib/ids.ts";
import { cutMessage, plainMessage } from "./logs.ts";

/** Above this number of events a job gets no further samples and metrics events. State changes are always stored. */
const MAX_EVENTS = 100_000;
const MAX_TEXT = 32_768;

export interface NewEvent {
  jobId: string;
  type: string;
  message: string;
  level?: "info" | "warn" | "error";
  data?: Record<string, unknown> | null;
  step?: number | null;
  attemptId?: string | null;
  batchId?: number | null;
  /** Milliseconds; now when absent. */
  at?: number;
}

async function lastNumber(tx: Db, jobId: string): Promise<number> {
  const [row] = await tx.all<{ n: number }>(sql`select coalesce(max(n), 0) as n from event where job_id = ${jobId}`);
  return row?.n ?? 0;
}

/** The columns of an event in the order of `insertEvents`; `data` as JSON text. */
function rowOf(one: NewEvent, n: number): (string | number | null)[] {
  return [
    newId("event"),
    n,
    one.attemptId ?? null,
    one.batchId ?? null,
    one.at ?? Date.now(),
    one.type,
    one.level ?? "info",
    plainMessage(one.message),
    one.step ?? null,
    one.data ? sqlJson(one.data) : null,
  ];
}

/** Inserts events in as few statements as possible, because any batch of any trainer may contain some. */
async function insertEvents(tx: Db, jobId: string, rows: ReturnType<typeof rowOf>[]): Promise<void> {
  if (rows.length === 0) return;
  for (const part of sqlJsonParts(rows))
    await tx.run(sql`
    insert into event (job_id, id, n, attempt_id, batch_id, at, type, level, message, step, data)
    select ${jobId}, value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8, value->>9
    from json_each(${part})`);
}

/** Adds an event to a job's list, in the caller's transaction. Returns its id (`ftevent-…`). */
export async function addEvent(tx: Db, one: NewEvent): Promise<string> {
  const row = rowOf(one, (await lastNumber(tx, one.jobId)) + 1);
  await insertEvents(tx, one.jobId, [row]);
  return String(row[0]);
}

/** Adds several events of one job. Samples and metrics are dropped once the job has `MAX_EVENTS`. */
export async function addEvents(tx: Db, jobId: string, events: NewEvent[]): Promise<void> {
  if (events.length === 0) return;
  const last = await lastNumber(tx, jobId);
  const kept = last < MAX_EVENTS ? events : events.filter((one) => one.type !== "sample" && one.type !== "metrics");
  const rows = kept.map((one, index) => rowOf(one, last + index + 1));
  await insertEvents(tx, jobId, rows);
}

/** Whether the metrics of a step become an event: the first 1,000 steps, then every 10th, every 100th, … */
function isEventStep(step: number): boolean {
  let stride = 1;
  for (let top = 1000; step > top; top *= 10) stride *= 10;
  return step % stride === 0;
}

/** Fields of a metrics event in OpenAI's form, with the metric names and labels they come from. */
const METRIC_FIELDS: [field: string, key: string, label: string][] = [
  ["train_loss", "train/loss", "training loss"],
  ["train_mean_token_accuracy", "train/token_accuracy", "training token accuracy"],
  ["valid_loss", "eval/loss", "validation loss"],
  ["valid_mean_token_accuracy", "eval/token_accuracy", "validation token accuracy"],
  ["train_reward_accuracy", "train/reward_accuracy", "training reward accuracy"],
  ["train_reward_margin", "train/reward_margin", "training reward margin"],
  ["valid_reward_accuracy", "eval/reward_accuracy", "validation reward accuracy"],
  ["valid_reward_margin", "eval/reward_margin", "validation reward margin"],
];

function metricsEvent(one: Extract<TrainerEvent, { type: "metrics" }>): Pick<NewEvent, "message" | "data"> | null {
  const { values, step } = one;
  const evaluated = values["eval/loss"] !== undefined;
  if (!evaluated && (values["train/loss"] === undefined || !isEventStep(step))) return null;
  const data: Record<string, unknown> = { step };
  const parts: string[] = [];
  for (const [field, key, label] of METRIC_FIELDS) {
    const value = values[key];
    if (value === undefined) continue;
    data[field] = typeof value === "number" ? value : null;
    parts.push(`${label}=${typeof value === "number" ? Number(value.toPrecision(4)) : value}`);
  }
  return { message: `Step ${step}: ${parts.join(", ")}`, data };
}

const cut = (text: string) => cutMessage(text, MAX_TEXT);

/**
 * A trainer's event as an entry of the job's list; null for events that are stored in their own tables or that mean
 * nothing to people.
 */
export function eventOf(one: TrainerEvent): Pick<NewEvent, "type" | "message" | "level" | "data" | "step"> | null {
  switch (one.type) {
    case "phase": {
      const message = [phaseWords(one.phase, "event") ?? one.phase, one.message].filter(Boolean).join(": ");
      return { type: "phase", message, data: { phase: one.phase } };
    }
    case "plan": {
      const { seq: _seq, at: _at, type, ...data } = one;
      const truncated = one.rows_cut > 0 ? `; ${one.rows_cut} rows truncated to the max sequence length` : "";
      const { train_rows: rows, sequences = rows } = one;
      const several = sequences === rows ? "" : ` in ${sequences} sequences`;
      return { type, message: `${rows} rows${several}, ${one.total_steps} steps${truncated}`, data };
    }
    case "canary": {
      const { seq: _seq, at: _at, type, ...data } = one;
      const peak = one.peak_gpu_reserved_mb ?? one.peak_memory_mb;
      const message = `Memory test with the longest batch (${one.rows} x ${one.length} tokens): ${Math.round(peak)} MB peak`;
      return { type, message, data };
    }
    case "first_batch": {
      const rows = new Set(one.rows.map((row) => row.row_id)).size;
      const data = { rows: one.rows };
      return { type: one.type, step: one.step, message: `First batch: ${rows} rows`, data };
    }
    case "metrics": {
      const made = metricsEvent(one);
      return made && { type: "metrics", step: one.step, ...made };
    }
    case "sample": {
      const prompt = one.prompt.map((m) => ({ ...m, content: m.content === null ? null : cut(String(m.content)) }));
      const data = { row_id: one.row_id, prompt, expected: cut(one.expected), output: cut(one.output) };
      if (one.reward !== undefined) Object.assign(data, { reward: one.reward });
      return { type: "sample", step: one.step, message: `Sample output at step ${one.step}`, data };
    }
    case "ready":
      return { type: "ready", message: `Ready to serve ${one.models.join(", ")}`, data: { models: one.models } };
    case "command_done":
      return {
        type: "command_done",
        message: `Command done: ${one.command}`,
        data: { id: one.id, command: one.command },
      };
    // The events `result`, `finished` and `failed` are recorded where the job's state changes.
    default:
      return null;
  }
}
