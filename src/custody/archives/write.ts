/** Writes an archive: a ZIP file with rows, files, an explanation, and a manifest with every hash at its end. */
import { createWriteStream } from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ZipFile } from "yazl";
import type { Ctx } from "../../ctx.ts";
import { diskGuard } from "../../lib/disk/reserve.ts";
import { type ArchiveFile, filesOf, rowsOf, type Subject } from "./rows.ts";
import { PARTS } from "./tables.ts";

/** From this size on an entry needs the 64-bit form. */
const LARGE = 2 ** 31;

interface Entry {
  path: string;
  bytes: number;
  sha256: string;
  rows?: number;
}

interface Options {
  subject: Subject;
  checkpoints: boolean;
  signal: AbortSignal;
  /** Called with the bytes of files that are part of it, once they are known. */
  onTotal(bytes: number): Promise<void>;
  /** Called with the bytes read of these files so far. */
  onBytes(bytes: number): void;
}

const README = (scope: Subject["scope"], id: string) => `This archive has everything that Fine-Tune Lab stored of ${
  scope === "user" ? "the user" : "the organization"
} ${id}.

manifest.json    every file with its size and SHA-256, and the number of rows of each table
records/         one file a table, one JSON object a line; times are UTC
files/           uploaded files, unchanged
datasets/        the rows of each version of a dataset, as they were trained on and tested with
runs/            what runs stored: adapters and models (safetensors), checkpoints, exports (GGUF), reports

Passwords, keys, tokens and other secrets are not part of it. records/audit_log.jsonl has the hash of each entry and of
the entry before it. To check a file: sha256sum FILE, and compare with manifest.json.
`;

/** A stream that counts and hashes what passes. */
function measured(signal: AbortSignal, done: (bytes: number, sha256: string) => void, onBytes?: (n: number) => void) {
  const hash = new Bun.CryptoHasher("sha256");
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, next) {
      if (signal.aborted) return next(new Error("stopped"));
      hash.update(chunk);
      bytes += chunk.length;
      onBytes?.(chunk.length);
      next(null, chunk);
    },
    flush(next) {
      done(bytes, hash.digest("hex"));
      next();
    },
  });
}

/**
 * Writes the archive of a subject to `path`.
 * @returns its size in bytes and hex SHA-256
 * @throws AppError `disk_full`
 */
export async function writeArchive(
  ctx: Ctx,
  path: string,
  { subject, checkpoints, signal, onTotal, onBytes }: Options,
): Promise<{ bytes: number; sha256: string }> {
  const files = await filesOf(ctx, subject, checkpoints);
  await onTotal(files.reduce((sum, { bytes }) => sum + bytes, 0));
  const entries: Entry[] = [];
  const zip = new ZipFile();
  const failed = Promise.withResolvers<never>();
  const add = (name: string, open: () => Readable, size: number, compress: boolean, extra: () => Partial<Entry>) =>
    zip.addReadStreamLazy(name, { compress, forceZip64Format: size >= LARGE, mode: 0o600 }, (give) => {
      const source = open();
      const counted = measured(
        signal,
        (bytes, sha256) => entries.push({ path: name, bytes, sha256, ...extra() }),
        compress ? undefined : read,
      );
      source.on("error", failed.reject);
      counted.on("error", failed.reject);
      give(null, source.pipe(counted));
    });
  let done = 0;
  const read = (n: number) => {
    done += n;
    onBytes(done);
  };
  const text = (content: string) => () => Readable.from([Buffer.from(content)]);
  add("README.txt", text(README(subject.scope, subject.id)), 0, true, () => ({}));
  for (const table of Object.keys(PARTS)) {
    let rows = 0;
    const lines = async function* () {
      for await (const piece of rowsOf(ctx, table, subject)) {
        rows += piece.rows;
        yield Buffer.from(piece.text);
      }
    };
    if (PARTS[table]?.[subject.scope] === null) continue;
    add(
      `records/${table}.jsonl`,
      () => Readable.from(lines()),
      0,
      true,
      () => ({ rows }),
    );
  }
  for (const file of files) addFile(add, file);
  const manifest = async function* () {
    const { id, scope } = subject;
    const made = new Date(ctx.clock.now()).toISOString();
    const about = { format: 1, product: "Fine-Tune Lab", installation: ctx.installation, [scope]: id, checkpoints };
    yield Buffer.from(`${JSON.stringify({ ...about, made_at: made, files: [...entries] }, null, 2)}\n`);
  };
  add(
    "manifest.json",
    () => Readable.from(manifest()),
    0,
    true,
    () => ({}),
  );
  zip.end();
  const guard = diskGuard(ctx.files.path("archives"), ctx.config.disk_reserve_bytes);
  let whole = { bytes: 0, sha256: "" };
  const last = measured(signal, (bytes, sha256) => (whole = { bytes, sha256 }), guard);
  const target = createWriteStream(path, { mode: 0o600 });
  await Promise.race([pipeline(zip.outputStream as unknown as Readable, last, target, { signal }), failed.promise]);
  return whole;
}

function addFile(
  add: (name: string, open: () => Readable, size: number, compress: boolean, extra: () => Partial<Entry>) => void,
  { open, to, bytes }: ArchiveFile,
): void {
  add(
    to,
    () => Readable.from(open()),
    bytes,
    false,
    () => ({}),
  );
}
