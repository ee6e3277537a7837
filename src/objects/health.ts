/** Whether the bucket answers, for the status page. */
import type { Ctx } from "../ctx.ts";
import { StoreProblem } from "../lib/objects/store.ts";

const WAIT_MS = 10_000;

/** Asks for an object that does not exist. @returns the problem; null when the bucket answers, or none is used */
export async function bucketProblem(ctx: Ctx): Promise<string | null> {
  if (!ctx.bucket) return null;
  const late = Bun.sleep(WAIT_MS).then(() => `The object store has not answered for ${WAIT_MS / 1000} s.`);
  const asked = ctx.bucket.stat("check/none").then(
    () => null,
    (error: unknown) => (error instanceof StoreProblem ? error.message : "The object store cannot be asked."),
  );
  return Promise.race([asked, late]);
}
