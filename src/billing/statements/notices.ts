/** What people hear of statements and payments: those of a team who may manage how it pays, and administrators. */
import type { Ctx } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { recordForAll } from "../../notices/events/store.ts";
import type { EventType } from "../../notices/events/types.ts";

interface BillingNotice {
  type: Extract<EventType, `billing.${string}`>;
  subject: string;
  title: string;
  body: string;
}

/** Stores a notice for the owners, administrators and billing members of a team. */
export const notifyPayers = (tx: Db, ctx: Ctx, org: string, notice: BillingNotice): Promise<BusMessage> =>
  recordForAll(
    tx,
    ctx,
    { kind: "some", orgs: [org], roles: ["owner", "admin", "billing"] },
    { ...notice, path: "/billing" },
  );

/** Stores a notice for the administrators of the installation. */
export const notifyAdministrators = (tx: Db, ctx: Ctx, notice: BillingNotice): Promise<BusMessage> =>
  recordForAll(tx, ctx, { kind: "administrators" }, { ...notice, path: "/admin/billing" });
