/** /v1/queue: who runs where, who waits for what, and the place of one job; /v1/admin/teams: what teams are due. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { jobView } from "../training/jobs/model.ts";
import { QueueChange } from "../training/jobs/placement-model.ts";
import { QueueQuery, ShareChange } from "../training/queue/model.ts";
import { changeQueued } from "../training/queue/placement.ts";
import {
  type QueueView,
  type StartRange,
  setShare,
  type TeamView,
  viewQueue,
  type WaitView,
} from "../training/queue/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Queue"];
const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

/** When a job should begin, in seconds since 1970. */
export const startView = ({ earliest, latest, why }: StartRange) => ({
  earliest: seconds(earliest),
  latest: seconds(latest),
  why,
});
/** What a job waits for. */
export const waitingView = (waiting: WaitView | null) => waiting && { ...waiting, until: seconds(waiting.until) };

const teamView = (team: TeamView) => ({
  object: "team" as const,
  id: team.id,
  name: team.name,
  weight: team.weight,
  max_gpus: team.maxGpus,
  gpu_hours_per_month: team.monthGpuHours,
  gpus_now: team.gpusNow,
  recent_gpu_hours: team.used,
  gpu_hours_this_month: team.usedThisMonth,
  running: team.running,
  waiting: team.waiting,
});

function queueView(view: QueueView) {
  return {
    object: "queue" as const,
    hosts: view.hosts.map(({ gpus, ask: _ask, ...host }) => ({ ...host, gpus: gpus.length })),
    running: view.running.map(({ uuids, since, ends, deadline, own: _own, ...work }) => ({
      ...work,
      deadline: seconds(deadline),
      gpu_uuids: uuids,
      since: seconds(since),
      ends: { earliest: seconds(ends.earliest), latest: seconds(ends.latest) },
    })),
    data: view.waiting.map(({ since, waiting, start, deadline, late, notBefore, own: _own, ...work }) => ({
      ...work,
      queued_at: seconds(since),
      waiting_for: waitingView(waiting),
      predicted_start: startView(start),
      not_before: seconds(notBefore),
      deadline: seconds(deadline),
      late,
    })),
    has_more: view.hasMore,
    total: view.total,
    teams: view.teams.map(teamView),
  };
}

export const queueApi = (ctx: Ctx) =>
  new Elysia({ name: "queue.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/queue",
      async ({ actor, query }) =>
        queueView(await viewQueue(ctx, actor, { limit: query.limit, after: query.after, mine: query.mine === "true" })),
      {
        query: QueueQuery,
        detail: { tags, summary: "What runs where, what waits for what, and when it should begin" },
      },
    )
    .post("/queue/:id", async ({ actor, params, body }) => jobView(await changeQueued(ctx, actor, params.id, body)), {
      params: Id,
      body: QueueChange,
      detail: {
        tags,
        summary: "Change a job's priority, earliest start, hours or deadline",
        description:
          "Priorities go from -100 to 100; above 0 they are given by administrators, who may change any team's jobs.",
      },
    })
    .post(
      "/admin/teams/:id",
      async ({ actor, params, body }) => {
        await setShare(ctx, actor, params.id, body);
        const { teams } = await viewQueue(ctx, actor, { limit: 1 });
        const team = teams.find((one) => one.id === params.id);
        return team ? teamView(team) : { object: "team" as const, id: params.id };
      },
      { params: Id, body: ShareChange, detail: { tags, summary: "Set a team's weight and quotas (administrators)" } },
    );
