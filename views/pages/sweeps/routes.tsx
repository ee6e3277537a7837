/** Pages of sweeps: the list, a new one with its trials, and one with its curves and trials. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { parseJsonText } from "../../../src/lib/text/json.ts";
import { wellFormedJson } from "../../../src/lib/text/well-formed.ts";
import { getJob } from "../../../src/training/jobs/store.ts";
import { readSeries } from "../../../src/training/metrics/service.ts";
import type { SweepPlan, SweepView } from "../../../src/training/sweeps/model.ts";
import { planSweep } from "../../../src/training/sweeps/plan.ts";
import { byScore, cancelSweep, createSweep, getSweep, listSweeps } from "../../../src/training/sweeps/service.ts";
import { firstForm, formOf, requestOf, type SweepForm, SweepFormBody } from "./form.ts";
import { SweepList, SweepsPage } from "./list.tsx";
import { NewSweepFormView, NewSweepPage } from "./new.tsx";
import { SweepPage, SweepState } from "./show.tsx";

const PAGE = 25;
/** Curves drawn together: as many as there are colors. */
const CURVES = 6;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");

/** The curves of the best trials so far. */
async function curvesOf(ctx: Ctx, view: SweepView) {
  const begun = view.trials.filter((one) => one.job_id !== null).sort(byScore(view.direction));
  return Promise.all(
    begun.slice(0, CURVES).map(async (one) => ({
      trial: one,
      series: await readSeries(ctx, one.job_id ?? "", { keys: [view.metric, "train/loss"], maxPoints: 500 }),
    })),
  );
}

export const sweepsPages = (ctx: Ctx) => {
  /** The form with what it would do, or with what is wrong. */
  const planned = async (actor: Actor, form: SweepForm) => {
    const parsed = requestOf(form);
    if ("problems" in parsed) return { form, plan: null as SweepPlan | null, problems: parsed.problems };
    try {
      return { form, plan: await planSweep(ctx, actor, parsed.request), problems: {} };
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      const control = error.param === "metric" ? "metric" : "";
      return { form, plan: null, problems: { [control]: error.message } as Record<string, string> };
    }
  };
  const again = async (request: Request, actor: Actor, form: SweepForm, status: number) => {
    const props = await planned(actor, form);
    return html(pageOf(ctx, request, actor), <NewSweepPage {...props} />, {
      status: Object.keys(props.problems).length ? status : 200,
      fragments: { "sweep-form": () => <NewSweepFormView {...props} /> },
    });
  };
  return new Elysia({ name: "sweeps.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/sweeps",
      async ({ request, actor, query }) => {
        const of = listed(await listSweeps(ctx, actor, { after: query.after, search: query.q, limit: PAGE }), PAGE);
        return html(pageOf(ctx, request, actor), <SweepsPage {...of} />, {
          fragments: { sweeps: () => <SweepList {...of} /> },
        });
      },
      { query: v.object({ after: text(100), q: text(100) }) },
    )
    .get(
      "/sweeps/new",
      async ({ request, actor, query }) => {
        if (!query.training && !query.job) return redirect(request, "/jobs/new");
        const given = query.job
          ? (await getJob(ctx, actor, query.job)).request
          : parseJsonText(wellFormedJson(query.training));
        // What belongs to one job: its name, and the answers compared when it ends.
        const { name: _name, suffix: _suffix, evaluate_after: _after, ...training } = given as Record<string, unknown>;
        return again(request, actor, firstForm(training), 200);
      },
      {
        query: v.object({
          job: text(100),
          training: v.optional(
            v.pipe(
              v.string(),
              v.maxLength(20_000),
              v.check((value) => value === "" || isObject(value), "is no training request"),
            ),
            "",
          ),
        }),
      },
    )
    .post("/sweeps/plan", ({ request, actor, body }) => again(request, actor, formOf(body), 200), {
      body: SweepFormBody,
    })
    .post(
      "/sweeps",
      async ({ request, actor, body }) => {
        const form = formOf(body);
        const parsed = requestOf(form);
        if ("problems" in parsed) return again(request, actor, form, 422);
        try {
          const made = await createSweep(ctx, actor, parsed.request);
          return redirect(request, `/sweeps/${made.id}`, "Started. You can close this page; the sweep goes on.");
        } catch (error) {
          if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
          return again(request, actor, form, 422);
        }
      },
      { body: SweepFormBody },
    )
    .get(
      "/sweeps/:id",
      async ({ request, actor, params }) => {
        const view = await getSweep(ctx, actor, params.id);
        const props = { sweep: view, curves: await curvesOf(ctx, view) };
        return html(pageOf(ctx, request, actor), <SweepPage {...props} />, {
          fragments: { "sweep-state": () => <SweepState sweep={view} /> },
        });
      },
      { params: Id, query: v.object({ sort: text(40) }) },
    )
    .post(
      "/sweeps/:id/cancel",
      async ({ request, actor, params }) => {
        await cancelSweep(ctx, actor, params.id);
        return redirect(request, `/sweeps/${params.id}`, "Cancelled. What trials saved stays.");
      },
      { params: Id },
    );
};

function isObject(value: string): boolean {
  try {
    const parsed = parseJsonText(value);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
  } catch {
    return false;
  }
}
