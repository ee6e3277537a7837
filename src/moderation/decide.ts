/** Decides cases: a proposal where a second reviewer is required, then the decision with what follows from it. */
import { and, desc, eq } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { moderationSettings } from "../accounts/restrictions/requests.ts";
import { forgetRestrictions, lift, modelInOrg, restrict } from "../accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { moderationCase, moderationEntry, restriction } from "../db/schema/moderation.ts";
import type { Db } from "../db/types.ts";
import { AppError } from "../errors.ts";
import { type BusMessage, emitAll } from "../lib/bus.ts";
import { recordEvent } from "../notices/events/store.ts";
import { requirePermission } from "../roles.ts";
import { stopDeploymentsOf } from "../serving/deployments/service.ts";
import { addEntry, findCase } from "./cases.ts";
import type { CaseRow, DecideCase, Decision } from "./model.ts";
import { erase } from "./removal.ts";
import { entersQueue } from "./review-notices.ts";
import { carryOutSuspension, endSuspension } from "./suspension.ts";

/** What a notice says was decided. */
const OUTCOMES: Record<Decision, string> = {
  approve: "was approved",
  restrict: "is restricted",
  remove: "is removed",
  warn: "stays, with a warning",
  suspend_user: "led to the suspension of your account",
  suspend_organization: "led to the suspension of your team",
};

const FOLLOWS: Record<Decision, string> = {
  approve: "It can be used.",
  restrict: "It stays where it is, but it cannot be trained on or deployed.",
  remove: "Its content is erased.",
  warn: "It can be used. Repeated violations can lead to a suspension.",
  suspend_user: "It cannot be used either.",
  suspend_organization: "It cannot be used either.",
};

/** The newest entry of a kind in the history of a case. */
async function newest(tx: Db, caseId: string, kind: "proposal" | "decision") {
  const [row] = await tx
    .select()
    .from(moderationEntry)
    .where(and(eq(moderationEntry.caseId, caseId), eq(moderationEntry.kind, kind)))
    .orderBy(desc(moderationEntry.createdAt), desc(moderationEntry.id))
    .limit(1);
  return row ?? null;
}

/** What a decision about a case restricts: a deployment stands for its model in its organization. */
const restrictedSubject = (row: CaseRow): string =>
  row.object === "deployment" ? modelInOrg(row.org, row.subject) : row.subject;

/** Throws where the actor may not decide. @throws AppError `own_case`, `case_decided`, `second_reviewer_needed` */
async function requireReviewer(tx: Db, actor: Actor, row: CaseRow, two: boolean): Promise<void> {
  if (row.ownerId === actor.userId)
    throw new AppError("forbidden", "own_case", "This is about something of your own. Another reviewer has to decide.");
  if (row.state === "decided")
    throw new AppError("conflict", "case_decided", "This case is decided. Its owner can appeal, which opens it again.");
  const other = "Another reviewer has to decide.";
  const decided = row.state === "appealed" && two ? await newest(tx, row.id, "decision") : null;
  if (decided?.userId === actor.userId)
    throw new AppError("forbidden", "second_reviewer_needed", `The appeal is against your own decision. ${other}`);
}

/** Changes what may be used, in the transaction of the decision. */
async function apply(tx: Db, ctx: Ctx, row: CaseRow, decision: Decision, reason: string): Promise<void> {
  const subject = restrictedSubject(row);
  if (decision === "approve" || decision === "warn") {
    await lift(tx, subject);
    // After an appeal: the tombstone of something removed, whose content may be uploaded again.
    await tx.delete(restriction).where(eq(restriction.caseId, row.id));
    return;
  }
  const { org, object, name, hash, id } = row;
  await restrict(tx, ctx, { subject, org, object, kind: "restricted", name, hash, reason, caseId: id });
}

