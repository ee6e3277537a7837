/**
 * JSON API of the terms: the documents, what the caller has to accept, and for administrators publishing and records.
 */
import { Elysia } from "elysia";
import * as v from "valibot";
import { acceptTerms, pendingFor } from "../accounts/terms/acceptance.ts";
import {
  AcceptanceExportQuery,
  AcceptanceQuery,
  AcceptanceView,
  AcceptTerms,
  acceptanceView,
  DocumentField,
  PendingView,
  PublishVersion,
  VersionView,
  versionView,
} from "../accounts/terms/model.ts";
import { exportAcceptances, listAcceptances } from "../accounts/terms/records.ts";
import {
  listVersions,
  publishedVersions,
  publishVersion,
  withdrawVersion,
  withTexts,
} from "../accounts/terms/versions.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { generated } from "../http/stored-file.ts";
import { listOf, pageOf } from "../lib/page.ts";

const tags = ["Terms"];
const admin = ["Administration"];
const MAX_VERSIONS = 500;

/** In force or scheduled: older versions are read by their number. */
async function listTermsRoute(ctx: Ctx) {
  const versions = await publishedVersions(ctx);
  const now = ctx.clock.now();
  const shown = versions.filter(
    (one) =>
      one.effectiveAt > now ||
      versions.findLast((other) => other.document === one.document && other.effectiveAt <= now) === one,
  );
  return pageOf((await withTexts(ctx, shown)).map(versionView), MAX_VERSIONS);
}

async function pendingRoute(ctx: Ctx, actor: Actor) {
  const { due, upcoming, adultNeeded } = await pendingFor(ctx, actor.userId);
  return {
    object: "terms_acceptance" as const,
    due: (await withTexts(ctx, due)).map(versionView),
    upcoming: (await withTexts(ctx, upcoming)).map(versionView),
    adult_needed: adultNeeded && due.length + upcoming.length > 0,
  };
}

async function acceptRoute(ctx: Ctx, actor: Actor, body: AcceptTerms) {
  await acceptTerms(ctx, actor, body, "api");
  return pendingRoute(ctx, actor);
}

async function listAcceptancesRoute(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof AcceptanceQuery>) {
  const rows = await listAcceptances(ctx, actor, { ...query, limit: query.limit + 1 });
  return pageOf(rows.map(acceptanceView), query.limit);
}

function exportRoute(ctx: Ctx, actor: Actor, { format, document }: v.InferOutput<typeof AcceptanceExportQuery>) {
  return generated(ctx, exportAcceptances(ctx, actor, format, document), "terms-acceptances", format);
}

const VersionQuery = v.strictObject({ document: v.optional(DocumentField) });

export const termsApi = (ctx: Ctx) =>
  new Elysia({ name: "terms.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/terms", () => listTermsRoute(ctx), {
      detail: {
        tags,
        summary: "The terms of this installation: versions in force and scheduled; no key is needed",
        responses: answers(listOf(VersionView)),
      },
    })
    .get("/terms/acceptance", ({ actor }) => pendingRoute(ctx, actor), {
      detail: { tags, summary: "What you have still to accept", responses: answers(PendingView) },
    })
    .post("/terms/acceptance", ({ actor, body }) => acceptRoute(ctx, actor, body), {
      body: AcceptTerms,
      detail: {
        tags,
        summary: "Accept versions of the terms; a person who is signed in, not a key",
        responses: answers(PendingView),
      },
    })
    .get(
      "/admin/terms",
      async ({ actor, query }) =>
        pageOf((await listVersions(ctx, actor, query.document)).map(versionView), MAX_VERSIONS),
      {
        query: VersionQuery,
        detail: {
          tags: admin,
          summary: "List every version of the terms, newest first",
          responses: answers(listOf(VersionView)),
        },
      },
    )
    .post("/admin/terms", async ({ actor, body }) => versionView(await publishVersion(ctx, actor, body)), {
      body: PublishVersion,
      detail: { tags: admin, summary: "Publish a version of a document", responses: answers(VersionView) },
    })
    .delete(
      "/admin/terms/:id",
      async ({ actor, params }) => versionView(await withdrawVersion(ctx, actor, params.id)),
      {
        detail: {
          tags: admin,
          summary: "Withdraw a version that is not in force yet",
          responses: answers(VersionView),
        },
      },
    )
    .get("/admin/terms/acceptances", ({ actor, query }) => listAcceptancesRoute(ctx, actor, query), {
      query: AcceptanceQuery,
      detail: {
        tags: admin,
        summary: "List who accepted which version, newest first",
        responses: answers(listOf(AcceptanceView)),
      },
    })
    .get("/admin/terms/acceptances/export", ({ actor, query }) => exportRoute(ctx, actor, query), {
      query: AcceptanceExportQuery,
      detail: {
        tags: admin,
        summary: "Download who accepted which version as CSV or JSON lines",
        responses: answersType("text/csv", "The acceptances, newest first."),
      },
    });
