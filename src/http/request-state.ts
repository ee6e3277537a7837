/** What the gate found out about a request, kept on the request for the plugins that run later. */

import type { Banner } from "../../views/context.ts";
import type { Client } from "../accounts/auth/sign-in.ts";
import type { Actor, Source } from "../ctx.ts";
import type { Access } from "./access.ts";

export interface RequestState {
  id: string;
  /** Monotonic milliseconds at arrival. */
  startedAt: number;
  /** Who sent it; null = no valid credentials, or a trainer's request or an asset, which are not looked up. */
  actor: Actor | null;
  source: Source;
  /** The access the gate checked; a route that needs another one refuses the request. */
  access: Access;
  /** Fields of a form that waits for a proof; see step-up.ts. */
  posted?: Record<string, string>;
  /** The person who is asked for a proof has a passkey that works at this address. */
  canUsePasskey?: boolean;
  /** Browsers reach this server over https: its cookies say so. */
  secure: boolean;
  /** What pages show above their content; see banners.ts. */
  banners?: Banner[];
}

const STATE = Symbol("request state");
type Marked = Request & { [STATE]?: RequestState };

export function setRequestState(request: Marked, state: RequestState): void {
  request[STATE] = state;
}

export function requestState(request: Marked): RequestState | undefined {
  return request[STATE];
}

/** The browser of a request, for signing in. */
export function clientOf(request: Request): Client {
  const source = requestState(request)?.source ?? { address: "local", userAgent: "" };
  return { ...source, cookies: request.headers.get("cookie") };
}
