/** JSON API of the status page: components, uptime and incidents; and for administrators, what the page shows. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { changeComponent, listComponents } from "../insights/status/components.ts";
import { deleteIncident, listIncidents, openIncident, updateIncident } from "../insights/status/incidents.ts";
import {
  AdminComponentView,
  ChangeComponent,
  IncidentView,
  OpenIncident,
  StatusView,
  UpdateIncident,
} from "../insights/status/model.ts";
import { readStatus, requireStatusPage } from "../insights/status/summary.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";

const tags = ["Status"];
const admin = ["Administration"];
const MAX_COMPONENTS = 100;

export const statusApi = (ctx: Ctx) =>
  new Elysia({ name: "status.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/status",
      ({ actor, set }) => {
        if (!actor.userId) set.headers["cache-control"] = "public, max-age=15";
        return readStatus(ctx, actor);
      },
      {
        detail: {
          tags,
          summary: "Components with their state, 90 days of history and uptime by month, and open incidents",
          responses: answers(StatusView),
        },
      },
    )
    .get(
      "/status/incidents",
      async ({ actor, query }) => {
        requireStatusPage(ctx, actor);
        return pageOf(await listIncidents(ctx, query), query.limit);
      },
      {
        query: PageQuery,
        detail: { tags, summary: "List incidents, newest first", responses: answers(listOf(IncidentView)) },
      },
    )
    .post("/admin/incidents", ({ actor, body }) => openIncident(ctx, actor, body), {
      body: OpenIncident,
      detail: { tags: admin, summary: "Open an incident on the status page", responses: answers(IncidentView) },
    })
    .post("/admin/incidents/:id/updates", ({ actor, params, body }) => updateIncident(ctx, actor, params.id, body), {
      body: UpdateIncident,
      detail: {
        tags: admin,
        summary: "Add an update to an incident, or resolve it",
        responses: answers(IncidentView),
      },
    })
    .delete(
      "/admin/incidents/:id",
      async ({ actor, params }) => {
        await deleteIncident(ctx, actor, params.id);
        return { object: "status_incident" as const, id: params.id, deleted: true as const };
      },
      {
        detail: {
          tags: admin,
          summary: "Delete an incident with its updates",
          responses: answers(deletedOf("status_incident")),
        },
      },
    )
    .get("/admin/status_components", async ({ actor }) => pageOf(await listComponents(ctx, actor), MAX_COMPONENTS), {
      detail: {
        tags: admin,
        summary: "List the components of the status page with their problems",
        responses: answers(listOf(AdminComponentView)),
      },
    })
    .post("/admin/status_components/:id", ({ actor, params, body }) => changeComponent(ctx, actor, params.id, body), {
      body: ChangeComponent,
      detail: {
        tags: admin,
        summary: "Name or hide a component of the status page",
        responses: answers(AdminComponentView),
      },
    });
