/** Run under a file size limit: writes a part that fits and one that does not, and prints what became of it as JSON. */
import { AppError } from "../../src/errors.ts";
import { sizeOf, writePart } from "../../src/training/trainer-protocol/disk.ts";

const path = process.argv[2] ?? "";
await writePart(path, 0, new Uint8Array(4096));
const outcome = await writePart(path, 4096, new Uint8Array(20_000)).catch((error: unknown) => error);
console.log(
  JSON.stringify({ code: outcome instanceof AppError ? outcome.code : String(outcome), size: await sizeOf(path) }),
);
