/** Suspends the account or the organization that a decision names, and lifts it after an appeal. */
import { liftOrganization, liftUser, suspendOrganization, suspendUser } from "../accounts/suspension/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import type { CaseRow, Decision } from "./model.ts";

/** A reviewer may suspend by a decision, and in no other way. */
const empowered = (actor: Actor): Actor => ({ ...actor, role: "admin", scopes: null });

/** Carries out a suspension, where the decision is one. @throws AppError such as `last_admin` */
export async function carryOutSuspension(
  ctx: Ctx,
  actor: Actor,
  { ownerId, org }: CaseRow,
  decision: Decision,
  reason: string,
): Promise<void> {
  if (decision === "suspend_user") await suspendUser(ctx, empowered(actor), ownerId, { reason });
  if (decision === "suspend_organization") await suspendOrganization(ctx, empowered(actor), org, { reason });
}

/** Lifts the suspension that the earlier decision of a case led to. */
export async function endSuspension(ctx: Ctx, actor: Actor, { decision, ownerId, org }: CaseRow): Promise<void> {
  if (decision === "suspend_user") await liftUser(ctx, empowered(actor), ownerId);
  if (decision === "suspend_organization") await liftOrganization(ctx, empowered(actor), org);
}
