/** Appeals of owners against decisions, which open a case again. */
import { eq } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { moderationCase } from "../db/schema/moderation.ts";
import { AppError } from "../errors.ts";
import { requireOwner } from "../roles.ts";
import { addEntry, findCase, ownCase } from "./cases.ts";
import type { AppealCase, CaseRow } from "./model.ts";
import { entersQueue } from "./review-notices.ts";

/** Appeals about one case: further ones only repeat what was read. */
const MAX_APPEALS = 3;

/**
 * Appeals against a decision, as the owner of the object or who manages the organization.
 * @throws AppError `moderation_decision_not_found`, `nothing_to_appeal`, `appeal_exists`, `too_many_appeals`
 */
export async function appeal(ctx: Ctx, actor: Actor, id: string, { text }: AppealCase): Promise<CaseRow> {
  const { row: before } = await ownCase(ctx, actor, id);
  requireOwner(actor, before.ownerId);
  await ctx.write(async (tx) => {
    const { row, entries } = await ownCase({ ...ctx, db: tx }, actor, id);
    if (row.state === "appealed")
      throw new AppError("conflict", "appeal_exists", "There is an appeal already. A reviewer will read it.");
    if (row.state !== "decided" || row.decision === "approve")
      throw new AppError("conflict", "nothing_to_appeal", "There is no decision to appeal against.");
    if (entries.filter(({ kind }) => kind === "appeal").length >= MAX_APPEALS)
      throw new AppError("conflict", "too_many_appeals", `A decision can be appealed ${MAX_APPEALS} times.`);
    await addEntry(tx, ctx, actor, { caseId: id, kind: "appeal", value: null, text });
    await tx.update(moderationCase).set({ state: "appealed" }).where(eq(moderationCase.id, id));
    await entersQueue(tx);
    await audit(tx, ctx, actor, "moderation_case.appeal", id, { subject: row.subject });
  });
  ctx.bus.emit("moderation.changed", { org: actor.org });
  return findCase(ctx.db, id);
}
