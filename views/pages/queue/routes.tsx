/** Pages of the queue: the timeline with what waits and why, one job's place, and one team's share. */

import { Elysia } from "elysia";
import * as v from "valibot";
import { isFinal } from "../../../src/contract/job.ts";
import { type Actor, type Ctx, requireAdmin } from "../../../src/ctx.ts";
import { AppError, notFound } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { QueueQuery } from "../../../src/training/queue/model.ts";
import { changeQueued, placedJob } from "../../../src/training/queue/placement.ts";
import { queueFacts, setShare, viewQueue } from "../../../src/training/queue/service.ts";
import { PlaceBody, placeForm, placeRequest, ShareBody, shareForm, shareRequest } from "./form.ts";
import { QueueBody, QueuePage, type QueueProps } from "./page.tsx";
import { PlacePage, TeamPage } from "./place.tsx";

const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
/** As in the API; an empty filter is none. */
const Query = v.object({ ...QueueQuery.entries, mine: v.optional(v.picklist(["true", "false", ""])) });

export const queuePages = (ctx: Ctx) => {
  const queueProps = async (actor: Actor, query: v.InferOutput<typeof Query>): Promise<QueueProps> => ({
    view: await viewQueue(ctx, actor, { limit: query.limit, after: query.after, mine: query.mine === "true" }),
    admin: actor.role === "admin",
  });

  const placeProps = async (actor: Actor, id: string) => {
    const job = await placedJob(ctx, actor, id);
    const waiting = await queueFacts(ctx, actor, job);
    return { job, waiting, own: job.org === actor.org, admin: actor.role === "admin" };
  };

  const teamOf = async (actor: Actor, id: string) => {
    requireAdmin(actor);
    const { teams } = await viewQueue(ctx, actor, { limit: 1 });
    const team = teams.find((one) => one.id === id);
    if (!team) throw notFound("organization", id);
    return team;
  };

  return new Elysia({ name: "queue.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/queue",
      async ({ request, actor, query }) => {
        const of = await queueProps(actor, query);
        return html(pageOf(ctx, request, actor), <QueuePage {...of} />, {
          fragments: { queue: () => <QueueBody {...of} /> },
        });
      },
      { query: Query },
    )
    .get(
      "/queue/:id",
      async ({ request, actor, params }) => {
        const props = await placeProps(actor, params.id);
        const { job, own } = props;
        if (isFinal(job.state))
          return redirect(request, own ? `/jobs/${job.id}` : "/queue", "It has ended: it has no place in the queue.");
        return html(pageOf(ctx, request, actor), <PlacePage {...props} form={placeForm(job)} problems={{}} />);
      },
      { params: Id },
    )
    .post(
      "/queue/:id",
      async ({ request, actor, params, body }) => {
        const again = async (problems: Record<string, string>) => {
          const props = await placeProps(actor, params.id);
          return html(pageOf(ctx, request, actor), <PlacePage {...props} form={body} problems={problems} />, {
            status: 422,
          });
        };
        const read = placeRequest(body, placeForm(await placedJob(ctx, actor, params.id)));
        if ("problems" in read) return again(read.problems);
        if (!read.change) return redirect(request, "/queue", "Nothing was changed.");
        try {
          await changeQueued(ctx, actor, params.id, read.change);
        } catch (error) {
          if (!(error instanceof AppError) || !error.param) throw error;
          return again({ [error.param]: error.message });
        }
        return redirect(request, "/queue", "Saved. The queue is ordered anew.");
      },
      { params: Id, body: PlaceBody },
    )
    .get(
      "/admin/teams/:id",
      async ({ request, actor, params }) => {
        const team = await teamOf(actor, params.id);
        const props = { team, form: shareForm(team), problems: {} };
        return html(pageOf(ctx, request, actor), <TeamPage {...props} />);
      },
      { params: Id },
    )
    .post(
      "/admin/teams/:id",
      async ({ request, actor, params, body }) => {
        const read = shareRequest(body);
        if ("problems" in read) {
          const props = { team: await teamOf(actor, params.id), form: body, problems: read.problems };
          return html(pageOf(ctx, request, actor), <TeamPage {...props} />, { status: 422 });
        }
        await setShare(ctx, actor, params.id, read.change);
        return redirect(request, "/queue", "Saved. The queue is ordered anew.");
      },
      { params: Id, body: ShareBody },
    );
};
