/**
 * Which trainings cover every pair of options: the table's verdict on each pair, and a small set of trainings that has
 * all supported pairs.
 */
import type { TrainSpec } from "../src/contract/spec.ts";
import { factsOf, knows, METHOD_FOR, OPTIONS, refusal } from "../src/contract/support.ts";
import type { Facts as AutoFacts } from "../src/training/plan/defaults.ts";
import { resolveAuto } from "../src/training/plan/defaults.ts";
import { modelShape } from "../src/training/plan/memory.ts";
import { parseTrainRequest } from "../src/training/plan/request.ts";

type Value = string | boolean;
/** Chosen options by name; the others have their defaults. */
export type Chosen = Record<string, Value>;
type Pair = [a: string, x: Value, b: string, y: Value];
export type Outcome =
  | { kind: "runs"; example: Chosen }
  | { kind: "refused"; reason: string }
  /** Needs hardware that a CPU cannot replace. */
  | { kind: "elsewhere" };

export const pairKey = ([a, x, b, y]: Pair) => `${a}=${x} ${b}=${y}`;

export function pairsOf(): Pair[] {
  const names = Object.keys(OPTIONS);
  return names.flatMap((a, i) =>
    names
      .slice(i + 1)
      .flatMap((b) => (OPTIONS[a] ?? []).flatMap((x) => (OPTIONS[b] ?? []).map((y): Pair => [a, x, b, y]))),
  );
}

/** The grader of GRPO trainings; the server's stand-in grades differently. */
const GRADER = {
  type: "string_check",
  name: "color",
  operation: "ilike",
  input: "{{sample.output_text}}",
  reference: "{{item.color}}",
};
const METHODS = OPTIONS.method as string[];
const ON_GPUS = new Set<Value>(["gpu", "fsdp", "zero2", "zero3"]);
const pick = (chosen: Chosen, option: string): Value => chosen[option] ?? OPTIONS[option]?.[0] ?? "";

/**
 * The spec of these options on the tiny model, from the server's own code. @throws AppError when the request itself is
 * refused
 */
export function specOf(chosen: Chosen): TrainSpec {
  const get = (option: string) => pick(chosen, option);
  const method = String(get("method"));
  const rows = (chosen.rows ?? Object.entries(METHOD_FOR).find(([, name]) => name === method)?.[0] ?? "preference") as
    | "chat"
    | "preference"
    | "unpaired"
    | "text"
    | "prompt";
  const many = get("rows_at_once") === "many" || method === "kto";
  const perDevice = (chosen.rows_at_once ?? (many ? "many" : "one")) === "many" ? 2 : 1;
  const processes = get("strategy") === "single" ? 1 : 2;
  const steps = get("accumulation") === "some" ? 2 : 1;
  const own = (field: string, value: unknown) =>
    value === undefined || !knows(method, field) ? {} : { [field]: value };
  const request = parseTrainRequest({
    model: "tiny",
    training_file: "ds_tiny",
    method,
    max_steps: 2,
    max_length: 64,
    n_epochs: 4,
    batch_size: perDevice * steps * processes,
    ...(method === "grpo" ? { grader: GRADER, num_generations: 2, max_completion_length: 8 } : {}),
    ...own("loss", chosen.loss),
    ...own("loss_type", chosen.loss_type),
    ...own("loss_on", chosen.loss_on),
    ...own(
      "label_smoothing",
      chosen.label_smoothing === undefined ? undefined : get("label_smoothing") === "some" ? 0.1 : 0,
    ),
    // The adapter options that exist; the table refuses the others before a spec could have them.
    ...(get("adapter") === "full"
      ? { adapter: "full" }
      : { lora_r: 4, rslora: get("rslora"), dora: get("dora"), lora_layers: get("layers") === "top" ? 2 : "auto" }),
    quantization: get("quantization"),
    precision: get("precision"),
    optimizer: get("optimizer"),
    scheduler: get("scheduler"),
    packing: get("packing"),
    padding_free: get("padding_free"),
    gradient_checkpointing: get("gradient_checkpointing"),
    keep_best: get("keep_best"),
    ...(get("neftune") ? { neftune_alpha: 5 } : {}),
    ...(get("early_stopping") ? { early_stopping: 1 } : {}),
    attention: get("attention"),
    liger_kernel: get("liger_kernel"),
    torch_compile: get("torch_compile"),
    ...(processes > 1 ? { cpu_processes: processes, parallel: "ddp" } : {}),
    eval_every: 1,
    save_every: 2,
  });
  const held = (chosen.holdout ?? (get("early_stopping") || get("keep_best") ? "some" : "none")) === "some" ? 4 : 0;
  const tuned = get("start") === "tuned";
  const facts: AutoFacts = {
    trainRows: 12,
    holdoutRows: held,
    rowType: rows,
    tokens: null,
    base: { ...modelShape(1e6, { layers: 3, vocab_size: 320 }), context_length: 256 },
    machine: { cpus: 2, memoryMb: 64_000, bf16: false },
  };
  const adapter = resolveAuto(request, facts).method.adapter;
  const resolved = resolveAuto(request, tuned ? { ...facts, start: adapter } : facts);
  const ids = { version_id: "dsv_tiny", file_id: null, hash: "h", train_rows: 12, holdout_rows: held };
  const spec: TrainSpec = {
    version: 1,
    kind: "train",
    suffix: null,
    output_model: "ft:tiny:org::matrix",
    evaluate_after: false,
    base_model: { id: "tiny", revision: "1", hash: "h", parameters: 1e6, context_length: 256 },
    dataset: { dataset_id: "ds_tiny", ...ids, ...(rows === "chat" ? {} : { row_type: rows }) },
    validation: null,
    method: resolved.method,
    ...(tuned ? { start: { model: "ft:tiny", checkpoint_id: "c", artifact_id: "a" } } : {}),
    // Normally the machine's memory decides; here the per-device batch size is an option like others.
    hyperparameters: {
      ...resolved.hyperparameters,
      per_device_batch_size: perDevice,
      gradient_accumulation: steps,
    },
    schedule: { ...resolved.schedule, sample_rows: Math.min(1, held), sample_max_tokens: 4 },
    parallel: resolved.parallel,
    trainer: { version: "matrix", environment: "matrix" },
    // Many trainings share one process, so its memory is not that of one training: none is planned.
    need: { ...resolved.need, memory_mb: 0, max_price_per_hour: null, provider: null },
    limits: { queued_s: 60, no_progress_s: 60, total_s: 60, max_attempts: 1 },
  };
  return spec;
}

