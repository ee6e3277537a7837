/** Security events of accounts on the bus: notifications listen to them. */
import type { Ctx, Source } from "../../ctx.ts";
import type { SecurityKind } from "../../lib/bus.ts";

/** Reports after the commit what happened to an account, and from where. */
export function announceSecurity(
  ctx: Ctx,
  account: { userId: string; org: string },
  kind: SecurityKind,
  source?: Source,
  detail?: string,
): void {
  ctx.bus.emit("security.event", {
    org: account.org,
    userId: account.userId,
    kind,
    ip: source?.address ?? null,
    userAgent: source?.userAgent ?? null,
    at: ctx.clock.now(),
    ...(detail === undefined ? {} : { detail }),
  });
}
