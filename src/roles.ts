/**
 * The roles of a team and the scopes of API keys: one table of permissions, which the API and the pages read. A role
 * says what a person may do, a scope what a key may do of it.
 */
import { AppError } from "./errors.ts";

export const PERMISSIONS = [
  "account.read",
  "account.write",
  "keys.write",
  "team.read",
  "usage.read",
  "usage.team",
  "objects.read",
  "models.list",
  "answers.read",
  "data.write",
  "runs.write",
  "models.write",
  "deployments.write",
  "inference",
  "webhooks.write",
  "objects.manage",
  "members.manage",
  "team.manage",
  "team.export",
  "billing.manage",
  "keys.manage",
  "audit.read",
  "owners.manage",
  "review",
  "installation",
] as const;
export type Permission = (typeof PERMISSIONS)[number];

export const TEAM_ROLES = ["owner", "admin", "member", "viewer", "billing"] as const;
export type TeamRole = (typeof TEAM_ROLES)[number];

/** Roles in the installation: administers it, reviews what moderation flagged and nothing else, or neither. */
export const INSTALLATION_ROLES = ["admin", "reviewer", "member"] as const;
export type InstallationRole = (typeof INSTALLATION_ROLES)[number];

export const SCOPES = ["read", "train", "infer", "admin"] as const;
export type Scope = (typeof SCOPES)[number];

/** What a permission allows, as the messages say it. */
const ALLOWS: Record<Permission, string> = {
  "account.read": "see your own account",
  "account.write": "change your own account",
  "keys.write": "create and revoke your API keys",
  "team.read": "see the members of the team",
  "usage.read": "see usage and limits",
  "usage.team": "see the usage of the whole team",
  "objects.read": "see datasets, jobs, models and deployments",
  "models.list": "list models",
  "answers.read": "read stored answers",
  "data.write": "upload and change data",
  "runs.write": "start and change jobs, evaluations and sweeps",
  "models.write": "change models and exports",
  "deployments.write": "create and change deployments",
  inference: "send requests to models",
  "webhooks.write": "change webhooks",
  "objects.manage": "delete or stop what somebody else created",
  "members.manage": "manage the members of the team",
  "team.manage": "change the settings and limits of the team",
  "team.export": "export everything of the team",
  "billing.manage": "manage how the team pays",
  "keys.manage": "see and revoke all API keys of the team",
  "audit.read": "read the audit log of the team",
  "owners.manage": "change who owns the team",
  review: "review flagged content",
  installation: "administer this installation",
};

/** Whatever the role: one's own account, and who is in the team. */
const EVERYBODY: Permission[] = ["account.read", "account.write", "keys.write", "team.read", "usage.read"];
const READ: Permission[] = ["objects.read", "models.list", "answers.read"];
const WRITE: Permission[] = [
  "data.write",
  "runs.write",
  "models.write",
  "deployments.write",
  "inference",
  "webhooks.write",
];
const MANAGE: Permission[] = [
  "objects.manage",
  "members.manage",
  "team.manage",
  "team.export",
  "billing.manage",
  "keys.manage",
  "audit.read",
];

/** Of a reviewer of the installation, whatever the role in the team. */
const REVIEWER: ReadonlySet<Permission> = new Set(["account.read", "account.write", "keys.write", "review"]);

const ROLE_PERMISSIONS: Record<TeamRole, ReadonlySet<Permission>> = {
  owner: new Set([...EVERYBODY, "usage.team", ...READ, ...WRITE, ...MANAGE, "owners.manage"]),
  admin: new Set([...EVERYBODY, "usage.team", ...READ, ...WRITE, ...MANAGE]),
  member: new Set([...EVERYBODY, ...READ, ...WRITE]),
  viewer: new Set([...EVERYBODY, "usage.team", ...READ]),
  billing: new Set([...EVERYBODY, "usage.team", "billing.manage"]),
};

const SCOPE_READ: Permission[] = ["account.read", "team.read", "usage.read", "usage.team", ...READ];
const SCOPE_PERMISSIONS: Record<Scope, ReadonlySet<Permission>> = {
  read: new Set(SCOPE_READ),
  train: new Set([...SCOPE_READ, "data.write", "runs.write", "models.write", "deployments.write", "objects.manage"]),
  infer: new Set<Permission>(["account.read", "models.list", "answers.read", "inference"]),
  admin: new Set([
    ...SCOPE_READ,
    "account.write",
    "keys.write",
    "webhooks.write",
    ...MANAGE,
    "owners.manage",
    "review",
    "installation",
  ]),
};

export const INSTALLATION_ROLE_NAMES: Record<InstallationRole, string> = {
  admin: "Administrator of the installation",
  reviewer: "Reviewer of the installation",
  member: "No role in the installation",
};

