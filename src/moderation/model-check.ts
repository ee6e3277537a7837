/**
 * Checks a model before its first deployment: its engine starts, answers the fixed prompts to nobody else, and the
 * rules look at the answers.
 */
import { and, asc, eq, isNull, or, sql } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { forgetRestrictions, lift, restrict } from "../accounts/restrictions/service.ts";
import { type Ctx, systemActor } from "../ctx.ts";
import { deployment } from "../db/schema/deployments.ts";
import { model } from "../db/schema/models.ts";
import { moderationCheck } from "../db/schema/moderation.ts";
import type { Db } from "../db/types.ts";
import { AppError } from "../errors.ts";
import { type BusMessage, emitAll } from "../lib/bus.ts";
import { MODERATION_CATEGORIES } from "../lib/moderation.ts";
import { resolveModel } from "../models/tuned/service.ts";
import { stopDeploymentsOf } from "../serving/deployments/service.ts";
import { sendAs } from "../serving/gateway/ask.ts";
import { addEvent } from "../training/metrics/events.ts";
import { applyToAnswers } from "./answers.ts";
import { type Located, rulesFor } from "./apply.ts";
import { insertCase } from "./cases.ts";
import type { CheckRow, Finding, RuleRow } from "./model.ts";
import { heldNotice } from "./notices.ts";
import { MODEL_PROMPTS } from "./prompts.ts";

/** Longest answer in tokens. */
const MAX_TOKENS = 200;
/** Findings of each rule that a case shows. */
const KEEP = 10;

/** The model of a check: a base model is checked for each organization. */
const modelOf = ({ subject, org }: Pick<CheckRow, "subject" | "org">): string =>
  subject.startsWith("ft:") ? subject : subject.slice(org.length + 1);

/** The deployment that a check waits for is ready, or is not wanted any more. */
export async function nextModelCheck(ctx: Ctx, running: string[]): Promise<CheckRow | null> {
  const rows = await ctx.db
    .select({ check: moderationCheck })
    .from(moderationCheck)
    .leftJoin(
      deployment,
      and(
        eq(deployment.org, moderationCheck.org),
        sql`${moderationCheck.subject} in (${deployment.model}, ${deployment.org} || ' ' || ${deployment.model})`,
        isNull(deployment.deletedAt),
      ),
    )
    .where(
      and(
        eq(moderationCheck.state, "waiting"),
        eq(moderationCheck.object, "model"),
        or(isNull(deployment.id), eq(deployment.wanted, "stopped"), eq(deployment.state, "ready")),
      ),
    )
    .orderBy(asc(moderationCheck.createdAt))
    .limit(running.length + 1);
  return rows.find(({ check }) => !running.includes(check.id))?.check ?? null;
}

/** Whether the endpoint is still wanted. */
async function isWanted(ctx: Ctx, row: CheckRow): Promise<boolean> {
  const [found] = await ctx.db
    .select({ wanted: deployment.wanted })
    .from(deployment)
    .where(and(eq(deployment.org, row.org), eq(deployment.model, modelOf(row)), isNull(deployment.deletedAt)))
    .limit(1);
  return found !== undefined && found.wanted !== "stopped";
}

/** Forgets a check whose endpoint was stopped or deleted: the next start of one makes it. */
export async function withdrawUnwanted(ctx: Ctx, row: CheckRow): Promise<boolean> {
  if (await isWanted(ctx, row)) return false;
  await ctx.write(async (tx) => {
    await tx.delete(moderationCheck).where(eq(moderationCheck.id, row.id));
    await lift(tx, row.subject);
  });
  await forgetRestrictions(ctx);
  return true;
}

/** The text that the model answers. @throws AppError as completions do */
async function ask(ctx: Ctx, row: CheckRow, prompt: string, signal: AbortSignal): Promise<string> {
  const actor = { ...systemActor(row.org), userId: row.userId };
  const messages = [{ role: "user", content: prompt }];
  const body = { model: modelOf(row), messages, max_tokens: MAX_TOKENS, temperature: 0 };
  const reply = await sendAs(ctx, actor, "chat/completions", body, { signal });
  const answer = (await reply.json()) as {
    error?: { message?: string };
    choices?: { message?: { content?: string | null } }[];
  };
  if (!reply.ok)
    throw new AppError("unavailable", "moderation_failed", answer.error?.message ?? "The model did not answer.");
  return answer.choices?.[0]?.message?.content ?? "";
}

/** What a check of a model found. */
interface ModelFound {
  findings: Finding[];
  flagged: number;
  rules: RuleRow[];
}

