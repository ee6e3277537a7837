/** The trace of one completion request, and the usage row written from it. */
import type { AccessWatch } from "../../accounts/auth/revocation.ts";
import { take } from "../../accounts/keys/rates.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { cutText } from "../../lib/text/well-formed.ts";
import type { Serving } from "../deployments/model.ts";
import type { CompletionRequest } from "./request.ts";
import { recordUsage } from "./usage.ts";

/** Longest finish reason that is stored, in characters. */
const MAX_FINISH = 40;

/** Sees the answer to a request that asked to store it. */
export interface AnswerTap {
  /** An answer that is not streamed, before the client gets it. */
  whole(answer: Record<string, unknown>): Promise<void>;
  chunk(chunk: object): void;
  /** The stream ended as it should; a broken one is not reported. */
  ended(): void;
}

/** What sent a request on behalf of a user: a grader, or the grader of an evaluation. */
export type Purpose = "grade" | "evaluate";

/** One request: who sent it, when it arrived, and what has happened to it so far. */
export interface RequestTrace {
  actor: Actor;
  request: CompletionRequest;
  /** Id of the usage row; empty once the row is recorded. */
  id: string;
  /** Monotonic milliseconds. */
  startedAt: number;
  /** Milliseconds spent in this server so far, without waiting for engines. */
  busyMs: number;
  serving: Serving | null;
  access: AccessWatch;
  /** Null unless the answer is to be stored. */
  tap: AnswerTap | null;
  /** Id of the resolved model; empty until it is resolved. */
  model: string;
  /** Null for requests of clients. */
  purpose: Purpose | null;
  /** Tokens that were counted for the key before the answer is known. */
  reserved: number;
}

/** How a request ended. */
interface Outcome {
  /** HTTP status. */
  status: number;
  promptTokens?: number;
  completionTokens?: number;
  /** Milliseconds from arrival to the first content. */
  firstTokenMs?: number | null;
  finish: string | null;
}

/** Records the usage row of a request. Only the first call for a trace has an effect. */
export function recordOutcome(ctx: Ctx, trace: RequestTrace, outcome: Outcome): void {
  if (trace.id === "") return;
  const now = ctx.clock.monotonic();
  const totalMs = now - trace.startedAt;
  const used = (outcome.promptTokens ?? 0) + (outcome.completionTokens ?? 0);
  take(ctx, trace.actor, "tokens", now, used - trace.reserved);
  recordUsage(ctx, {
    id: trace.id,
    org: trace.actor.org,
    userId: trace.actor.userId,
    keyId: trace.actor.keyId,
    model: trace.model,
    deploymentId: trace.serving?.deploymentId ?? null,
    purpose: trace.purpose,
    at: ctx.clock.now(),
    status: outcome.status,
    streamed: trace.request.stream,
    promptTokens: outcome.promptTokens ?? 0,
    completionTokens: outcome.completionTokens ?? 0,
    firstTokenMs: outcome.firstTokenMs ?? null,
    totalMs,
    overheadMs: Math.max(0, trace.busyMs),
    finish: typeof outcome.finish === "string" ? cutText(outcome.finish, MAX_FINISH) : null,
  });
  trace.id = "";
}
