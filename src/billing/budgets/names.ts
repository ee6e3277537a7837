/** What budgets are for, by name. */
import { sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { accountName } from "../../db/accounts.ts";
import { sqlJson } from "../../db/json.ts";

/** Names of the users, keys, jobs and sweeps of budgets that the caller may see, by id. */
export async function nameOfScopes(
  ctx: Ctx,
  budgets: readonly { scope_id: string }[],
): Promise<Record<string, string>> {
  const ids = sqlJson(budgets.map((each) => each.scope_id));
  const given = sql`(select value from json_each(${ids}))`;
  const rows = await ctx.db.all<{ id: string; name: string }>(sql`
    select user.id as id, ${accountName} as name from user where user.id in ${given}
    union all select id, name from api_key where id in ${given}
    union all select id, name from job where id in ${given}
    union all select id, name from sweep where id in ${given}`);
  return Object.fromEntries(rows.map(({ id, name }) => [id, name]));
}