/** Lets the model answer every prompt, and applies the rules. @throws AppError when it or a rule does not answer */
export async function checkModel(
  ctx: Ctx,
  row: CheckRow,
  { signal, onProgress }: { signal: AbortSignal; onProgress: (done: number) => void },
): Promise<ModelFound> {
  const rules = await rulesFor(ctx, "models");
  const answers: Located[] = [];
  for (const { prompt } of MODEL_PROMPTS) {
    const text = await ask(ctx, row, prompt, signal);
    answers.push({ text, split: null, row: null, part: "answer", prompt });
    onProgress(answers.length);
  }
  return { ...(await applyToAnswers(ctx, rules, answers, { keep: KEEP, signal })), rules };
}

/** The event of a fine-tuning job about its model, in OpenAI's form. */
async function checksEvent(tx: Db, ctx: Ctx, jobId: string, found: ModelFound, blocked: boolean): Promise<void> {
  const flagged = new Set(found.findings.map(({ category }) => category));
  const blocking = new Set(found.rules.filter(({ action }) => action === "hold").map(({ category }) => category));
  const categories = [...new Set([...MODERATION_CATEGORIES, ...found.rules.map(({ category }) => category)])];
  await addEvent(tx, {
    jobId,
    at: ctx.clock.now(),
    type: "moderation_checks",
    level: blocked ? "error" : flagged.size > 0 ? "warn" : "info",
    message: blocked
      ? "Moderation checks: the model cannot be deployed until a reviewer decides"
      : flagged.size > 0
        ? "Moderation checks: the model can be deployed, and a reviewer looks at its answers"
        : "Moderation checks: passed",
    data: {
      blocked,
      results: categories.map((category) => ({
        flagged: flagged.has(category),
        category,
        enforcement: blocking.has(category) ? "blocking" : "non_blocking",
      })),
      finished_at: Math.floor(ctx.clock.now() / 1000),
    },
  });
}

/** Stores the end of a check, with a case when something was found; a model that is held stops. */
export async function endModelCheck(ctx: Ctx, row: CheckRow, found: ModelFound, error: string | null): Promise<void> {
  const name = modelOf(row);
  const resolved = await resolveModel(ctx, systemActor(row.org), name, true).catch(() => null);
  const [tuned] = resolved?.jobId
    ? await ctx.db.select({ createdBy: model.createdBy }).from(model).where(eq(model.jobId, resolved.jobId)).limit(1)
    : [];
  const isFlagged = resolved !== null && found.findings.length > 0;
  const holding = new Set(found.rules.filter(({ action }) => action === "hold").map(({ id }) => id));
  const held = isFlagged && (error !== null || found.findings.some(({ rule }) => rule !== null && holding.has(rule)));
  const state = error !== null ? "failed" : isFlagged ? "flagged" : "passed";
  const messages = await ctx.write(async (tx): Promise<BusMessage[]> => {
    const total = MODEL_PROMPTS.length;
    const ended = { state, error, done: total, total, finishedAt: ctx.clock.now() } as const;
    await tx.update(moderationCheck).set(ended).where(eq(moderationCheck.id, row.id));
    if (resolved?.jobId) await checksEvent(tx, ctx, resolved.jobId, found, held);
    if (!isFlagged) {
      await lift(tx, row.subject);
      return [];
    }
    // A base model belongs to the installation: the case is about the endpoint of the organization.
    const object = resolved.jobId ? ("model" as const) : ("deployment" as const);
    const of = { org: row.org, object, subject: name, datasetId: null, name, hash: null } as const;
    const { findings, flagged } = found;
    const ownerId = tuned?.createdBy ?? row.userId;
    const made = await insertCase(tx, ctx, { ...of, ownerId, source: "check", findings, flagged });
    const detail = { subject: name, categories: made.categories, flagged, held };
    await audit(tx, ctx, systemActor(row.org), "moderation_case.create", made.id, detail);
    if (!held) {
      await lift(tx, row.subject);
      return [];
    }
    await restrict(tx, ctx, {
      subject: row.subject,
      org: row.org,
      object,
      kind: "held",
      name,
      hash: null,
      reason: "its answers were flagged, and a reviewer has to decide.",
      caseId: made.id,
    });
    return [await heldNotice(tx, ctx, { ...row, userId: ownerId }, made.id, name)];
  });
  await forgetRestrictions(ctx);
  emitAll(ctx.bus, messages);
  if (held) await stopDeploymentsOf(ctx, name, row.subject === name ? null : row.org);
  ctx.bus.emit("moderation.changed", { org: row.org });
  ctx.bus.emit("deployment.changed", {
    org: row.org,
    deploymentId: "",
    state: state === "passed" ? "ready" : "stopped",
  });
}
