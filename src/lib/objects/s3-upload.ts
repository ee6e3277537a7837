/** Uploads to S3: small objects in one request, large ones in parts, which continue after an interruption. */
import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import type { S3Client } from "@aws-sdk/client-s3";
import { codeOf } from "./s3-errors.ts";
import { type Expected, requireSame, type Source, StoreProblem } from "./store.ts";

const MiB = 1024 ** 2;
/** Smallest part; larger objects have larger parts, because S3 allows 10,000. */
const PART = 16 * MiB;
const MAX_PARTS = 9000;
/** Parts on their way at the same time, each in memory. */
const AT_ONCE = 3;

const md5Of = (bytes: Uint8Array) => createHash("md5").update(bytes).digest();

/** Bytes of a part: as many as fit S3's limit for an object of `bytes`. */
const partSize = (bytes: number) => Math.max(PART, Math.ceil(bytes / MAX_PARTS / MiB) * MiB);

/** Blocks of exactly `size` bytes; the last may be shorter, and an empty source has one empty block. */
async function* blocksOf(source: Source, size: number): AsyncGenerator<Uint8Array> {
  let some = false;
  if ("path" in source) {
    const file = await open(source.path, "r");
    try {
      for (;;) {
        const block = Buffer.allocUnsafe(size);
        let used = 0;
        for (let read = 1; read > 0 && used < size; used += read)
          read = (await file.read(block, used, size - used)).bytesRead;
        if (used > 0 || !some) yield block.subarray(0, used);
        some = true;
        if (used < size) return;
      }
    } finally {
      await file.close();
    }
  }
  let block = Buffer.allocUnsafe(size);
  let used = 0;
  for await (const piece of "pieces" in source ? source.pieces : (source as AsyncIterable<Uint8Array>))
    for (let at = 0; at < piece.byteLength; ) {
      const part = piece.subarray(at, at + size - used);
      block.set(part, used);
      used += part.byteLength;
      at += part.byteLength;
      if (used < size) continue;
      some = true;
      yield block;
      block = Buffer.allocUnsafe(size);
      used = 0;
    }
  if (used > 0 || !some) yield block.subarray(0, used);
}

/** Where the object goes; `key` with the prefix. */
interface Target {
  client: S3Client;
  bucket: string;
  key: string;
  signal: AbortSignal | undefined;
}

type Parts = Map<number, { bytes: number; etag: string }>;

/** The newest unfinished upload of this key with its parts; null without one, and where the server lists none. */
async function unfinished({ client, bucket, key, signal }: Target): Promise<{ id: string; parts: Parts } | null> {
  const { ListMultipartUploadsCommand, ListPartsCommand } = await import("@aws-sdk/client-s3");
  const send = { ...(signal ? { abortSignal: signal } : {}) };
  try {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }), send);
    const own = Uploads.filter((one) => one.Key === key && one.UploadId);
    const newest = own.sort((a, b) => Number(b.Initiated ?? 0) - Number(a.Initiated ?? 0))[0];
    if (!newest?.UploadId) return null;
    const parts: Parts = new Map();
    for (let after = 0; ; ) {
      const given = { Bucket: bucket, Key: key, UploadId: newest.UploadId, PartNumberMarker: String(after) };
      const page = await client.send(new ListPartsCommand(given), send);
      for (const { PartNumber = 0, Size = 0, ETag = "" } of page.Parts ?? [])
        parts.set(PartNumber, { bytes: Size, etag: ETag });
      const next = Math.max(after, ...(page.Parts ?? []).map(({ PartNumber = 0 }) => PartNumber));
      // Some servers say that there is more when there is not.
      if (!page.IsTruncated || next === after) break;
      after = next;
    }
    return { id: newest.UploadId, parts };
  } catch (error) {
    if (["NotImplemented", "NoSuchUpload", "MethodNotAllowed", "AccessDenied", "501"].includes(codeOf(error)))
      return null;
    throw error;
  }
}

async function putSmall(target: Target, bytes: Uint8Array): Promise<void> {
  const { PutObjectCommand } = await import("@aws-sdk/client-s3");
  const { client, bucket, key, signal } = target;
  await client.send(
    new PutObjectCommand({
      Bucket: bucket,
      Key: key,
      Body: bytes,
      ContentLength: bytes.byteLength,
      ContentMD5: md5Of(bytes).toString("base64"),
    }),
    signal ? { abortSignal: signal } : {},
  );
}