/** Why these options cannot be combined, or null. */
function refusedFor(chosen: Chosen): string | null {
  const method = String(pick(chosen, "method"));
  const stray = Object.keys(chosen).find((option) => !knows(method, option));
  if (stray) return `'${stray}' is no setting of ${method}`;
  const rule = refusal({ ...factsOf(specOf({ ...chosen, ...settle(chosen) })), ...chosen });
  return rule?.reason ?? null;
}

/** Options that a chosen one requires, unless they were chosen too. */
function settle(chosen: Chosen): Chosen {
  if (chosen.loss === "exo_pair" && chosen.label_smoothing === undefined) return { label_smoothing: "some" };
  if (chosen.label_smoothing === "some" && chosen.loss === undefined) return { loss: "robust" };
  return {};
}

/** The outcome of a pair: run with the first method that supports both options, or refused with every method. */
export function outcomes([a, x, b, y]: Pair): Outcome {
  if (ON_GPUS.has(x) || ON_GPUS.has(y)) return { kind: "elsewhere" };
  const given = { [a]: x, [b]: y };
  const methods = given.method === undefined ? METHODS : [String(given.method)];
  const reasons: string[] = [];
  for (const method of methods) {
    const chosen = { method, ...given };
    const whole: Chosen = { ...chosen, ...settle(chosen) };
    const reason = refusedFor(whole);
    if (reason === null) return { kind: "runs", example: whole };
    reasons.push(reason);
  }
  const rules = reasons.filter((reason) => !reason.startsWith("'"));
  return { kind: "refused", reason: rules[0] ?? reasons[0] ?? "" };
}

/** The supported pairs of every value with its first method: the short form of the matrix. */
export function onceEach(open: Pair[]): Pair[] {
  const seen = new Set<string>();
  return open.filter(([a, , b, y]) => {
    const value = `${b}=${y}`;
    if (a !== "method" || seen.has(value) || y === "ddp") return false;
    seen.add(value);
    return true;
  });
}

/**
 * Trainings that together have every supported pair: each starts with a missing pair and adds as many others as
 * possible.
 */
export function cover(open: Pair[]): Chosen[] {
  const left = new Map(open.map((pair) => [pairKey(pair), pair]));
  const runs: Chosen[] = [];
  const order = Object.keys(OPTIONS);
  const gains = (chosen: Chosen, option: string, value: Value) =>
    order.filter((other) => {
      const y = chosen[other];
      if (y === undefined || other === option) return false;
      const pair: Pair =
        order.indexOf(option) < order.indexOf(other) ? [option, value, other, y] : [other, y, option, value];
      return left.has(pairKey(pair));
    }).length;
  while (left.size > 0) {
    const [first] = left.values();
    if (!first) break;
    const found = outcomes(first);
    let chosen: Chosen = found.kind === "runs" ? found.example : {};
    for (const option of order) {
      if (chosen[option] !== undefined || option === "device" || !knows(String(chosen.method), option)) continue;
      const ways = (OPTIONS[option] ?? [])
        .filter((value) => !ON_GPUS.has(value))
        .map((value) => ({ value, gain: gains(chosen, option, value) }))
        .sort((p, q) => q.gain - p.gain);
      const way = ways.find(({ value }) => refusedFor({ ...chosen, [option]: value }) === null);
      if (way) chosen = { ...chosen, [option]: way.value };
    }
    chosen = { ...chosen, device: "cpu" };
    const had = left.size;
    for (const pair of [...left.values()]) {
      const [a, x, b, y] = pair;
      if (chosen[a] === x && chosen[b] === y) left.delete(pairKey(pair));
    }
    if (left.size === had) throw new Error(`no training has the pair ${pairKey(first)} in it`);
    runs.push(chosen);
  }
  return runs;
}
