/**
 * Shows rows as a model sees them, with the trainer's own code: one Python process that is kept while it is used and
 * ends when it is idle.
 */
import type { Subprocess } from "bun";
import * as v from "valibot";
import { readyTrainerEnvironment } from "../../compute/environment/install.ts";
import type { DataSettings } from "../../contract/data-settings.ts";
import type { RowType } from "../../contract/spec.ts";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { writeExact } from "../../lib/text/exact-json.ts";

/**
 * One sequence of a row. `states` has one letter per token: `t` is in the loss, `c` is context only, `x` is truncated.
 * The counts include tokens that are not shown.
 */
export const SequenceSchema = v.strictObject({
  /** `chosen`, `rejected`, `good`, `bad`, `prompt`, `text`, or `row`; several of one name are parts of a row. */
  name: v.string(),
  pieces: v.array(v.string()),
  states: v.string(),
  trains: v.number(),
  context: v.number(),
  cut: v.number(),
  /**
   * Hex SHA-256 of token ids and labels as they are trained on: one, several for a text in pieces, none when no token
   * is in the loss.
   */
  hashes: v.array(v.string()),
  /** What is lost of the row, and why; with the first of its sequences. */
  warnings: v.optional(v.array(v.string())),
});
type Sequence = v.InferOutput<typeof SequenceSchema>;

export interface SeenRow {
  row_id: number;
  sequences: Sequence[];
  /** Why the row cannot be trained on; it has no sequences then. */
  error?: string;
}

interface InspectRequest {
  /** Directory of the base model. */
  base: string;
  row_type: RowType;
  loss_on: "completion" | "all";
  max_length: number;
  /** Absent: the base model's own. */
  chat_template?: DataSettings["chat_template"];
  /** Absent: by the row type. */
  special_tokens?: DataSettings["special_tokens"];
  /** Absent: in the loss. */
  reasoning?: DataSettings["reasoning"];
  /** Canonical rows. */
  rows: unknown[];
}

const IDLE_MS = 2 * 60_000;
const ANSWER_MS = 60_000;
const MAX_ANSWER = 64 * 1024 ** 2;

interface Helper {
  child: Subprocess<"pipe", "pipe", "ignore">;
  reader: ReadableStreamDefaultReader<Uint8Array>;
  idle: Timer | null;
}
/** Helpers by interpreter and trainer sources. Each ends with the server. */
const helpersOf = perContext(() => new Map<string, Helper>());

/** Whether the next request starts a helper first, which takes seconds. */
export async function startsHelper(ctx: Ctx): Promise<boolean> {
  const ready = await readyTrainerEnvironment(ctx.config, ctx.files);
  return ready !== null && !helpersOf(ctx).has(`${ready.python} ${ready.trainerDir}`);
}

async function helperFor(ctx: Ctx): Promise<Helper> {
  const ready = await readyTrainerEnvironment(ctx.config, ctx.files);
  if (!ready)
    throw new AppError(
      "unavailable",
      "trainer_environment_missing",
      "The trainer's Python environment is not installed yet, and rows are shown with the trainer's code. Install it with `finetune-lab doctor --install`, or start a training job.",
    );
  const helpers = helpersOf(ctx);
  const key = `${ready.python} ${ready.trainerDir}`;
  const running = helpers.get(key);
  if (running) return running;
  const child = Bun.spawn([ready.python, "-m", "finetune_trainer.training.inspection"], {
    cwd: ready.trainerDir,
    // Nothing of the server's own environment, and no downloads.
    env: { LANG: "C.UTF-8", HF_HUB_OFFLINE: "1", HF_HOME: ctx.files.path("tmp"), TOKENIZERS_PARALLELISM: "false" },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "ignore",
    signal: ctx.signal,
    killSignal: "SIGKILL",
  });
  const helper: Helper = { child, reader: child.stdout.getReader(), idle: null };
  helpers.set(key, helper);
  child.unref();
  child.exited.then(() => {
    if (helpers.get(key) === helper) helpers.delete(key);
  });
  return helper;
}

/** The next line that the helper prints. @throws Error when it ends, prints too much, or takes too long */
async function readLine({ child, reader }: Helper): Promise<string> {
  const timer = setTimeout(() => child.kill("SIGKILL"), ANSWER_MS);
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the helper ended or took too long");
      parts.push(value);
      size += value.byteLength;
      if (value.at(-1) === 10) return Buffer.concat(parts).toString("utf8");
      if (size > MAX_ANSWER) throw new Error("the helper's answer is too long");
    }
  } finally {
    clearTimeout(timer);
  }
}

async function ask(ctx: Ctx, request: InspectRequest): Promise<SeenRow[]> {
  const helper = await helperFor(ctx);
  if (helper.idle) clearTimeout(helper.idle);
  try {
    helper.child.stdin.write(`${writeExact(request)}\n`);
    await helper.child.stdin.flush();
    const answer = JSON.parse(await readLine(helper)) as { rows?: SeenRow[]; error?: string };
    if (!answer.rows)
      throw new AppError("unprocessable", "rows_not_shown", `The trainer cannot show these rows: ${answer.error}`);
    return answer.rows;
  } catch (error) {
    if (error instanceof AppError) throw error;
    helper.child.kill("SIGKILL");
    throw new AppError("unavailable", "inspection_failed", "The rows could not be shown; try again.", { cause: error });
  } finally {
    helper.idle = setTimeout(() => helper.child.kill("SIGKILL"), IDLE_MS);
    helper.idle.unref();
  }
}

/**
 * Rows as a model sees them. One request at a time, because the helper answers in order; people take turns.
 * @param asker who asks; null for the server itself, which is never refused
 * @throws AppError `trainer_environment_missing`, `rows_not_shown`, `inspection_failed`, `inspection_busy`
 */
export function inspectRows(
  ctx: Ctx,
  request: InspectRequest,
  asker: Actor | null = null,
  signal?: AbortSignal,
): Promise<SeenRow[]> {
  const key = asker && `${asker.org}/${asker.userId}`;
  return ctx.turns.inspection.run(key, () => ask(ctx, request), signal);
}
