/** How a file of a unit is downloaded: from the bucket with a presigned address, or through this server. */
import type { Ctx } from "../ctx.ts";
import { storeFailure } from "./bucket.ts";
import { localUnit } from "./local.ts";
import { nameOf, storedRows, type Unit } from "./units.ts";

/** How long an address is valid, in seconds: enough to begin the download. */
const VALID_S = 300;

/** `address`: where the client is sent to. `path`: a file of this machine. */
export type Download = { address: string } | { path: string };

/**
 * Where a client reads a file of a unit. To call after the access check: whoever has the address can read the file.
 * @param path inside the unit; empty when the unit is one file
 * @param filename the name that the client saves it under
 * @throws AppError `object_store_unavailable`, `bytes_missing`
 */
export async function downloadOf(ctx: Ctx, unit: Unit, path: string, filename: string): Promise<Download> {
  if (ctx.bucket && ctx.config.s3_downloads === "presigned") {
    const row = (await storedRows(ctx, nameOf(unit))).find((one) => one.path === path);
    try {
      const type = "application/octet-stream";
      const address = row ? await ctx.bucket.presignGet(row.key, VALID_S, { filename, type }) : null;
      if (address !== null) return { address };
    } catch (error) {
      throw storeFailure(error);
    }
  }
  const root = await localUnit(ctx, unit);
  return { path: path === "" ? root : `${root}/${path}` };
}
