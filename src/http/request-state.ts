/** What the gate found out about a request, kept beside it for the plugins that run later. */
import type { Actor } from "../ctx.ts";

export interface RequestState {
  id: string;
  /** Monotonic milliseconds at arrival. */
  startedAt: number;
  /** Who asks; null = no valid credentials. Undefined until looked up. */
  actor: Actor | null | undefined;
  /** The request as it came in; the one handlers see may be a copy with its body already read. */
  original: Request;
}

const states = new WeakMap<Request, RequestState>();

export function setRequestState(request: Request, state: RequestState): void {
  states.set(request, state);
}

export function requestState(request: Request): RequestState | undefined {
  return states.get(request);
}
