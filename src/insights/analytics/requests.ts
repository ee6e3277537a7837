/** The latest requests of a deployment, one by one: time, model, key, status, tokens and latency, without contents. */
import { and, desc, eq, gt, inArray, isNull, type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { accountName } from "../../db/accounts.ts";
import { apiKey, user } from "../../db/schema/auth.ts";
import { inference } from "../../db/schema/gateway.ts";
import { notFound } from "../../errors.ts";
import { seconds } from "../../lib/request-fields.ts";
import { can } from "../../roles.ts";
import { getDeployment } from "../../serving/deployments/service.ts";
import type { DeploymentRequest, RequestFilter } from "./model.ts";

/** Only this number of a deployment's newest requests is listed, so that a filter never reads the whole history. */
const LISTED = 20_000;

function statusCondition(status: string | undefined): SQL | undefined {
  if (!status) return undefined;
  const first = Number(status[0]);
  return status.endsWith("xx")
    ? sql`${inference.status} between ${first * 100} and ${first * 100 + 99}`
    : eq(inference.status, Number(status));
}

/**
 * Requests of a deployment, newest first, of its newest 20,000. Members see their own; administrators see everybody's.
 * @returns up to `limit + 1` rows; the last one shows that there are more
 * @throws AppError `deployment_not_found`, `request_not_found` for an unknown `after`
 */
export async function listRequests(
  ctx: Ctx,
  actor: Actor,
  id: string,
  page: RequestFilter & { after?: string; limit: number },
): Promise<DeploymentRequest[]> {
  await getDeployment(ctx, actor, id);
  const ofIt = eq(inference.deploymentId, id);
  const newestFirst = [desc(inference.at), desc(inference.n)];
  const [oldest] = await ctx.db
    .select({ at: inference.at })
    .from(inference)
    .where(ofIt)
    .orderBy(...newestFirst)
    .limit(1)
    .offset(LISTED);
  const [from] = page.after
    ? await ctx.db
        .select({ at: inference.at, n: inference.n })
        .from(inference)
        .where(and(eq(inference.n, Number(page.after)), ofIt))
    : [];
  if (page.after && !from) throw notFound("request", page.after);
  const rows = await ctx.db
    .select()
    .from(inference)
    .where(
      and(
        ofIt,
        oldest ? gt(inference.at, oldest.at) : undefined,
        from ? sql`(${inference.at}, ${inference.n}) < (${from.at}, ${from.n})` : undefined,
        statusCondition(page.status),
        page.key === "session" ? isNull(inference.keyId) : page.key ? eq(inference.keyId, page.key) : undefined,
        can(actor, "usage.team") ? undefined : eq(inference.userId, actor.userId),
      ),
    )
    .orderBy(...newestFirst)
    .limit(page.limit + 1);
  const keys = await namesOf(ctx, rows);
  return rows.map((row) => ({
    object: "deployment.request",
    id: String(row.n),
    request_id: row.id,
    created_at: seconds(row.at),
    model: row.model,
    key_id: row.keyId,
    key_name: keys.keys.get(row.keyId ?? "") ?? null,
    user_id: row.userId,
    user_email: keys.users.get(row.userId) ?? null,
    status: row.status,
    streamed: row.streamed,
    prompt_tokens: row.promptTokens,
    completion_tokens: row.completionTokens,
    first_token_ms: row.firstTokenMs,
    latency_ms: row.totalMs,
    finish_reason: row.finish,
  }));
}

async function namesOf(ctx: Ctx, rows: (typeof inference.$inferSelect)[]) {
  const ids = (values: (string | null)[]) => [...new Set(values.filter((value) => value !== null))];
  const keys = ids(rows.map((row) => row.keyId));
  const users = ids(rows.map((row) => row.userId));
  const names = keys.length
    ? await ctx.db.select({ id: apiKey.id, name: apiKey.name }).from(apiKey).where(inArray(apiKey.id, keys))
    : [];
  const emails = users.length
    ? await ctx.db.select({ id: user.id, email: accountName }).from(user).where(inArray(user.id, users))
    : [];
  return {
    keys: new Map(names.map((row) => [row.id, row.name])),
    users: new Map(emails.map((row) => [row.id, row.email])),
  };
}
