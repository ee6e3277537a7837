/** Reads a secret that is in a file of its own, as systemd, Docker and Kubernetes hand it over. */
import { readFileSync } from "node:fs";

/**
 * The text of the file, without the line break at its end.
 * @param refused makes the error from a reason, which never has the content
 */
export function readSecretFile(path: string, refused: (why: string) => Error): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (cause) {
    throw refused(`${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? "error"}).`);
  }
  if (text === "") throw refused(`${path} is empty.`);
  return text;
}
