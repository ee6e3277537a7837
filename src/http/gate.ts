/** What every request passes before anything of it is read: its id, the headers of its answer, host, origin, who asks and whether that may be, body and rate limits. */
import { Elysia } from "elysia";
import { resolveActor } from "../auth/service.ts";
import type { Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { newId } from "../lib/ids.ts";
import { accessOf } from "./access.ts";
import { checkBody, rateLimiter } from "./limits.ts";
import { type RequestState, requestState, setRequestState } from "./request-state.ts";
import { foreignHost, foreignOrigin, hostCheck, isOwnOrigin, isSafeMethod, securityHeaders } from "./security.ts";
import { notSignedIn } from "./session.ts";

/** The path of a URL without its query; much cheaper than parsing the URL. */
export function pathOf(url: string): string {
  const start = url.indexOf("/", 8);
  const end = url.indexOf("?", start);
  return end === -1 ? url.slice(start) : url.slice(start, end);
}

export const gate = (ctx: Ctx) => {
  const headers = securityHeaders(ctx.config);
  const isOwnHost = hostCheck(ctx.config);
  const limiter = rateLimiter(ctx.config.requests_per_minute);

  return new Elysia({ name: "gate", seed: ctx.installation })
    .onRequest(async (context) => {
      const { request, set } = context;
      const state: RequestState = {
        id: newId("request"),
        startedAt: ctx.clock.monotonic(),
        actor: undefined,
        original: request,
      };
      setRequestState(request, state);
      Object.assign(set.headers, headers);
      set.headers["x-request-id"] = state.id;
      const { method } = request;
      const path = pathOf(request.url);

      // Trainers carry a token of their own and no cookie; over their Unix socket they have no host name either.
      const access = accessOf(method, path);
      const host = request.headers.get("host") ?? new URL(request.url).host;
      if (access !== "trainer") {
        if (!isOwnHost(host)) throw foreignHost();
        if (
          !isSafeMethod(method) &&
          !request.headers.has("authorization") &&
          !isOwnOrigin(request.headers, host, ctx.config)
        )
          throw foreignOrigin();
        if (!path.startsWith("/assets/")) {
          state.actor = await resolveActor(ctx, request);
          if (!state.actor && access !== "public") throw notSignedIn();
        }
      }
      if (limiter && state.actor?.keyId) {
        const turn = limiter(state.actor.keyId, ctx.clock.now());
        Object.assign(set.headers, turn.headers);
        if (!turn.allowed)
          throw new AppError(
            "rate_limited",
            "rate_limit_exceeded",
            `This key may make ${ctx.config.requests_per_minute} requests a minute. Wait a little and try again.`,
            { retryAfterS: turn.retryAfterS },
          );
      }
      if (!isSafeMethod(method)) {
        const checked = await checkBody(ctx.config, request, path);
        if (checked !== request) {
          setRequestState(checked, state);
          context.request = checked;
        }
      }
    })
    .onAfterHandle({ as: "global" }, ({ request, set }) => {
      const state = requestState(request);
      if (state) set.headers["openai-processing-ms"] = String(Math.round(ctx.clock.monotonic() - state.startedAt));
    });
};
