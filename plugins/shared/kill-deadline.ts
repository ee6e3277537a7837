/**
 * The kill deadline of work after a request to terminate. It is stored with the work, so that a restarted server keeps
 * it.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Default seconds between the request to terminate and the kill. */
export const DEFAULT_GRACE_S = 30;

interface KillDeadline {
  /** Milliseconds since 1970. */
  at: number;
  /** Termination was already requested with this or an earlier deadline. */
  asked: boolean;
}

/**
 * The kill deadline of the work in `directory`. A shorter grace period makes it earlier; a longer one does not make it
 * later.
 * @param now milliseconds since 1970
 */
export async function killDeadline(directory: string, now: number, graceS: number): Promise<KillDeadline> {
  const path = join(directory, "terminate.json");
  const before = await readFile(path, "utf8").then(
    (text) => Number((JSON.parse(text) as { kill_at: number }).kill_at),
    () => Number.NaN,
  );
  const wanted = now + graceS * 1000;
  if (before <= wanted) return { at: before, asked: true };
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(path, JSON.stringify({ kill_at: wanted }), { mode: 0o600 });
  return { at: wanted, asked: !Number.isNaN(before) };
}
