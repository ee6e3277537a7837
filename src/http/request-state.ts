/** What the gate found out about a request, kept beside it for the plugins that run later. */
import type { Actor } from "../ctx.ts";
import type { Access } from "./access.ts";

export interface RequestState {
  id: string;
  /** Monotonic milliseconds at arrival. */
  startedAt: number;
  /** Who asks; null = no valid credentials, or a trainer's request or an asset, where nobody is looked for. */
  actor: Actor | null;
  /** The access the gate decided by; a route that needs another is refused. */
  access: Access;
  /** Browsers reach this server over https: its cookies say so. */
  secure: boolean;
}

const states = new WeakMap<Request, RequestState>();

export function setRequestState(request: Request, state: RequestState): void {
  states.set(request, state);
}

export function requestState(request: Request): RequestState | undefined {
  return states.get(request);
}