function notice(tx: Db, ctx: Ctx, row: CaseRow, decision: Decision, reason: string): Promise<BusMessage> {
  return recordEvent(tx, ctx, {
    org: row.org,
    type: "moderation.decided",
    subject: row.subject,
    userId: row.ownerId,
    title: `${row.name} ${OUTCOMES[decision]}`,
    body: `Reason: ${reason}\n${FOLLOWS[decision]} You can appeal on the page of this decision.`,
    path: `/moderation/${row.id}`,
  });
}

/** Stores a proposal of the first reviewer. */
async function propose(tx: Db, ctx: Ctx, actor: Actor, row: CaseRow, given: DecideCase): Promise<void> {
  await addEntry(tx, ctx, actor, { caseId: row.id, kind: "proposal", value: given.decision, text: given.reason });
  await tx.update(moderationCase).set({ state: "second_review" }).where(eq(moderationCase.id, row.id));
  await entersQueue(tx);
  await audit(tx, ctx, { ...actor, org: row.org }, "moderation_case.propose", row.id, { ...given });
}

/**
 * Decides a case, proposes a decision where two reviewers have to agree, or confirms the proposal of another one.
 * @throws AppError `moderation_case_not_found`, `own_case`, `case_decided`, `second_reviewer_needed`
 */
export async function decideCase(ctx: Ctx, actor: Actor, id: string, given: DecideCase): Promise<CaseRow> {
  requirePermission(actor, "review");
  const { decision, reason } = given;
  const { second_reviewer: two } = await moderationSettings(ctx);
  const before = await findCase(ctx.db, id);
  const proposed = two && before.state === "second_review" ? await newest(ctx.db, id, "proposal") : null;
  const confirms = proposed?.value === decision;
  await requireReviewer(ctx.db, actor, before, two);
  if (confirms && proposed.userId === actor.userId)
    throw new AppError("forbidden", "second_reviewer_needed", "You proposed this. Another reviewer has to confirm it.");
  const final = !two || confirms;
  // First: where an account cannot be suspended, nothing is decided.
  if (final) await carryOutSuspension(ctx, actor, before, decision, reason);
  const outcome = await ctx.write(async (tx) => {
    const row = await findCase(tx, id);
    await requireReviewer(tx, actor, row, two);
    if (!final) {
      await propose(tx, ctx, actor, row, given);
      return { row, messages: [] };
    }
    await apply(tx, ctx, row, decision, reason);
    const erasing = decision === "remove";
    const next = { state: "decided", decision, reason, decidedAt: ctx.clock.now(), erasing } as const;
    await tx.update(moderationCase).set(next).where(eq(moderationCase.id, id));
    await addEntry(tx, ctx, actor, { caseId: id, kind: "decision", value: decision, text: reason });
    await audit(tx, ctx, { ...actor, org: row.org }, "moderation_case.decide", id, {
      decision,
      reason,
      subject: row.subject,
      hash: row.hash,
      ...(proposed ? { proposed_by: proposed.userId } : {}),
    });
    return { row, messages: [await notice(tx, ctx, row, decision, reason)] };
  });
  await forgetRestrictions(ctx);
  emitAll(ctx.bus, outcome.messages);
  if (final) await follow(ctx, actor, outcome.row, decision);
  ctx.bus.emit("moderation.changed", { org: outcome.row.org });
  return findCase(ctx.db, id);
}

/** What follows outside the transaction: stops endpoints, erases, lifts an earlier suspension. */
async function follow(ctx: Ctx, actor: Actor, row: CaseRow, decision: Decision): Promise<void> {
  if (row.decision === "suspend_user" || row.decision === "suspend_organization")
    if (row.decision !== decision) await endSuspension(ctx, actor, row);
  const bars = decision !== "approve" && decision !== "warn";
  if (bars && row.object !== "dataset_version")
    await stopDeploymentsOf(ctx, row.subject, row.object === "deployment" ? row.org : null);
  if (decision === "remove") await erase(ctx, row);
  if (row.datasetId) ctx.bus.emit("dataset.changed", { org: row.org, datasetId: row.datasetId, versionId: null });
}
