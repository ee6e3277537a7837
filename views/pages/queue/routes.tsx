/** Page routes of the queue: the timeline and its tables, and the scheduling options of a job. */

import { Elysia } from "elysia";
import * as v from "valibot";
import { isFinal } from "../../../src/contract/job.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { QueueQuery } from "../../../src/training/queue/model.ts";
import { changeQueued, placedJob } from "../../../src/training/queue/placement.ts";
import { queueFacts, viewQueue } from "../../../src/training/queue/service.ts";
import { PlaceBody, type PlaceForm, placeForm, placeRequest } from "./form.ts";
import { QueueBody, QueuePage } from "./page.tsx";
import { SchedulingPage } from "./place.tsx";

const SAVED = "Saved. The new order of the queue is in effect.";
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
/** As in the API, but an empty filter counts as no filter. */
const Query = v.object({ ...QueueQuery.entries, mine: v.optional(v.picklist(["true", "false", ""])) });

interface RequestContext {
  request: Request;
  actor: Actor;
}

async function queuePage(ctx: Ctx, { request, actor }: RequestContext, query: v.InferOutput<typeof Query>) {
  const { limit, after, mine } = query;
  const view = await viewQueue(ctx, actor, { limit, after, mine: mine === "true" });
  const props = { view, admin: actor.role === "admin" };
  return html(pageOf(ctx, request, actor), <QueuePage {...props} />, {
    fragments: { queue: () => <QueueBody {...props} /> },
  });
}

async function schedulingProps(ctx: Ctx, actor: Actor, id: string) {
  const job = await placedJob(ctx, actor, id);
  const waiting = await queueFacts(ctx, actor, job);
  return { job, waiting, own: job.org === actor.org, admin: actor.role === "admin" };
}

async function schedulingPage(ctx: Ctx, { request, actor }: RequestContext, id: string) {
  const props = await schedulingProps(ctx, actor, id);
  const { job, own } = props;
  if (isFinal(job.state))
    return redirect(request, own ? `/jobs/${job.id}` : "/queue", "The job has ended and is no longer in the queue.");
  return html(pageOf(ctx, request, actor), <SchedulingPage {...props} form={placeForm(job)} problems={{}} />);
}

/** The form again as typed, with messages beside its fields. */
async function schedulingProblems(
  ctx: Ctx,
  { request, actor }: RequestContext,
  id: string,
  form: PlaceForm,
  problems: Record<string, string>,
) {
  const props = await schedulingProps(ctx, actor, id);
  return html(pageOf(ctx, request, actor), <SchedulingPage {...props} form={form} problems={problems} />, {
    status: 422,
  });
}

async function saveScheduling(ctx: Ctx, context: RequestContext, id: string, form: PlaceForm) {
  const { request, actor } = context;
  const read = placeRequest(form, placeForm(await placedJob(ctx, actor, id)));
  if ("problems" in read) return schedulingProblems(ctx, context, id, form, read.problems);
  if (!read.change) return redirect(request, "/queue", "Nothing was changed.");
  try {
    await changeQueued(ctx, actor, id, read.change);
  } catch (error) {
    if (!(error instanceof AppError) || !error.param) throw error;
    return schedulingProblems(ctx, context, id, form, { [error.param]: error.message });
  }
  return redirect(request, "/queue", SAVED);
}

export const queuePages = (ctx: Ctx) =>
  new Elysia({ name: "queue.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/queue", (context) => queuePage(ctx, context, context.query), { query: Query })
    .get("/queue/:id", (context) => schedulingPage(ctx, context, context.params.id), { params: Id })
    .post("/queue/:id", (context) => saveScheduling(ctx, context, context.params.id, context.body), {
      params: Id,
      body: PlaceBody,
    });
