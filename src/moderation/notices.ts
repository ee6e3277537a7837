/** The notice to the owner of something that a check held. */
import type { Ctx } from "../ctx.ts";
import type { Db } from "../db/types.ts";
import type { BusMessage } from "../lib/bus.ts";
import { recordEvent } from "../notices/events/store.ts";
import type { CheckRow } from "./model.ts";

/** Stores the notice in the caller's transaction. @returns the message to emit after the commit */
export function heldNotice(tx: Db, ctx: Ctx, row: CheckRow, caseId: string, name: string): Promise<BusMessage> {
  return recordEvent(tx, ctx, {
    org: row.org,
    type: "moderation.held",
    subject: row.subject,
    userId: row.userId,
    title: `${name} is held for review`,
    body: "Moderation checks flagged its content. It cannot be used until a reviewer has decided.",
    path: `/moderation/${caseId}`,
  });
}
