/** Page routes of the terms: the documents, and accepting them. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { acceptTerms, pendingFor } from "../../../src/accounts/terms/acceptance.ts";
import { type DocumentName, pathOf, versionView } from "../../../src/accounts/terms/model.ts";
import { publishedVersions, readVersion, withTexts } from "../../../src/accounts/terms/versions.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect, safePath } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { whole } from "../../../src/lib/request-fields.ts";
import { AcceptPage, DocumentPage } from "./document.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const VersionQuery = v.object({ version: v.optional(whole(1, 1_000_000)) });
const NextQuery = v.object({ next: text(2000) });
const Form = v.object({ next: text(2000), versions: text(1000), accept_terms: text(10), adult: text(10) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function showDocument(ctx: Ctx, { request, actor }: Visit, document: DocumentName, number?: number) {
  const row = await readVersion(ctx, document, number);
  if (!row) throw new AppError("not_found", "terms_not_found", "This installation has published no such document.");
  const others = (await publishedVersions(ctx)).filter((one) => one.document === document && one.id !== row.id);
  const props = {
    shown: versionView(row),
    others: others.map((one) => ({
      version: one.number,
      effective_at: Math.floor(one.effectiveAt / 1000),
      path: pathOf(document, one.number),
    })),
  };
  return html(pageOf(ctx, request, actor), <DocumentPage {...props} />);
}

async function showAccept(ctx: Ctx, { request, actor }: Visit, to: string, error?: AppError) {
  const next = safePath(to);
  const { due, upcoming, adultNeeded } = await pendingFor(ctx, actor.userId);
  if (due.length + upcoming.length === 0) return redirect(request, next);
  const props = {
    due: (await withTexts(ctx, due)).map(versionView),
    upcoming: (await withTexts(ctx, upcoming)).map(versionView),
    adultNeeded,
    next,
  };
  return html(pageOf(ctx, request, actor), <AcceptPage {...props} error={error?.message} />, {
    status: error ? ERROR_TABLE[error.kind].status : 200,
  });
}

async function accept(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof Form>) {
  try {
    if (body.accept_terms !== "yes")
      throw new AppError("invalid", "accept_needed", "Check the box to accept, or sign out.");
    const versions = body.versions.split(",").filter(Boolean);
    await acceptTerms(ctx, visit.actor, { versions, adult: body.adult === "yes" }, "page");
    return redirect(visit.request, safePath(body.next), "Accepted. It is recorded.");
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "forbidden") throw error;
    return showAccept(ctx, visit, body.next, error);
  }
}

export const termsPages = (ctx: Ctx) =>
  new Elysia({ name: "terms.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/terms", (visit) => showDocument(ctx, visit, "terms", visit.query.version), { query: VersionQuery })
    .get("/privacy", (visit) => showDocument(ctx, visit, "privacy", visit.query.version), { query: VersionQuery })
    .get("/acceptable-use", (visit) => showDocument(ctx, visit, "acceptable-use", visit.query.version), {
      query: VersionQuery,
    })
    .get("/accept-terms", (visit) => showAccept(ctx, visit, visit.query.next), { query: NextQuery })
    .post("/accept-terms", (visit) => accept(ctx, visit, visit.body), { body: Form });
