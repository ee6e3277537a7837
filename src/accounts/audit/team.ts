/**
 * Which entries belong to an organization itself, rather than to the installation: its owners and administrators read
 * these. An action that is in neither list is not shown to them; test/accounts/team-audit.test.ts asks for both lists.
 */
import { eq, type SQL, sql } from "drizzle-orm";
import { auditLog } from "../../db/schema/audit.ts";
import { invitation, member } from "../../db/schema/auth.ts";

/** Actions of people and programs of an organization, by noun; or one action of a noun of the installation. */
export const TEAM_ACTIONS = [
  "access",
  "archive",
  "base_model",
  "budget",
  "checkpoint",
  "credit",
  "dataset",
  "deployment",
  "evaluation",
  "export",
  "file",
  "invitation",
  "job",
  "key",
  "member",
  "model",
  "organization",
  "passkey",
  "payment_method",
  "payment_time",
  "service_account",
  "session",
  "statement",
  "subject",
  "sweep",
  "team",
  "terms.accept",
  "two_factor",
  "upload",
  "user",
  "webhook",
] as const;

/** Actions of those who administer the installation, whichever organization they are in. */
export const INSTALLATION_ACTIONS = [
  "announcement",
  "audit",
  "backup",
  "beta",
  "billing_settings",
  "disk",
  "gpu",
  "host",
  "incident",
  "mail",
  "maintenance",
  "moderation",
  "moderation_case",
  "moderation_rule",
  "notice",
  "organization.create",
  "price_list",
  "provider",
  "scim",
  "secret",
  "setting",
  "setup",
  "sso",
  "status",
  "storage",
  "terms",
] as const;

const list = (actions: readonly string[]) =>
  sql.join(
    actions.map((action) => sql`${action}`),
    sql`, `,
  );

/**
 * SQL: entries of an organization, without those of the installation and those about other organizations, which an
 * administrator of the installation writes while being in this one.
 */
export function ofTeam(org: string): SQL {
  const noun = sql`substr(${auditLog.action}, 1, instr(${auditLog.action}, '.') - 1)`;
  const { target, action } = auditLog;
  return sql`${eq(auditLog.org, org)}
    and (${noun} in (${list(TEAM_ACTIONS)}) or ${action} in (${list(TEAM_ACTIONS)}))
    and ${action} not in (${list(INSTALLATION_ACTIONS)})
    and (${target} not like 'org-%' or ${target} = ${org})
    and (${target} not like 'user-%' or ${noun} = 'member' or ${target} = ${auditLog.actor}
      or exists (select 1 from ${member} where ${member.userId} = ${target} and ${member.organizationId} = ${org})
      or exists (select 1 from audit_log earlier where earlier.org = ${org} and earlier.actor = ${target}))
    and not exists
      (select 1 from ${invitation} where ${invitation.id} = ${target} and ${invitation.organizationId} <> ${org})`;
}
