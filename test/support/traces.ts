/** Finds what is left of a text in the files of a directory: plain, in hex, and in base64 at any position. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Base64 of a text that begins at byte 0, 1 or 2 of a group, without the characters that depend on its neighbors. */
function base64Forms(text: string): string[] {
  const bytes = Buffer.from(text);
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString("base64")
      .replace(/=+$/, "");
    const from = shift === 0 ? 0 : shift + 1;
    return encoded.slice(from, (bytes.length + shift) % 3 === 0 ? undefined : -1);
  });
}

/** Every form in which a text may be stored. */
function formsOf(text: string): string[] {
  const base64 = base64Forms(text);
  const escaped = JSON.stringify(text).slice(1, -1);
  const url = base64.map((form) => form.replaceAll("+", "-").replaceAll("/", "_"));
  return [...new Set([text, escaped, encodeURIComponent(text), Buffer.from(text).toString("hex"), ...base64, ...url])];
}

/** What a file contains; nothing when it is gone by now, as the lock of work that has ended. */
function contentOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
}

/** `path: form` for each form of a text that a file below `dir` contains. */
export function tracesIn(dir: string, text: string, skip: (path: string) => boolean = () => false): string[] {
  const forms = formsOf(text);
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !skip(path))
    .flatMap((path) => {
      const content = contentOf(path);
      return forms.filter((form) => content.includes(form)).map((form) => `${path.slice(dir.length + 1)}: ${form}`);
    });
}
