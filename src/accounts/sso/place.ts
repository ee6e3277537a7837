/** Where a user of a provider belongs: team and role by the first mapped group, as claims or SCIM say it. */
import { and, eq } from "drizzle-orm";
import { type Ctx, systemActor } from "../../ctx.ts";
import { scimGroup, scimMember } from "../../db/schema/sso.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import type { InstallationRole, TeamRole } from "../../roles.ts";
import { changeUser } from "../organizations/users.ts";
import type { Provider } from "./model.ts";

/** Where a user belongs. */
export interface Place {
  org: string;
  teamRole: TeamRole;
  /** `admin` administers the installation, and is an owner of the team. */
  role: "admin" | "member";
}

/** Organization and role by the first mapped group; null without one. */
export function mappedPlace(provider: Provider, groups: string[]): Place | null {
  const mapped = provider.groups.find(({ group }) => groups.includes(group));
  if (!mapped) return null;
  const teamRole = mapped.role === "admin" ? "owner" : mapped.organization_role;
  return { org: mapped.organization, teamRole, role: mapped.role };
}

/** The place of users without a mapped group; null = they are refused. */
export const defaultPlace = ({ defaultOrg }: Provider): Place | null =>
  defaultOrg === null ? null : { org: defaultOrg, teamRole: "member", role: "member" };

/** The groups that the provider pushed for a user: names, and its own ids of them. */
export async function provisionedGroups(db: Db, provider: string, userId: string): Promise<string[]> {
  const rows = await db
    .select({ name: scimGroup.displayName, externalId: scimGroup.externalId })
    .from(scimMember)
    .innerJoin(scimGroup, eq(scimGroup.id, scimMember.groupId))
    .where(and(eq(scimMember.userId, userId), eq(scimGroup.provider, provider)));
  return rows.flatMap(({ name, externalId }) => (externalId === null ? [name] : [name, externalId]));
}

/**
 * Moves an account to where its groups belong. The last administrator, and the last owner of a team, stay.
 * @returns whether the account is at that place now
 */
export async function moveTo(
  ctx: Ctx,
  found: { id: string; org: string; role: InstallationRole; teamRole: string | null },
  { org, role: wanted, teamRole }: Place,
): Promise<boolean> {
  // Groups say who administers; who reviews is said here.
  const role = wanted === "member" && found.role === "reviewer" ? found.role : wanted;
  if (found.org === org && found.role === role && found.teamRole === teamRole) return true;
  try {
    await changeUser(ctx, systemActor(org), found.id, { role, teamRole, organization: org });
    return true;
  } catch (error) {
    if (!(error instanceof AppError) || !/^last_(admin|owner)$/.test(error.code)) throw error;
    ctx.log("warn", "an account keeps its role although no group says so", { user: found.id, reason: error.code });
    return false;
  }
}
