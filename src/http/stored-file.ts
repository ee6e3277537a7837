/** Answers with a file of the data directory. */
import { existsSync } from "node:fs";
import { AppError } from "../errors.ts";

/**
 * The response with a stored file's bytes, always as a download.
 * @param path absolute path of the file
 * @param name the file name for the client
 * @throws AppError `bytes_missing` when the file is no longer on disk
 */
export function storedFile(path: string, name: string, headers: Record<string, string> = {}): Response {
  if (!existsSync(path))
    throw new AppError(
      "gone",
      "bytes_missing",
      "The bytes of this file are no longer on the server's disk. Restore them from a backup, or create the file again.",
    );
  const encoded = encodeURIComponent(name).replaceAll("'", "%27");
  return new Response(Bun.file(path), {
    headers: {
      "content-type": "application/octet-stream",
      "content-disposition": `attachment; filename*=UTF-8''${encoded}`,
      "x-content-type-options": "nosniff",
      ...headers,
    },
  });
}
