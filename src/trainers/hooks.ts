/** Interim: replaced by jobs/service. */
import { and, eq, isNull } from "drizzle-orm";
import type { Command, TrainerEvent } from "../contract/trainer.ts";
import type { Ctx } from "../ctx.ts";
import type { Db } from "../db/open.ts";
import { command } from "../db/schema/jobs.ts";
import type { BusMessage } from "../lib/bus.ts";

export async function applyTrainerEvents(
  _tx: Db,
  _attempt: { id: string },
  _events: TrainerEvent[],
): Promise<BusMessage[]> {
  return [];
}
export async function pendingCommands(ctx: Ctx, jobId: string): Promise<Command[]> {
  const rows = await ctx.db
    .select()
    .from(command)
    .where(and(eq(command.jobId, jobId), isNull(command.doneAt)));
  return rows.map(({ id, type }) => ({ id, type }));
}
