/** Beta features: whether one is on for an organization, the refusal when it is not, and switching it. */
import { and, eq } from "drizzle-orm";
import { type Actor, type Ctx, keptRead, requireAdmin } from "../../ctx.ts";
import { betaSwitch } from "../../db/schema/audit.ts";
import { organization, user } from "../../db/schema/auth.ts";
import { AppError, notFound } from "../../errors.ts";
import { seconds } from "../../lib/request-fields.ts";
import { audit } from "../audit/service.ts";
import { BETA_FEATURES, BETA_NAMES, type BetaName } from "./features.ts";
import type { AdminBetaView, BetaView, SwitchBeta } from "./model.ts";

type Row = typeof betaSwitch.$inferSelect;
/** The organization of the switch of the installation. */
const ALL = "";

/** All switches; read once and after each change. */
const switches = keptRead(async (ctx): Promise<readonly Row[]> => ctx.db.select().from(betaSwitch));

const setFor = (rows: readonly Row[], name: BetaName, org: string) =>
  rows.find((row) => row.feature === name && row.org === org);

const isOn = (rows: readonly Row[], name: BetaName, org: string): boolean =>
  (setFor(rows, name, org) ?? setFor(rows, name, ALL))?.enabled ?? BETA_FEATURES[name].on;

const BY_ROUTE = new Map<string, BetaName>(
  BETA_NAMES.flatMap((name) => BETA_FEATURES[name].routes.map((route) => [route, name] as const)),
);

/** The refusal of a feature that is off for the actor's organization; null = it is on. */
export async function betaRefusal(ctx: Ctx, actor: Actor, name: BetaName): Promise<AppError | null> {
  if (isOn(await switches.get(ctx), name, actor.org)) return null;
  return new AppError(
    "forbidden",
    "beta_feature_off",
    `${BETA_FEATURES[name].name} is a beta feature that is off for your organization. An administrator of the installation can switch it on: Administration, Beta features (/admin/beta).`,
  );
}

/**
 * The beta feature of a route, when it has one.
 * @throws AppError `beta_feature_off` (403)
 */
export async function checkBeta(ctx: Ctx, actor: Actor, method: string, route: string): Promise<BetaName | null> {
  const name = BY_ROUTE.get(`${method} ${route}`);
  if (name === undefined) return null;
  const refused = await betaRefusal(ctx, actor, name);
  if (refused) throw refused;
  return name;
}

function shared(name: BetaName) {
  const { name: title, description, since } = BETA_FEATURES[name];
  return { object: "beta_feature" as const, id: name, name: title, description, since };
}

/** Every feature, with its state for the actor's organization. */
export async function listBeta(ctx: Ctx, actor: Actor): Promise<BetaView[]> {
  const rows = await switches.get(ctx);
  return BETA_NAMES.map((name) => ({ ...shared(name), enabled: isOn(rows, name, actor.org) }));
}

/** Every feature with who switched it, for administrators. */
export async function listSwitches(ctx: Ctx, actor: Actor): Promise<AdminBetaView[]> {
  requireAdmin(actor);
  const rows = await ctx.db
    .select({ row: betaSwitch, name: organization.name, email: user.email })
    .from(betaSwitch)
    .leftJoin(organization, eq(organization.id, betaSwitch.org))
    .leftJoin(user, eq(user.id, betaSwitch.changedBy))
    .orderBy(betaSwitch.org);
  const all = rows.map(({ row }) => row);
  return BETA_NAMES.map((feature) => ({
    ...shared(feature),
    enabled: isOn(all, feature, ALL),
    switches: rows
      .filter(({ row }) => row.feature === feature)
      .map(({ row, name, email }) => ({
        organization: row.org === ALL ? null : row.org,
        organization_name: name,
        enabled: row.enabled,
        changed_by: row.changedBy,
        changed_by_email: email,
        changed_at: seconds(row.changedAt),
      })),
  }));
}

/**
 * Switches a feature, or removes the switch.
 * @throws AppError `beta_feature_not_found`, `organization_not_found`
 */
export async function switchBeta(ctx: Ctx, actor: Actor, id: string, given: SwitchBeta): Promise<AdminBetaView> {
  requireAdmin(actor);
  const feature = BETA_NAMES.find((name) => name === id);
  if (!feature) throw notFound("beta_feature", id);
  const { enabled, organization: named } = given;
  const org = named ?? ALL;
  await ctx.write(async (tx) => {
    const [known] = named ? await tx.select().from(organization).where(eq(organization.id, named)).limit(1) : [];
    if (named && !known) throw notFound("organization", named).withParam("organization", "invalid");
    await tx.delete(betaSwitch).where(and(eq(betaSwitch.feature, feature), eq(betaSwitch.org, org)));
    if (enabled !== null)
      await tx
        .insert(betaSwitch)
        .values({ feature, org, enabled, changedBy: actor.userId, changedAt: ctx.clock.now() });
    await audit(tx, ctx, actor, "beta.switch", feature, { enabled, organization: named });
  });
  switches.forget(ctx);
  const found = (await listSwitches(ctx, actor)).find((one) => one.id === feature);
  if (!found) throw notFound("beta_feature", id);
  return found;
}
