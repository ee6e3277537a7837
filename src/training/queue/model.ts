/** Requests and answers of the queue and of the teams that share it. */
import * as v from "valibot";
import { whole } from "../../lib/number-fields.ts";
import { pageLimit } from "../../lib/page.ts";
import { MaintenanceView } from "../../notices/maintenance/model.ts";
import { Burst } from "../jobs/placement-model.ts";
import type { WaitCode } from "../scheduler/types.ts";

export const QueueQuery = v.strictObject({
  limit: pageLimit(50),
  /** Position or id of the last job seen; jobs of other teams have only a position. */
  after: v.optional(v.pipe(v.string(), v.maxLength(100))),
  /** Only jobs of the actor's own organization. */
  mine: v.optional(v.picklist(["true", "false"])),
});

export const ShareChange = v.strictObject({
  weight: v.optional(v.pipe(v.number("must be a number"), v.minValue(0.1, "must be at least 0.1"), v.maxValue(1000))),
  max_gpus: v.optional(v.nullable(whole(0, 100_000))),
  gpu_hours_per_month: v.optional(v.nullable(v.pipe(v.number("must be a number"), v.minValue(0), v.maxValue(1e9)))),
  /** Burst policy of its jobs that have none; null = that of the installation. */
  burst: v.optional(v.nullable(Burst)),
  /** The team cannot change its burst policy itself. */
  burst_locked: v.optional(v.boolean()),
});
export type ShareChange = v.InferOutput<typeof ShareChange>;

/** Seconds since 1970, or null where unknown or not set. */
const moment = v.nullable(v.number());

const WAIT_CODES = [
  "held",
  "budget",
  "ending",
  "retry",
  "not_before",
  "window",
  "maintenance",
  "quota_gpus",
  "quota_gpus_never",
  "quota_hours",
  "capacity",
  "reserved",
  "hosts_away",
  "burst",
  "never",
] as const satisfies WaitCode[];

/** Why a job waits. `jobs` are those of the actor's organization that hold the capacity it waits for. */
export const WaitingFor = v.strictObject({
  code: v.picklist(WAIT_CODES),
  message: v.string(),
  until: moment,
  host: v.nullable(v.string()),
  jobs: v.array(v.string()),
});
export type WaitingFor = v.InferOutput<typeof WaitingFor>;

/** When a job should start. `why` explains a missing value. */
export const PredictedStart = v.strictObject({ earliest: moment, latest: moment, why: v.nullable(v.string()) });
export type PredictedStart = v.InferOutput<typeof PredictedStart>;

/** GPU-hours. `recent_gpu_hours` gives older usage less weight. */
export const TeamAnswer = v.strictObject({
  object: v.literal("team"),
  id: v.string(),
  name: v.string(),
  weight: v.number(),
  max_gpus: v.nullable(v.number()),
  gpu_hours_per_month: v.nullable(v.number()),
  /** Its own burst policy; null = that of the installation. */
  burst: v.nullable(Burst),
  /** The team cannot change it itself. */
  burst_locked: v.boolean(),
  gpus_now: v.number(),
  recent_gpu_hours: v.number(),
  gpu_hours_this_month: v.number(),
  running: v.number(),
  waiting: v.number(),
});
export type TeamAnswer = v.InferOutput<typeof TeamAnswer>;

export const ChangeTeamBurst = v.strictObject({
  /** Burst policy of its jobs that have none; null = that of the installation. */
  burst: v.nullable(Burst),
});
export type ChangeTeamBurst = v.InferOutput<typeof ChangeTeamBurst>;

/** The burst policy of the caller's own team. */
export const TeamBurst = v.strictObject({
  object: v.literal("team_burst"),
  /** Its own policy; null = that of the installation. */
  burst: v.nullable(Burst),
  installation: Burst,
  /** An administrator of the installation keeps the team from changing it. */
  locked: v.boolean(),
});
export type TeamBurst = v.InferOutput<typeof TeamBurst>;

/** `id`, `name` and `team` are null for work of other teams, except for administrators. */
const work = {
  id: v.nullable(v.string()),
  name: v.nullable(v.string()),
  team: v.nullable(v.string()),
  kind: v.string(),
  priority: v.number(),
  gpus: v.number(),
};

export const QueueAnswer = v.strictObject({
  object: v.literal("queue"),
  hosts: v.array(
    v.strictObject({
      id: v.string(),
      name: v.string(),
      provider: v.string(),
      state: v.string(),
      gpus: v.number(),
      slots: v.nullable(v.number()),
    }),
  ),
  running: v.array(
    v.strictObject({
      ...work,
      host: v.nullable(v.string()),
      gpu_uuids: v.array(v.string()),
      since: moment,
      ends: v.strictObject({ earliest: moment, latest: moment }),
      yielding: v.boolean(),
      deadline: moment,
      late: v.boolean(),
    }),
  ),
  data: v.array(
    v.strictObject({
      ...work,
      position: v.number(),
      queued_at: moment,
      waiting_for: v.nullable(WaitingFor),
      predicted_start: PredictedStart,
      not_before: moment,
      deadline: moment,
      late: v.boolean(),
      /** Its own burst policy; null = as its team does. */
      burst: v.nullable(Burst),
      window: v.nullable(
        v.strictObject({
          from: v.string(),
          until: v.string(),
          tz: v.string(),
          days: v.optional(v.array(v.number())),
        }),
      ),
    }),
  ),
  has_more: v.boolean(),
  total: v.number(),
  /** Maintenance windows that run or are scheduled. */
  maintenance: v.array(MaintenanceView),
  teams: v.array(TeamAnswer),
});
export type QueueAnswer = v.InferOutput<typeof QueueAnswer>;
