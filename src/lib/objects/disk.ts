/** Objects as files below a directory. */
import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isSafePath } from "../disk/manifest.ts";
import { writeFailure } from "../disk/reserve.ts";
import { type Expected, hashed, type ObjectStore, requireSame, type StoredItem, StoreProblem } from "./store.ts";

const PIECE = 1 << 18;
/** Ending of a file that is being written; lists leave it out. */
const DRAFT = /\.[0-9a-f-]{36}\.draft$/;

const isMissing = (error: unknown) => ["ENOENT", "ENOTDIR"].includes((error as { code?: string } | null)?.code ?? "");

async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function write(path: string, source: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    for await (const piece of source)
      for (let at = 0; at < piece.byteLength; ) at += (await file.write(piece, at, piece.byteLength - at)).bytesWritten;
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Keeps objects below `root`, at their key. Keys are relative paths of plain segments.
 * @throws Error for a key that is no such path
 */
export function diskStore(root: string): ObjectStore {
  const pathOf = (key: string) => {
    if (!isSafePath(key)) throw new Error(`unsafe key: ${key.slice(0, 200)}`);
    return join(root, key);
  };
  const itemOf = async (key: string): Promise<StoredItem | null> => {
    try {
      const found = await stat(pathOf(key));
      return found.isFile() ? { key, bytes: found.size, modifiedAt: found.mtimeMs } : null;
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  };
  async function* below(folder: string): AsyncGenerator<string> {
    const entries = await readdir(join(root, folder), { withFileTypes: true }).catch(() => []);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const key = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) yield* below(key);
      else if (entry.isFile() && !DRAFT.test(entry.name)) yield key;
    }
  }
  const store: ObjectStore = {
    kind: "disk",
    async put(key, source, expected, signal) {
      const path = pathOf(key);
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const draft = `${path}.${randomUUID()}.draft`;
      let found: Expected = { bytes: 0, sha256: "" };
      const pieces =
        "path" in source
          ? createReadStream(source.path, { highWaterMark: PIECE })
          : "pieces" in source
            ? source.pieces
            : source;
      const read = async function* (): AsyncGenerator<Uint8Array> {
        for await (const piece of pieces) {
          signal?.throwIfAborted();
          yield piece as Uint8Array;
        }
      };
      try {
        await write(
          draft,
          hashed(read(), (what) => {
            found = what;
          }),
        );
        requireSame(key, found, expected);
        await rename(draft, path);
        await flush(dirname(path));
      } catch (error) {
        await rm(draft, { force: true });
        throw writeFailure(error);
      }
      return found;
    },
    async *get(key, range, signal) {
      if (!(await itemOf(key))) throw new StoreProblem("missing", `${key}: no such object`);
      if (range?.to !== undefined && range.to <= range.from) return;
      const end = range?.to === undefined ? undefined : range.to - 1;
      const stream = createReadStream(pathOf(key), {
        start: range?.from ?? 0,
        ...(end === undefined ? {} : { end }),
        highWaterMark: PIECE,
      });
      for await (const piece of stream) {
        signal?.throwIfAborted();
        yield piece as Uint8Array;
      }
    },
    stat: itemOf,
    async *list(prefix) {
      const cut = prefix.lastIndexOf("/");
      for await (const key of below(cut < 0 ? "" : prefix.slice(0, cut))) {
        const item = key.startsWith(prefix) ? await itemOf(key) : null;
        if (item) yield item;
      }
    },
    async folders(prefix) {
      const entries = await readdir(join(root, prefix), { withFileTypes: true }).catch(() => []);
      return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    },
    async remove(keys) {
      for (const key of keys) await rm(pathOf(key), { force: true });
    },
    presignGet: async () => null,
    presignPut: async () => null,
    abortUploads: async () => 0,
    async check() {
      await stat(root);
    },
  };
  return store;
}
