/** Names and addresses for the ids in audit entries: who acted, on what, and the page where that is. */
import { inArray } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { accountName } from "../../db/accounts.ts";
import { apiKey, invitation, organization, user } from "../../db/schema/auth.ts";
import { dataset, file } from "../../db/schema/datasets.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import { ssoProvider } from "../../db/schema/sso.ts";
import { sweep } from "../../db/schema/sweeps.ts";
import type { AuditRow } from "./service.ts";

/** What an id stands for. `name` is null when the thing is gone or has no name; `href` when it has no page. */
export interface Named {
  name: string | null;
  href: string | null;
}

interface Kind {
  prefix: RegExp;
  names(ctx: Pick<Ctx, "db">, ids: string[]): Promise<{ id: string; name: string }[]>;
  href(id: string): string | null;
}

const page = (path: string) => (id: string) => `${path}${encodeURIComponent(id)}`;

const KINDS: Kind[] = [
  {
    prefix: /^user-/,
    names: (ctx, ids) => ctx.db.select({ id: user.id, name: accountName }).from(user).where(inArray(user.id, ids)),
    href: page("/admin/users/"),
  },
  {
    prefix: /^org-/,
    names: (ctx, ids) =>
      ctx.db
        .select({ id: organization.id, name: organization.name })
        .from(organization)
        .where(inArray(organization.id, ids)),
    href: page("/admin/teams/"),
  },
  {
    prefix: /^key-/,
    names: (ctx, ids) =>
      ctx.db.select({ id: apiKey.id, name: apiKey.name }).from(apiKey).where(inArray(apiKey.id, ids)),
    href: () => "/settings",
  },
  {
    prefix: /^sso_/,
    names: (ctx, ids) =>
      ctx.db
        .select({ id: ssoProvider.id, name: ssoProvider.name })
        .from(ssoProvider)
        .where(inArray(ssoProvider.id, ids)),
    href: page("/admin/sso/"),
  },
  {
    prefix: /^inv-/,
    names: (ctx, ids) =>
      ctx.db.select({ id: invitation.id, name: invitation.email }).from(invitation).where(inArray(invitation.id, ids)),
    href: () => "/admin/users",
  },
  {
    prefix: /^(ftjob|job)-/,
    names: (ctx, ids) => ctx.db.select({ id: job.id, name: job.name }).from(job).where(inArray(job.id, ids)),
    href: page("/jobs/"),
  },
  {
    prefix: /^ds_/,
    names: (ctx, ids) =>
      ctx.db.select({ id: dataset.id, name: dataset.name }).from(dataset).where(inArray(dataset.id, ids)),
    href: page("/datasets/"),
  },
  {
    prefix: /^file-/,
    names: (ctx, ids) => ctx.db.select({ id: file.id, name: file.filename }).from(file).where(inArray(file.id, ids)),
    href: () => null,
  },
  {
    prefix: /^dep_/,
    names: (ctx, ids) =>
      ctx.db.select({ id: deployment.id, name: deployment.model }).from(deployment).where(inArray(deployment.id, ids)),
    href: page("/deployments/"),
  },
  {
    prefix: /^sweep_/,
    names: (ctx, ids) => ctx.db.select({ id: sweep.id, name: sweep.name }).from(sweep).where(inArray(sweep.id, ids)),
    href: page("/sweeps/"),
  },
];

/** Things whose id says no kind: by the noun of the action. */
const BY_ACTION: Record<string, (id: string) => string> = {
  model: page("/models/"),
  base_model: page("/models/"),
  host: page("/hosts/"),
  evaluation: page("/evaluations/"),
};

const ACTORS: Record<string, string> = {
  system: "Server",
  cli: "Command line",
  anonymous: "Not signed in",
};

/** Names of all actors and targets of `rows`, by id; one query for each kind of thing. */
export async function namesOf(ctx: Pick<Ctx, "db">, rows: AuditRow[]): Promise<Map<string, Named>> {
  const named = new Map<string, Named>();
  for (const row of rows) {
    const noun = row.action.split(".")[0] ?? "";
    named.set(row.target, { name: null, href: BY_ACTION[noun]?.(row.target) ?? null });
    if (!named.has(row.actor)) named.set(row.actor, { name: ACTORS[row.actor] ?? null, href: null });
  }
  for (const kind of KINDS) {
    const ids = [...named.keys()].filter((id) => kind.prefix.test(id));
    if (ids.length === 0) continue;
    for (const found of await kind.names(ctx, ids))
      named.set(found.id, { name: found.name, href: kind.href(found.id) });
  }
  return named;
}
