/** JSON API of maintenance windows: what is planned, and for administrators scheduling, changing and ending it. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { id } from "../lib/request-fields.ts";
import { plannedMaintenance } from "../notices/maintenance/current.ts";
import {
  ChangeMaintenance,
  type MaintenanceRow,
  MaintenanceView,
  maintenanceView,
  ScheduleMaintenance,
} from "../notices/maintenance/model.ts";
import {
  cancelMaintenance,
  changeMaintenance,
  endMaintenance,
  listMaintenance,
  scheduleMaintenance,
} from "../notices/maintenance/service.ts";

const Id = v.strictObject({ id });
const tags = ["Announcements"];
const admin = ["Administration"];
const MAX_PLANNED = 1000;

const view = async (ctx: Ctx, row: Promise<MaintenanceRow>) => maintenanceView(await row, ctx.clock.now());

async function plannedRoute(ctx: Ctx) {
  const now = ctx.clock.now();
  return pageOf(
    (await plannedMaintenance(ctx)).map((row) => maintenanceView(row, now)),
    MAX_PLANNED,
  );
}

async function listRoute(ctx: Ctx, actor: Actor, query: PageQuery) {
  const rows = await listMaintenance(ctx, actor, { ...query, limit: query.limit + 1 });
  const now = ctx.clock.now();
  return pageOf(
    rows.map((row) => maintenanceView(row, now)),
    query.limit,
  );
}

export const maintenanceApi = (ctx: Ctx) =>
  new Elysia({ name: "maintenance.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/maintenance", () => plannedRoute(ctx), {
      detail: {
        tags,
        summary: "List maintenance windows that run or are scheduled, the next one first",
        responses: answers(listOf(MaintenanceView)),
      },
    })
    .get("/admin/maintenance", ({ actor, query }) => listRoute(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags: admin,
        summary: "List every maintenance window, newest first",
        responses: answers(listOf(MaintenanceView)),
      },
    })
    .post("/admin/maintenance", ({ actor, body }) => view(ctx, scheduleMaintenance(ctx, actor, body)), {
      body: ScheduleMaintenance,
      detail: {
        tags: admin,
        summary: "Schedule maintenance: no job starts that cannot end before it, and running trainings save and wait",
        responses: answers(MaintenanceView),
      },
    })
    .post(
      "/admin/maintenance/:id",
      ({ actor, params, body }) => view(ctx, changeMaintenance(ctx, actor, params.id, body)),
      {
        params: Id,
        body: ChangeMaintenance,
        detail: {
          tags: admin,
          summary: "Change a maintenance window that has not ended; fields that are not given stay",
          responses: answers(MaintenanceView),
        },
      },
    )
    .post("/admin/maintenance/:id/cancel", ({ actor, params }) => view(ctx, cancelMaintenance(ctx, actor, params.id)), {
      params: Id,
      detail: {
        tags: admin,
        summary: "Cancel a maintenance window before it starts",
        responses: answers(MaintenanceView),
      },
    })
    .post("/admin/maintenance/:id/end", ({ actor, params }) => view(ctx, endMaintenance(ctx, actor, params.id)), {
      params: Id,
      detail: {
        tags: admin,
        summary: "End a maintenance window that runs: jobs and endpoints resume",
        responses: answers(MaintenanceView),
      },
    });
