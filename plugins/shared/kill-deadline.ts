/**
 * When work that was asked to end will be killed: written beside the work, so that a restarted server keeps the same
 * deadline.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Seconds between the request to end and the kill, unless the host names another number. */
export const DEFAULT_GRACE_S = 30;

interface KillDeadline {
  /** Milliseconds since 1970. */
  at: number;
  /** The work had already been asked to end by then, or earlier. */
  asked: boolean;
}

/**
 * The deadline of the work whose files lie in `directory`. A shorter grace period moves it forward; a longer one never
 * moves it back.
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
