/** Routes of the queue: what runs, what waits, the options of a job, shares of teams, and the policy of a team. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { notFound } from "../errors.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { seconds } from "../lib/request-fields.ts";
import { maintenanceView } from "../notices/maintenance/model.ts";
import { JobView, jobView } from "../training/jobs/model.ts";
import { QueueChange } from "../training/jobs/placement-model.ts";
import {
  ChangeTeamBurst,
  type PredictedStart,
  QueueAnswer,
  QueueQuery,
  ShareChange,
  TeamAnswer,
  TeamBurst,
  type WaitingFor,
} from "../training/queue/model.ts";
import { changeQueued } from "../training/queue/placement.ts";
import { type QueueView, type StartRange, viewQueue, type WaitView } from "../training/queue/service.ts";
import { readTeamBurst, setShare, setTeamBurst, type TeamView } from "../training/queue/teams.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Queue"];

/** When a job should start, in seconds since 1970. */
export const startView = ({ earliest, latest, why }: StartRange): PredictedStart => ({
  earliest: seconds(earliest),
  latest: seconds(latest),
  why,
});
/** Why a job waits. */
export const waitingView = (waiting: WaitView | null): WaitingFor | null =>
  waiting && { ...waiting, until: seconds(waiting.until) };

const teamView = (team: TeamView): TeamAnswer => ({
  object: "team",
  id: team.id,
  name: team.name,
  weight: team.weight,
  max_gpus: team.maxGpus,
  gpu_hours_per_month: team.monthGpuHours,
  burst: team.burst,
  burst_locked: team.burstLocked,
  gpus_now: team.gpusNow,
  recent_gpu_hours: team.used,
  gpu_hours_this_month: team.usedThisMonth,
  running: team.running,
  waiting: team.waiting,
});

function queueView(view: QueueView): QueueAnswer {
  return {
    object: "queue",
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
    maintenance: view.maintenance.map((row) => maintenanceView(row, view.now)),
    teams: view.teams.map(teamView),
  };
}

async function getQueue(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof QueueQuery>): Promise<QueueAnswer> {
  const { limit, after, mine } = query;
  return queueView(await viewQueue(ctx, actor, { limit, after, mine: mine === "true" }));
}

async function changeJob(ctx: Ctx, actor: Actor, id: string, change: QueueChange) {
  return jobView(await changeQueued(ctx, actor, id, change));
}

async function changeTeam(ctx: Ctx, actor: Actor, id: string, change: ShareChange): Promise<TeamAnswer> {
  await setShare(ctx, actor, id, change);
  const { teams } = await viewQueue(ctx, actor, { limit: 1 });
  const team = teams.find((one) => one.id === id);
  if (!team) throw notFound("organization", id);
  return teamView(team);
}

async function changeBurst(ctx: Ctx, actor: Actor, change: ChangeTeamBurst): Promise<TeamBurst> {
  await setTeamBurst(ctx, actor, change);
  return readTeamBurst(ctx, actor);
}

export const queueApi = (ctx: Ctx) =>
  new Elysia({ name: "queue.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/queue", ({ actor, query }) => getQueue(ctx, actor, query), {
      query: QueueQuery,
      detail: {
        tags,
        summary: "List running and waiting work with predicted starts",
        responses: answers(QueueAnswer),
      },
    })
    .post("/queue/:id", ({ actor, params, body }) => changeJob(ctx, actor, params.id, body), {
      params: Id,
      body: QueueChange,
      detail: {
        tags,
        summary: "Change the scheduling options of a job",
        responses: answers(JobView),
        description:
          "Priorities range from -100 to 100. Only administrators set priorities above 0; they may change jobs of any team.",
      },
    })
    .get("/organization/burst", ({ actor }) => readTeamBurst(ctx, actor), {
      detail: {
        tags: ["Organization"],
        summary: "The burst policy of your organization",
        responses: answers(TeamBurst),
      },
    })
    .post("/organization/burst", ({ actor, body }) => changeBurst(ctx, actor, body), {
      body: ChangeTeamBurst,
      detail: {
        tags: ["Organization"],
        summary: "Set the burst policy of jobs of your organization that have none; null = the installation's",
        responses: answers(TeamBurst),
      },
    })
    .post("/admin/teams/:id", ({ actor, params, body }) => changeTeam(ctx, actor, params.id, body), {
      params: Id,
      body: ShareChange,
      detail: {
        tags,
        summary: "Set the share weight and limits of a team (administrators)",
        responses: answers(TeamAnswer),
      },
    });
