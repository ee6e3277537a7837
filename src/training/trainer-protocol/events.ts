/** Checks event batches of trainers with hand-written code, because they are the server's most frequent requests. */
import type { TrainerEvent } from "../../contract/trainer.ts";
import { AppError } from "../../errors.ts";
import { isEngineAddress } from "../../lib/upstream.ts";

/** Most events of one request. The body limit alone would allow a million empty ones. */
const MAX_EVENTS = 20_000;
const MAX_KEYS = 500;
const MAX_STEP = 2 ** 48;

type Fields = Record<string, unknown>;
type Check = (value: unknown) => boolean;

const text =
  (max: number): Check =>
  (value) =>
    typeof value === "string" && value.length <= max;
const oneOf =
  (...options: string[]): Check =>
  (value) =>
    options.includes(value as string);
const number: Check = (value) => typeof value === "number" && Number.isFinite(value);
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MAX_STEP;
const flag: Check = (value) => typeof value === "boolean";
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || value === null || check(value);
const nullable =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const object: Check = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const NOT_FINITE = new Set(["NaN", "Infinity", "-Infinity"]);
const measured: Check = (value) => number(value) || NOT_FINITE.has(value as string);
const messages: Check = (value) =>
  Array.isArray(value) &&
  value.length <= 1000 &&
  value.every((one) => object(one) && text(100)(one.role) && maybe(text(MAX_TEXT))(one.content));

const MAX_TEXT = 1 << 20;
/** Most sequences of a first batch. */
const MAX_ECHOED = 256;
const HASH = /^[0-9a-f]{64}$/;
const KEY = /^[A-Za-z0-9][A-Za-z0-9_./:@ -]{0,199}$/;

const values: Check = (value) => {
  if (!object(value)) return false;
  let keys = 0;
  for (const key in value as Fields) {
    if (++keys > MAX_KEYS || !KEY.test(key) || !measured((value as Fields)[key])) return false;
  }
  return true;
};

const echoed: Check = (value) =>
  Array.isArray(value) &&
  value.length <= MAX_ECHOED &&
  value.every((one) => object(one) && count(one.row_id) && typeof one.hash === "string" && HASH.test(one.hash));

/** Checks for the fields of each type of event. Other fields are ignored. */
const TYPES: Record<TrainerEvent["type"], [field: string, check: Check][]> = {
  phase: [
    ["phase", text(100)],
    ["message", maybe(text(10_000))],
  ],
  plan: [
    ["total_steps", count],
    ["steps_per_epoch", count],
    ["train_rows", count],
    ["sequences", maybe(count)],
    ["train_tokens_per_epoch", count],
    ["trainable_parameters", count],
    ["total_parameters", count],
    ["rows_cut", count],
    ["rows_dropped", count],
  ],
  canary: [
    ["rows", count],
    ["length", count],
    ["seconds", number],
    ["peak_memory_mb", number],
    ["peak_gpu_memory_mb", maybe(number)],
    ["peak_gpu_reserved_mb", maybe(number)],
  ],
  first_batch: [
    ["step", count],
    ["rows", echoed],
  ],
  metrics: [
    ["step", count],
    ["epoch", number],
    ["values", values],
  ],
  progress: [
    ["step", count],
    ["total_steps", count],
    ["epoch", maybe(number)],
    ["tokens_seen", maybe(count)],
    ["eta_s", nullable(number)],
    ["fraction", number],
  ],
  log: [
    ["level", oneOf("debug", "info", "warn", "error")],
    ["message", text(MAX_TEXT)],
  ],
  sample: [
    ["step", count],
    ["row_id", count],
    ["prompt", messages],
    ["expected", text(MAX_TEXT)],
    ["output", text(MAX_TEXT)],
    ["reward", maybe(number)],
  ],
  answer: [
    ["row_id", count],
    ["side", oneOf("base", "tuned")],
    ["prompt", messages],
    ["expected", text(MAX_TEXT)],
    ["output", text(MAX_TEXT)],
    ["exact", flag],
    ["loss", measured],
    ["token_accuracy", number],
    ["tokens", count],
  ],
  result: [["result", object]],
  ready: [
    ["address", (value) => typeof value === "string" && isEngineAddress(value)],
    ["models", (value) => Array.isArray(value) && value.length <= 1000 && value.every(text(300))],
  ],
  command_done: [
    ["id", text(100)],
    ["command", oneOf("cancel", "pause", "checkpoint")],
  ],
  finished: [["outcome", oneOf("succeeded", "cancelled", "paused")]],
  failed: [
    ["reason", text(100)],
    ["message", text(MAX_TEXT)],
    ["advice", maybe(text(10_000))],
    ["retry", flag],
    ["detail", maybe(text(MAX_TEXT))],
  ],
};

function bad(param: string, message: string): AppError {
  return new AppError("invalid", "bad_event", message, { param });
}

/**
 * The events of a `POST /events` body.
 * @throws AppError `bad_event` with the index and field of the event
 */
export function readEvents(body: unknown): TrainerEvent[] {
  const events = (body as Fields | null)?.events;
  if (!Array.isArray(events)) throw bad("events", "`events` must be a list.");
  if (events.length > MAX_EVENTS)
    throw new AppError("too_large", "too_many_events", `A request may have at most ${MAX_EVENTS} events.`, {
      param: "events",
    });
  for (const [index, event] of events.entries()) {
    if (!object(event)) throw bad(`events[${index}]`, `events[${index}] must be an object.`);
    const { seq, at, type } = event as Fields;
    if (!Number.isSafeInteger(seq) || (seq as number) < 1)
      throw bad(`events[${index}].seq`, `events[${index}].seq must be a whole number of at least 1.`);
    if (!Number.isSafeInteger(at)) throw bad(`events[${index}].at`, `events[${index}].at must be whole milliseconds.`);
    const fields = Object.hasOwn(TYPES, String(type)) ? TYPES[type as TrainerEvent["type"]] : undefined;
    if (!fields)
      throw bad(`events[${index}].type`, `events[${index}].type is not one of ${Object.keys(TYPES).join(", ")}.`);
    for (const [field, check] of fields) {
      if (!check((event as Fields)[field]))
        throw bad(`events[${index}].${field}`, `events[${index}].${field} is not valid in an event of type ${type}.`);
    }
  }
  return events as TrainerEvent[];
}
