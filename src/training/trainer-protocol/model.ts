/** Requests and answers of the trainer protocol as schemas; event batches are checked in events.ts. */
import * as v from "valibot";
import { HubSourceSchema } from "../../contract/hub-source.ts";
import type { ArtifactCompleted, ArtifactOpened, EventsReply, SpecReply } from "../../contract/trainer.ts";
import type { Graded } from "../../graders/training.ts";

const MAX_FILES = 200;
const MAX_FILE_BYTES = 256 * 1024 ** 3;
/** Most samples of a request for grades. */
const MAX_SAMPLES = 32;

const measured = v.union([v.pipe(v.number(), v.finite()), v.picklist(["NaN", "Infinity", "-Infinity"])]);
/** `POST /artifacts` */
export const OpenRequest = v.object({
  kind: v.picklist(["checkpoint", "adapter", "model", "merged", "gguf", "report"]),
  step: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  metrics: v.pipe(
    v.record(v.pipe(v.string(), v.maxLength(200)), measured),
    v.check((metrics) => Object.keys(metrics).length <= 500, "at most 500 metrics"),
  ),
  files: v.pipe(
    v.array(
      v.object({
        path: v.pipe(v.string(), v.maxLength(500)),
        size: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_FILE_BYTES)),
        sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      }),
    ),
    v.minLength(1),
    v.maxLength(MAX_FILES),
  ),
});

/** A tool call of an answer, in the form of chat completions; `arguments` is JSON text. */
const ToolCall = v.strictObject({
  id: v.string(),
  type: v.literal("function"),
  function: v.strictObject({ name: v.string(), arguments: v.string() }),
});

const isRecord = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);

/** `POST /grade` */
export const GradeRequest = v.strictObject({
  samples: v.pipe(
    v.array(
      v.strictObject({
        // The object itself, not a copy: it knows the digits of its numbers.
        item: v.custom<Record<string, unknown>>(isRecord, "must be an object"),
        output: v.pipe(v.string(), v.maxLength(500_000, "must have at most 500,000 characters")),
        tools: v.optional(v.pipe(v.array(ToolCall), v.maxLength(1000, "must have at most 1,000 calls"))),
      }),
    ),
    v.minLength(1, "must have at least one sample"),
    v.maxLength(MAX_SAMPLES, `must have at most ${MAX_SAMPLES} samples`),
  ),
});

/** A schema of an answer that contract/trainer.ts declares. */
type AnswerOf<T> = v.GenericSchema<unknown, T>;

const fileEntry = v.strictObject({ path: v.string(), size: v.number(), sha256: v.string() });
const inputFiles = { local_path: v.nullable(v.string()), files: v.array(fileEntry) };
export const SpecAnswer = v.strictObject({
  protocol: v.literal(1),
  job_id: v.string(),
  attempt_id: v.string(),
  attempt: v.number(),
  kind: v.picklist(["train", "evaluate", "serve", "export"]),
  spec: v.custom<SpecReply["spec"]>((spec) => typeof spec === "object" && spec !== null),
  inputs: v.record(v.string(), v.strictObject({ ...inputFiles, hub: v.optional(HubSourceSchema) })),
  resume: v.nullable(v.strictObject({ checkpoint_id: v.string(), step: v.number(), ...inputFiles })),
  last_seq: v.number(),
  heartbeat_s: v.number(),
  max_batch_events: v.number(),
}) satisfies AnswerOf<SpecReply>;

export const HelloAnswer = v.strictObject({ object: v.literal("trainer.hello"), proof: v.string() });
export const BootstrapAnswer = v.strictObject({ token: v.string() });

export const DigestAnswer = v.strictObject({ size: v.number(), sha256: v.string() });

export const EventsAnswer = v.strictObject({
  last_seq: v.number(),
  commands: v.array(v.strictObject({ id: v.string(), type: v.picklist(["cancel", "pause", "checkpoint"]) })),
}) satisfies AnswerOf<EventsReply>;

export const GradesAnswer = v.strictObject({
  grades: v.array(
    v.strictObject({ reward: v.number(), error: v.nullable(v.string()), again: v.optional(v.boolean()) }),
  ),
}) satisfies AnswerOf<{ grades: Graded[] }>;

export const OpenedAnswer = v.strictObject({
  artifact_id: v.string(),
  complete: v.boolean(),
  files: v.array(v.strictObject({ path: v.string(), offset: v.number() })),
}) satisfies AnswerOf<ArtifactOpened>;

export const PartAnswer = v.strictObject({ offset: v.number() });

export const CompletedAnswer = v.strictObject({
  artifact_id: v.string(),
  checkpoint_id: v.nullable(v.string()),
  model: v.nullable(v.string()),
}) satisfies AnswerOf<ArtifactCompleted>;
