/** What an organization may store and queue: the names of its limits, and how clients see them. */
import * as v from "valibot";

export const LIMITS = ["bytes", "files", "datasets", "pending_uploads", "waiting_jobs"] as const;
export type LimitName = (typeof LIMITS)[number];

const limitUse = (description: string) =>
  v.pipe(
    v.strictObject({ limit: v.pipe(v.nullable(v.number()), v.description("Null = no limit.")), used: v.number() }),
    v.description(description),
  );

export const LimitsView = v.strictObject({
  object: v.literal("limits"),
  bytes: limitUse(
    "Bytes of files, pending uploads (as declared), rows of datasets, stored answers, checkpoints and models.",
  ),
  files: limitUse("Files."),
  datasets: limitUse("Datasets."),
  pending_uploads: limitUse("Uploads in parts that are not complete, canceled or expired."),
  waiting_jobs: limitUse("Jobs that wait to start, and waiting trials of sweeps."),
});
export type LimitsView = v.InferOutput<typeof LimitsView>;

const teamLimit = v.strictObject({
  limit: v.pipe(v.nullable(v.number()), v.description("What the team allows itself; null = no limit of its own.")),
  installation: v.pipe(v.nullable(v.number()), v.description("What the installation allows; null = no limit.")),
  used: v.number(),
});
/** Limits that a team sets for itself; the lower one of both is in effect. */
export const TeamLimitsView = v.strictObject({
  object: v.literal("team_limits"),
  bytes: teamLimit,
  files: teamLimit,
  datasets: teamLimit,
  pending_uploads: teamLimit,
  waiting_jobs: teamLimit,
});
export type TeamLimitsView = v.InferOutput<typeof TeamLimitsView>;

/** One limit and its use; `limit` is null where there is none. */
export type LimitUse = LimitsView[LimitName];

const limit = v.optional(
  v.nullable(
    v.pipe(v.number(), v.integer("must be a whole number"), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER)),
  ),
);
/** New limits of an organization: a number, 0 = no limit, null = as in the settings. */
export const LimitChange = v.strictObject({
  bytes: limit,
  files: limit,
  datasets: limit,
  pending_uploads: limit,
  waiting_jobs: limit,
});
export type LimitChange = v.InferOutput<typeof LimitChange>;
