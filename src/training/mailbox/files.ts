/**
 * Files for trainers that use the mailbox: the bucket sends them. What is in it already is read there, base models are
 * copied once by their hash, and rows are copied into the mailbox of the attempt alone.
 */
import { ADDRESSES_S, MAILBOX_BASES, mailboxOf, onePiece, readAddress } from "../../compute/providers/mailbox.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import type { Expected, Source } from "../../lib/objects/store.ts";
import { storeFailure } from "../../objects/bucket.ts";
import { nameOf, storedRows } from "../../objects/units.ts";
import { rowBytes, rowsDigest } from "../trainer-protocol/files.ts";
import type { InputFile } from "../trainer-protocol/inputs.ts";
import { cameThroughMailbox } from "./exchange.ts";

/** How long a request waits for a copy; then the trainer asks again. */
const WAIT_MS = 20_000;

/** Copies on their way to the bucket, by key. */
const copies = perContext(() => new Map<string, Promise<void>>());

/** Sends the trainer to an object. */
async function sendTo(ctx: Ctx, key: string): Promise<Response> {
  return new Response(null, { status: 307, headers: { location: await readAddress(ctx, key, ADDRESSES_S) } });
}

/** Makes sure that an object is in the bucket. @throws AppError `input_on_its_way` (503), and those of the store */
async function provide(ctx: Ctx, key: string, source: () => Source, expected: Expected): Promise<void> {
  const { bucket } = ctx;
  if (!bucket) return;
  const running = copies(ctx);
  let copy = running.get(key);
  if (!copy) {
    copy = (async () => {
      if ((await bucket.stat(key))?.bytes === expected.bytes) return;
      await bucket.put(key, source(), expected, ctx.signal);
    })().finally(() => running.delete(key));
    running.set(key, copy);
    // Whoever waits sees the failure; nobody may.
    copy.catch(() => {});
  }
  try {
    if (await Promise.race([copy.then(() => true), Bun.sleep(WAIT_MS).then(() => false)])) return;
  } catch (error) {
    throw storeFailure(error);
  }
  throw new AppError("unavailable", "input_on_its_way", "The file is being copied to the bucket. Ask again.", {
    retryAfterS: 5,
  });
}

/** A file of an input as an address in the bucket; null for requests that came another way. */
export async function inputInBucket(ctx: Ctx, request: Request, attemptId: string, input: InputFile) {
  if (!cameThroughMailbox(ctx, request)) return null;
  const { file, artifactId } = input;
  if (artifactId !== null) {
    const rows = await storedRows(ctx, nameOf({ folder: "artifacts", id: artifactId }));
    const stored = rows.find((row) => row.path === file.path);
    if (stored) return sendTo(ctx, stored.key);
  }
  const key = artifactId === null ? `${MAILBOX_BASES}${file.sha256}` : `${mailboxOf(attemptId)}files/${file.sha256}`;
  await provide(ctx, key, () => ({ path: input.path }), { bytes: file.size, sha256: file.sha256 });
  return sendTo(ctx, key);
}

/** The rows of a split in the same way. */
export async function rowsInBucket(ctx: Ctx, request: Request, attemptId: string, files: string[]) {
  if (!cameThroughMailbox(ctx, request)) return null;
  const { size, sha256 } = await rowsDigest(ctx, files);
  const key = `${mailboxOf(attemptId)}files/${sha256}`;
  const source = () => (size === 0 ? onePiece(new Uint8Array()) : rowBytes(files, { from: 0, to: size }));
  await provide(ctx, key, source, { bytes: size, sha256 });
  return sendTo(ctx, key);
}
