/** The components of the status page: their public ids and names, and how administrators name and hide them. */
import { eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { pluginProblems } from "../../compute/providers/registry.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { statusComponent } from "../../db/schema/status.ts";
import { notFound } from "../../errors.ts";
import { sha256Hex } from "../../lib/ids.ts";
import { seconds } from "../../lib/request-fields.ts";
import type { AdminComponentView, ChangeComponent } from "./model.ts";
import { forgetSummary } from "./summary-cache.ts";

type Row = typeof statusComponent.$inferSelect;
/** A component that exists now, with what the page calls it. */
export interface Component {
  row: Row;
  /** For everybody: says nothing about providers or hosts. */
  id: string;
  name: string;
}

const FIXED: Record<string, string> = { api: "API", training: "Training", inference: "Inference", storage: "Storage" };

const publicId = (ctx: Ctx, id: string) =>
  id in FIXED ? id : `provider-${sha256Hex(`${ctx.installation} ${id}`).slice(0, 10)}`;

/** A generic name; providers of one kind are numbered. */
function genericName(ctx: Ctx, id: string, used: Map<string, number>): string {
  const fixed = FIXED[id];
  if (fixed) return fixed;
  const local = ctx.compute.get(id.slice("provider:".length))?.plugin.capabilities.local;
  const base = local ? "Provider: local" : "Provider: remote";
  const number = (used.get(base) ?? 0) + 1;
  used.set(base, number);
  return number === 1 ? base : `${base} ${number}`;
}

/** API, training, inference, then the active providers; those that were removed are left out. */
export async function currentComponents(ctx: Ctx): Promise<Component[]> {
  const rows = await ctx.db.select().from(statusComponent);
  const providers = [
    ...ctx.compute.list().map(({ plugin }) => plugin.id),
    ...pluginProblems(ctx).map(({ plugin }) => plugin),
  ];
  const fixed = Object.keys(FIXED).filter((id) => id !== "storage" || ctx.config.artifact_store === "s3");
  const ids = new Set([...fixed, ...providers.map((id) => `provider:${id}`)]);
  const used = new Map<string, number>();
  return [...ids].flatMap((id) => {
    const row = rows.find((one) => one.id === id);
    const generic = genericName(ctx, id, used);
    return row ? [{ row, id: publicId(ctx, id), name: row.label ?? generic }] : [];
  });
}

const viewOf = ({ row, id, name }: Component): AdminComponentView => ({
  object: "status_component",
  id,
  watches: row.id,
  name,
  label: row.label,
  hidden: row.hidden,
  state: row.state,
  problem: row.problem,
  since: seconds(row.since),
});

/** Every component with its problem. Administrators only. */
export async function listComponents(ctx: Ctx, actor: Actor): Promise<AdminComponentView[]> {
  requireAdmin(actor);
  return (await currentComponents(ctx)).map(viewOf);
}

/**
 * Names or hides a component. Administrators only.
 * @throws AppError `status_component_not_found`
 */
export async function changeComponent(
  ctx: Ctx,
  actor: Actor,
  id: string,
  given: ChangeComponent,
): Promise<AdminComponentView> {
  requireAdmin(actor);
  const found = (await currentComponents(ctx)).find((one) => one.id === id);
  if (!found) throw notFound("status_component", id);
  const values = {
    label: given.name === undefined ? found.row.label : given.name,
    hidden: given.hidden ?? found.row.hidden,
  };
  await ctx.write(async (tx) => {
    await tx.update(statusComponent).set(values).where(eq(statusComponent.id, found.row.id));
    await audit(tx, ctx, actor, "status.component", found.row.id, { name: values.label, hidden: values.hidden });
  });
  forgetSummary(ctx);
  const changed = (await currentComponents(ctx)).find((one) => one.id === id);
  return viewOf(changed ?? found);
}