/** Ends an upload in parts; what was sent is dropped. */
export async function abortUpload(client: S3Client, bucket: string, key: string, id: string): Promise<void> {
  const { AbortMultipartUploadCommand } = await import("@aws-sdk/client-s3");
  await client
    .send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: id }))
    .catch((error: unknown) => {
      if (codeOf(error) !== "NoSuchUpload") throw error;
    });
}

/** Sends the blocks as parts, those that are there already not again. @returns the parts in order */
async function sendParts(target: Target, id: string, have: Parts, blocks: AsyncIterable<Uint8Array>) {
  const { UploadPartCommand } = await import("@aws-sdk/client-s3");
  const { client, bucket, key } = target;
  const failed = new AbortController();
  const signal = target.signal ? AbortSignal.any([target.signal, failed.signal]) : failed.signal;
  const done: { PartNumber: number; ETag: string }[] = [];
  const under = new Set<Promise<void>>();
  let problem: { error: unknown } | null = null;
  const send = async (number: number, block: Uint8Array) => {
    const md5 = md5Of(block);
    const old = have.get(number);
    if (old?.bytes === block.byteLength && old.etag.replaceAll('"', "") === md5.toString("hex")) {
      done.push({ PartNumber: number, ETag: old.etag });
      return;
    }
    const { ETag = "" } = await client.send(
      new UploadPartCommand({
        Bucket: bucket,
        Key: key,
        UploadId: id,
        PartNumber: number,
        Body: block,
        ContentLength: block.byteLength,
        ContentMD5: md5.toString("base64"),
      }),
      { abortSignal: signal },
    );
    done.push({ PartNumber: number, ETag });
  };
  let number = 0;
  for await (const block of blocks) {
    const work = send(++number, block).catch((error: unknown) => {
      problem ??= { error };
      failed.abort();
    });
    under.add(work);
    void work.finally(() => under.delete(work));
    if (under.size >= AT_ONCE) await Promise.race(under);
    if (problem) break;
  }
  await Promise.all(under);
  if (problem) throw (problem as { error: unknown }).error;
  return done.sort((a, b) => a.PartNumber - b.PartNumber);
}

/**
 * Uploads a source. A file of several parts continues its last unfinished upload.
 * @returns what was sent
 * @throws StoreProblem `damaged`, errors of the SDK
 */
export async function upload(target: Target, source: Source, expected: Expected | undefined): Promise<Expected> {
  const { CompleteMultipartUploadCommand, CreateMultipartUploadCommand } = await import("@aws-sdk/client-s3");
  const { client, bucket, key } = target;
  const known = "pieces" in source ? source.bytes : (expected?.bytes ?? 0);
  const size = "path" in source ? (await stat(source.path)).size : known;
  const part = partSize(size);
  const hasher = new Bun.CryptoHasher("sha256");
  let bytes = 0;
  const seen = async function* (blocks: AsyncIterable<Uint8Array>) {
    for await (const block of blocks) {
      hasher.update(block);
      bytes += block.byteLength;
      yield block;
    }
  };
  const blocks = seen(blocksOf(source, part));
  const first = await blocks.next();
  const head = first.value ?? new Uint8Array();
  if (head.byteLength < part) {
    await blocks.return(undefined);
    const found = { bytes, sha256: hasher.digest("hex") };
    requireSame(key, found, expected);
    await putSmall(target, head);
    return found;
  }
  const old = "path" in source ? await unfinished(target) : null;
  const id =
    old?.id ?? (await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: key }))).UploadId ?? "";
  const all = async function* () {
    yield head;
    yield* blocks;
  };
  const parts = await sendParts(target, id, old?.parts ?? new Map(), all());
  const found = { bytes, sha256: hasher.digest("hex") };
  try {
    requireSame(key, found, expected);
  } catch (error) {
    await abortUpload(client, bucket, key, id);
    throw error;
  }
  await client.send(
    new CompleteMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: id, MultipartUpload: { Parts: parts } }),
  );
  return found;
}

/** @throws StoreProblem `damaged` when the server has another length than was sent */
export function requireLength(key: string, has: number | undefined, sent: number): void {
  if (has !== sent) throw new StoreProblem("damaged", `${key}: the store has ${has ?? 0} bytes, ${sent} were sent`);
}
