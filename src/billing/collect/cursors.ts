/** How far continuous measurements have come. */
import { eq } from "drizzle-orm";
import { meterCursor } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";

/** The position of a measurement; null = it has not begun. */
export async function cursorOf(db: Db, name: string): Promise<number | null> {
  const [row] = await db.select().from(meterCursor).where(eq(meterCursor.name, name)).limit(1);
  return row?.position ?? null;
}

/** Moves a measurement on, in the transaction that stores what it measured. */
export async function moveCursor(tx: Db, name: string, position: number): Promise<void> {
  await tx
    .insert(meterCursor)
    .values({ name, position })
    .onConflictDoUpdate({ target: meterCursor.name, set: { position } });
}
