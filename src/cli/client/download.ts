/** Downloads with progress; a file that exists is not overwritten. */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { AppError } from "../../errors.ts";
import { formatBytes } from "../../lib/text/format.ts";
import type { ApiClient } from "../api-client.ts";
import { createProgress } from "../progress.ts";
import { say } from "./output.ts";

/**
 * @param size bytes of the file, for the progress; null when unknown
 * @throws AppError `file_exists` (exit code 3)
 */
export async function downloadTo(
  api: ApiClient,
  path: string,
  target: string,
  size: number | null = null,
): Promise<void> {
  if (existsSync(target))
    throw new AppError("conflict", "file_exists", `${target} exists already. Remove it, or choose another --output.`);
  mkdirSync(dirname(target), { recursive: true });
  const progress = createProgress(process.stderr);
  await api.download(path, target, (bytes) =>
    progress.show(`${target}: ${formatBytes(bytes)}`, size === null ? null : bytes / Math.max(1, size)),
  );
  progress.end();
  say(`Saved ${target}.`);
}
