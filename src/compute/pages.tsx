/** The hosts page: machines, their slots, and the queue. */
import { Elysia } from "elysia";
import { HostsBody, HostsPage, type HostsProps, type WorkItem } from "../../views/pages/hosts/page.tsx";
import type { Actor, Ctx } from "../ctx.ts";
import { html, pageOf } from "../http/html.ts";
import { session } from "../http/session.ts";
import type { JobRow } from "../jobs/model.ts";
import { listJobs } from "../jobs/service.ts";
import { listHosts } from "./service.ts";

const MAX = 100;
const number = (value: unknown) => (typeof value === "number" ? value : null);

const item = (row: JobRow): WorkItem => ({
  id: row.id,
  name: row.name,
  kind: row.kind,
  state: row.state,
  queuedAt: row.queuedAt,
  startedAt: row.startedAt,
  fraction: row.kind === "serve" ? null : number(row.progress.fraction),
  etaS: number(row.progress.eta_s),
});

async function propsOf(ctx: Ctx, actor: Actor): Promise<HostsProps> {
  const of = (state: JobRow["state"][]) => listJobs(ctx, actor, { state, limit: MAX });
  const waiting = await of(["queued"]);
  return {
    hosts: await listHosts(ctx, actor),
    running: (await of(["starting", "running", "pausing", "stopping"])).map(item),
    waiting: waiting.sort((a, b) => b.priority - a.priority || (a.queuedAt ?? 0) - (b.queuedAt ?? 0)).map(item),
  };
}

export const computePages = (ctx: Ctx) =>
  new Elysia({ name: "compute.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/hosts", async ({ request, actor }) => {
      const of = await propsOf(ctx, actor);
      return html(pageOf(ctx, request, actor), <HostsPage {...of} />, {
        fragments: { hosts: () => <HostsBody {...of} /> },
      });
    });
