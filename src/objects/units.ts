/**
 * Units: what is stored and removed as a whole. A unit is at `<folder>/<id>` of the data directory, and in the bucket
 * below `teams/<organization>/`, each file under its hash.
 */
import { eq } from "drizzle-orm";
import { type Ctx, perContext } from "../ctx.ts";
import { storedObject } from "../db/schema/datasets.ts";
import { createInTurn } from "../lib/in-turn.ts";

/** Folders whose units may be in the bucket. */
export const UNIT_FOLDERS = ["files", "datasets", "artifacts", "archives"] as const;
type UnitFolder = (typeof UNIT_FOLDERS)[number];
export interface Unit {
  folder: UnitFolder;
  id: string;
}

export type StoredRow = typeof storedObject.$inferSelect;

/** Prefix of everything of an organization in the bucket. */
const teamPrefix = (org: string) => `teams/${org}/`;
export const nameOf = ({ folder, id }: Unit) => `${folder}/${id}`;
export const objectKey = (org: string, unit: Unit, sha256: string) => `${teamPrefix(org)}${nameOf(unit)}/${sha256}`;
/** The name of the unit of an object. */
export const unitOfKey = (key: string) => key.split("/").slice(2, 4).join("/");
/** Key of a file in the data directory. */
export const localKey = (unit: string, path: string) => (path === "" ? unit : `${unit}/${path}`);

/** Work on the same unit runs one after the other: a removal and an upload of the same object never overlap. */
export const unitTurns = perContext(() => createInTurn());

/** The files of a unit that are in the bucket. */
export const storedRows = (ctx: Ctx, unit: string): Promise<StoredRow[]> =>
  ctx.db.select().from(storedObject).where(eq(storedObject.unit, unit));

/** What is known of the copies on this machine, by unit: complete ones, and when each was last used (monotonic ms). */
export const localCopies = perContext(() => ({ complete: new Set<string>(), usedAt: new Map<string, number>() }));
