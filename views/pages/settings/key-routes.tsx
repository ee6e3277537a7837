/** Page routes of one API key: restrictions, rotation, revocation. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { changeKey, endOverlap, getKey, maySeeSecret, rotateKey } from "../../../src/accounts/api-keys/changes.ts";
import { keyView, RotateKey } from "../../../src/accounts/api-keys/model.ts";
import { revokeKey } from "../../../src/accounts/api-keys/service.ts";
import { listBudgets } from "../../../src/billing/budgets/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { checkModelNames } from "../../../src/models/tuned/allowed.ts";
import { KeyPage, type KeyProps } from "./key.tsx";
import { RESTRICTION_TEXTS, readKeyName, readRestrictions } from "./key-form.ts";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const ChangeForm = v.object({ name: text(300), ...RESTRICTION_TEXTS });
const RotateForm = v.object({ overlap: text(10) });

interface Visit {
  request: Request;
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

async function show(ctx: Ctx, { request, actor, params }: Visit, more: Partial<KeyProps> = {}, status = 200) {
  const page = pageOf(ctx, request, actor);
  const row = await getKey(ctx, actor, params.id);
  const props: KeyProps = {
    row: keyView(row, ctx.clock.now()),
    own: maySeeSecret(actor, row),
    budgets: (await listBudgets(ctx, actor, { scope: "key", scope_id: row.id, limit: 10 })).slice(0, 10),
    baseUrl: ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin,
    parent:
      row.owner.kind === "service"
        ? { label: row.owner.name, href: `/team/service-accounts/${row.userId}` }
        : { label: "API keys", href: "/settings#keys" },
    ...more,
  };
  return html(page, <KeyPage {...props} />, { status });
}

/** Runs a change, and shows the page again with the reason when it was refused. */
async function attempt(ctx: Ctx, visit: Visit, change: () => Promise<Response>, typed?: KeyProps["typed"]) {
  try {
    return await change();
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return show(ctx, visit, { error: error.message, typed }, ERROR_TABLE[error.kind].status);
  }
}

const change = (ctx: Ctx, visit: Visit, body: v.InferOutput<typeof ChangeForm>) =>
  attempt(
    ctx,
    visit,
    async () => {
      const { request, actor, params } = visit;
      const restrictions = readRestrictions(body);
      await checkModelNames(ctx, actor, restrictions.allowedModels);
      await changeKey(ctx, actor, params.id, { name: readKeyName(body.name), restrictions });
      return redirect(request, `/settings/keys/${params.id}`, "Saved.");
    },
    body,
  );

const rotate = (ctx: Ctx, visit: Visit, { overlap }: v.InferOutput<typeof RotateForm>) =>
  attempt(ctx, visit, async () => {
    const asked = v.safeParse(RotateKey, { overlap_seconds: overlap === "" ? Number.NaN : Number(overlap) });
    if (!asked.success) throw new AppError("invalid", "invalid_value", "Choose how long the old secret works.");
    const { key } = await rotateKey(ctx, visit.actor, visit.params.id, asked.output.overlap_seconds * 1000);
    // Shown in this answer and not after a redirect: the secret must not travel in a cookie or an address.
    return show(ctx, visit, { rotated: key });
  });

const end = (ctx: Ctx, visit: Visit) =>
  attempt(ctx, visit, async () => {
    await endOverlap(ctx, visit.actor, visit.params.id);
    return redirect(visit.request, `/settings/keys/${visit.params.id}`, "The old secret has ended.");
  });

async function revoke(ctx: Ctx, { request, actor, params }: Visit) {
  await revokeKey(ctx, actor, params.id);
  return redirect(request, "/settings", "The key is revoked.");
}

export const keyPages = (ctx: Ctx) =>
  new Elysia({ name: "auth.key.pages", prefix: "/settings/keys/:id", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit), { params: Id })
    .post("", (visit) => change(ctx, visit, visit.body), { params: Id, body: ChangeForm })
    .post("/rotate", (visit) => rotate(ctx, visit, visit.body), { params: Id, body: RotateForm })
    .post("/end-overlap", (visit) => end(ctx, visit), { params: Id })
    .post("/revoke", (visit) => revoke(ctx, visit), { params: Id });