export const ROLE_NAMES: Record<TeamRole, string> = {
  owner: "Owner",
  admin: "Administrator",
  member: "Member",
  viewer: "Viewer",
  billing: "Billing",
};

export const ROLE_HINTS: Record<TeamRole, string> = {
  owner: "everything, including who is an owner",
  admin: "members, keys, limits and everything in the team",
  member: "data, jobs, models, deployments and inference",
  viewer: "sees everything, changes nothing",
  billing: "sees usage, statements and members, and manages how the team pays",
};

/** What a key with a scope may do, as the form of a key says it. */
export const SCOPE_HINTS: Record<Scope, string> = {
  read: "see everything you see",
  train: "read, and change data, jobs, models and deployments",
  infer: "list models and send requests to them",
  admin: "read, and manage keys, webhooks, members and what you administer",
};

/** What of an actor decides about permissions. */
export interface Powers {
  role: InstallationRole;
  teamRole: TeamRole;
  scopes: readonly Scope[] | null;
}

/** A role as stored; a viewer when this version does not know it. */
export const teamRoleOf = (stored: string | null): TeamRole => TEAM_ROLES.find((each) => each === stored) ?? "viewer";

/**
 * What an account may do, from what is stored about it. An administrator of the installation is an owner wherever they
 * are; a key without the scope `admin` does not administer.
 */
export function powersOf(role: InstallationRole, storedRole: string | null, scopes: Powers["scopes"] = null): Powers {
  return {
    role: role !== "admin" || scopes === null || scopes.includes("admin") ? role : "member",
    teamRole: role === "admin" ? "owner" : teamRoleOf(storedRole),
    scopes,
  };
}

export const samePowers = (a: Powers, b: Powers) =>
  a.role === b.role && a.teamRole === b.teamRole && String(a.scopes) === String(b.scopes);

/** Whether the scopes of a key include a permission; a session has no scopes and is not limited by them. */
const inScope = (scopes: Powers["scopes"], permission: Permission) =>
  scopes === null || scopes.some((scope) => SCOPE_PERMISSIONS[scope].has(permission));

function inRole({ role, teamRole }: Powers, permission: Permission): boolean {
  if (role === "reviewer") return REVIEWER.has(permission);
  if (permission === "installation" || permission === "review") return role === "admin";
  return ROLE_PERMISSIONS[teamRole].has(permission);
}

/** Whether the actor may do what a permission stands for. */
export function can(actor: Powers, permission: Permission): boolean {
  return inScope(actor.scopes, permission) && inRole(actor, permission);
}

/**
 * Throws unless the actor has a permission. The message names it and says who can grant it.
 * @throws AppError `insufficient_scope`, `admin_only`, `permission_denied` (403)
 */
export function requirePermission(actor: Powers, permission: Permission): void {
  if (can(actor, permission)) return;
  if (!inScope(actor.scopes, permission)) {
    const scopes = SCOPES.filter((scope) => SCOPE_PERMISSIONS[scope].has(permission));
    throw new AppError(
      "forbidden",
      "insufficient_scope",
      `This API key has the scope ${(actor.scopes ?? []).join(", ")}. To ${ALLOWS[permission]} it needs ${scopes.join(" or ")}: create a key with that scope in Settings > API keys.`,
    );
  }
  if (permission === "installation")
    throw new AppError("forbidden", "admin_only", "Only an administrator of this installation can do that.");
  if (actor.role === "reviewer" || permission === "review")
    throw new AppError(
      "forbidden",
      "permission_denied",
      actor.role === "reviewer"
        ? `You may not ${ALLOWS[permission]} (permission ${permission}): a reviewer sees flagged content and the own account.`
        : `You may not ${ALLOWS[permission]} (permission ${permission}): it needs the role of a reviewer or an administrator of this installation.`,
    );
  const roles = TEAM_ROLES.filter((role) => ROLE_PERMISSIONS[role].has(permission));
  throw new AppError(
    "forbidden",
    "permission_denied",
    `You may not ${ALLOWS[permission]} (permission ${permission}): your role is ${ROLE_NAMES[actor.teamRole].toLowerCase()}, and it needs ${list(roles)}. An owner or administrator of your team can change your role.`,
  );
}

function list(roles: TeamRole[]): string {
  const names = roles.map((role) => ROLE_NAMES[role].toLowerCase());
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

/** Whether an object is the actor's own to delete or stop, or one of a team that the actor manages. */
export const owns = (actor: Powers & { userId: string }, createdBy: string): boolean =>
  actor.userId === createdBy || can(actor, "objects.manage");

/**
 * Throws unless the actor created an object or manages those of the team.
 * @throws AppError `permission_denied`, `insufficient_scope` (403)
 */
export function requireOwner(actor: Powers & { userId: string }, createdBy: string): void {
  if (actor.userId !== createdBy) requirePermission(actor, "objects.manage");
}
