/** What the script of the sign-in pages, and of the page that asks for a proof, needs to ask for a passkey. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { askForPasskey } from "../../../src/accounts/factors/passkey-check.ts";
import { pendingSignIn } from "../../../src/accounts/factors/second-step.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";

const Ask = v.object({ purpose: v.picklist(["sign_in", "second_step", "prove"]) });

/** Whose passkey is asked for; null for a sign-in. */
async function ownerOf(ctx: Ctx, request: Request, actor: Actor, purpose: v.InferOutput<typeof Ask>["purpose"]) {
  if (purpose === "sign_in") return null;
  const userId = purpose === "prove" ? actor.userId : (await pendingSignIn(ctx, request.headers.get("cookie")))?.id;
  if (userId) return userId;
  throw new AppError("unauthenticated", "sign_in_expired", "The sign-in took too long. Start again.");
}

async function ask(ctx: Ctx, request: Request, actor: Actor, { purpose }: v.InferOutput<typeof Ask>) {
  const userId = await ownerOf(ctx, request, actor, purpose);
  const wanted = { purpose, userId, origin: new URL(request.url).origin };
  const { publicKey, state, cookies } = await askForPasskey(ctx, wanted, clientOf(request));
  const answer = Response.json({ publicKey, state });
  for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
  return answer;
}

export const passkeyOptions = (ctx: Ctx) =>
  new Elysia({ name: "auth.passkeys.options", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .post("/passkey/options", ({ request, actor, body }) => ask(ctx, request, actor, body), { body: Ask });
