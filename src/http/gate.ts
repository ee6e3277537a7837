/**
 * Elysia plugin that every request passes before its body is read: request id, security headers, host and origin
 * checks, authentication, access, rate limit, body limits.
 */
import { Elysia } from "elysia";
import { isHttps } from "../accounts/auth/better.ts";
import { resolveActor, sendsKey } from "../accounts/auth/service.ts";
import { requireKeyAddress } from "../accounts/keys/addresses.ts";
import type { Ctx } from "../ctx.ts";
import { newId } from "../lib/ids.ts";
import { accessOf } from "./access.ts";
import { hostOf, pathOf, requireDecodable } from "./address.ts";
import { bannersFor, showsPage } from "./banners.ts";
import { checkBody, readWhole } from "./body.ts";
import { crossOrigin } from "./cors.ts";
import { checkRates } from "./limits.ts";
import { peerReader } from "./peer.ts";
import { type RequestState, requestState, setRequestState } from "./request-state.ts";
import {
  foreignHost,
  foreignOrigin,
  hostCheck,
  isOwnOrigin,
  isSafeMethod,
  securityHeaders,
  takesForeignPost,
} from "./security.ts";
import { checkAccess, checkHold, checkTerms, checkTwoFactor } from "./session.ts";

export const gate = (ctx: Ctx) => {
  const headers = securityHeaders(ctx.config);
  const isOwnHost = hostCheck(ctx.config);
  const secure = isHttps(ctx);
  const crossOriginOf = crossOrigin(ctx.config);
  const addressOf = peerReader(ctx.config);

  return new Elysia({ name: "gate", seed: ctx.installation })
    .onRequest(async ({ request, set, server }) => {
      const { method } = request;
      const path = pathOf(request.url);
      const access = accessOf(method, path);
      const startedAt = ctx.clock.monotonic();
      const source = { address: addressOf(server, request), userAgent: request.headers.get("user-agent") ?? "" };
      const state: RequestState = { id: newId("request"), startedAt, source, actor: null, access, secure };
      setRequestState(request, state);
      Object.assign(set.headers, headers);
      set.headers["x-request-id"] = state.id;
      requireDecodable(path);

      const host = hostOf(request);
      // Trainers send their own token and no cookie, and over their Unix socket no host name.
      if (access !== "trainer") {
        if (!isOwnHost(host)) throw foreignHost();
        const cross = crossOriginOf(request, path);
        Object.assign(set.headers, cross?.headers);
        if (cross?.preflight) return cross.preflight;
        const withKey = sendsKey(request);
        const foreign = takesForeignPost(method, path);
        if (!isSafeMethod(method) && !withKey && !cross && !foreign && !isOwnOrigin(request.headers, host, ctx.config))
          throw foreignOrigin();
        // A cookie never counts on a page of another site.
        if (!path.startsWith("/assets/") && !foreign && access !== "scim" && (withKey || !cross)) {
          const actor = await resolveActor(ctx, request);
          state.actor = actor && { ...actor, source };
          if (actor?.limits) requireKeyAddress(actor, source.address);
        }
        checkAccess(access, state.actor);
        if (state.actor) checkHold(ctx, state.actor, access, path);
        if (access !== "public") {
          checkTwoFactor(state.actor, path, ctx.clock.now());
          // The organization accepted them with the people who manage its service accounts.
          if (state.actor && !state.actor.service) await checkTerms(ctx, state.actor, path);
        }
        if (showsPage(method, path)) state.banners = await bannersFor(ctx, state.actor);
      }
      if (state.actor?.keyId) checkRates(ctx, state.actor, access === "inference", startedAt, set.headers);
      if (!isSafeMethod(method)) checkBody(ctx.config, request, path);
    })
    .onParse({ as: "global" }, ({ request }) => readWhole(ctx.config, request, pathOf(request.url)))
    .onAfterHandle({ as: "global" }, ({ request, set }) => {
      const state = requestState(request);
      if (state) set.headers["openai-processing-ms"] = String(Math.round(ctx.clock.monotonic() - state.startedAt));
    });
};
