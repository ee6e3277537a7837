/** Objects in a bucket of an S3-compatible server. */
import { randomUUID } from "node:crypto";
import type { S3Client } from "@aws-sdk/client-s3";
import { type Connection, connect, type S3Settings } from "./s3-client.ts";
import { codeOf, problemOf } from "./s3-errors.ts";
import { abortUpload, requireLength, upload } from "./s3-upload.ts";
import { type ObjectStore, type StoredItem, StoreProblem } from "./store.ts";

/** Times that a read continues after its connection was lost. */
const CONTINUES = 5;
/** Keys of one request to remove. */
const REMOVE_AT_ONCE = 500;
/** A signature is refused when the clocks differ by 15 minutes; addresses that are valid for 5 fail earlier. */
const MAX_SKEW_MS = 4 * 60_000;
/** Objects of the check are below this name; the sweep removes what an interrupted check left. */
const CHECK = "check/";

const NONE_LISTED = new Set(["NoSuchUpload", "NotImplemented", "MethodNotAllowed"]);

const attachment = (name: string) =>
  `attachment; filename*=UTF-8''${encodeURIComponent(name).replaceAll("'", "%27").replaceAll("*", "%2A")}`;

/**
 * Opens a bucket. Nothing is sent before the first use.
 * @param now milliseconds since 1970
 */
export function s3Store(settings: S3Settings, now: () => number): ObjectStore {
  const { bucket, prefix } = settings;
  let opened: Promise<Connection> | null = null;
  const connection = () => {
    opened ??= connect(settings, now);
    return opened;
  };
  /** Runs requests about `key`; errors become problems that say what to change. */
  const run = async <T>(key: string, work: (client: S3Client, fullKey: string) => Promise<T>): Promise<T> => {
    try {
      return await work((await connection()).client, prefix + key);
    } catch (error) {
      throw problemOf(error, settings, key);
    }
  };

  const stat = (key: string): Promise<StoredItem | null> =>
    run(key, async (client, Key) => {
      const { HeadObjectCommand } = await import("@aws-sdk/client-s3");
      const found = await client.send(new HeadObjectCommand({ Bucket: bucket, Key }));
      return { key, bytes: found.ContentLength ?? 0, modifiedAt: Number(found.LastModified ?? 0) };
    }).catch((error: unknown) => {
      if (error instanceof StoreProblem && error.kind === "missing") return null;
      throw error;
    });

  async function* get(
    key: string,
    range: { from: number; to?: number } = { from: 0 },
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const { GetObjectCommand } = await import("@aws-sdk/client-s3");
    let at = range.from;
    if (range.to !== undefined && range.to <= at) return;
    for (let lost = 0; ; ) {
      const before = at;
      try {
        const body = await run(key, async (client, Key) => {
          const whole = at === 0 && range.to === undefined;
          const Range = `bytes=${at}-${range.to === undefined ? "" : range.to - 1}`;
          const reply = await client.send(
            new GetObjectCommand({ Bucket: bucket, Key, ...(whole ? {} : { Range }) }),
            signal ? { abortSignal: signal } : {},
          );
          return { stream: reply.Body as AsyncIterable<Uint8Array>, end: at + (reply.ContentLength ?? 0) };
        });
        for await (const piece of body.stream) {
          at += piece.byteLength;
          yield piece;
        }
        if (at >= body.end) return;
        throw new Error("the connection ended too early");
      } catch (error) {
        const problem = problemOf(error, settings, key);
        if (signal?.aborted || !(problem instanceof StoreProblem) || problem.kind !== "unreachable") throw problem;
        // A connection that brought something is not counted as a failure.
        lost = at > before ? 0 : lost + 1;
        if (lost > CONTINUES) throw problem;
      }
    }
  }

  async function* list(below: string, signal?: AbortSignal): AsyncGenerator<StoredItem> {
    const { paginateListObjectsV2 } = await import("@aws-sdk/client-s3");
    const { client } = await connection();
    try {
      const asked = { Bucket: bucket, Prefix: prefix + below };
      for await (const page of paginateListObjectsV2({ client }, asked, signal ? { abortSignal: signal } : {}))
        for (const { Key = "", Size = 0, LastModified } of page.Contents ?? [])
          yield { key: Key.slice(prefix.length), bytes: Size, modifiedAt: Number(LastModified ?? 0) };
    } catch (error) {
      throw problemOf(error, settings, below);
    }
  }

  const folders = (above: string): Promise<string[]> =>
    run(above, async (client, Prefix) => {
      const { paginateListObjectsV2 } = await import("@aws-sdk/client-s3");
      const found: string[] = [];
      for await (const page of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix, Delimiter: "/" }))
        for (const { Prefix: folder = "" } of page.CommonPrefixes ?? [])
          found.push(folder.slice(Prefix.length).replace(/\/$/, ""));
      return found;
    });

  const remove = async (keys: readonly string[]): Promise<void> => {
    const { DeleteObjectCommand, DeleteObjectsCommand } = await import("@aws-sdk/client-s3");
    for (let from = 0; from < keys.length; from += REMOVE_AT_ONCE) {
      const some = keys.slice(from, from + REMOVE_AT_ONCE);
      const [only = ""] = some;
      await run(only, async (client, Key) => {
        if (some.length === 1) return client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
        const Objects = some.map((one) => ({ Key: prefix + one }));
        const reply = await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }));
        const failed = reply.Errors?.filter((one) => one.Code !== "NoSuchKey")[0];
        if (failed) throw Object.assign(new Error(failed.Message ?? "not removed"), { Code: failed.Code });
        return reply;
      }).catch((error: unknown) => {
        if (!(error instanceof StoreProblem && error.kind === "missing")) throw error;
      });
    }
  };

  const put: ObjectStore["put"] = async (key, source, expected, signal) =>
    run(key, async (client, Key) => {
      const sent = await upload({ client, bucket, key: Key, signal }, source, expected);
      requireLength(key, (await stat(key))?.bytes, sent.bytes);
      return sent;
    });

  return {
    kind: "s3",
    put,
    get,
    stat,
    list,
    folders,
    remove,
    presignGet: (key, seconds, presented) =>
      run(key, async (client, Key) => {
        const { GetObjectCommand } = await import("@aws-sdk/client-s3");
        const { getSignedUrl } = await import("@aws-sdk/s3-request-presigner");
        const named = presented
          ? { ResponseContentDisposition: attachment(presented.filename), ResponseContentType: presented.type }
          : {};
        return getSignedUrl(client, new GetObjectCommand({ Bucket: bucket, Key, ...named }), { expiresIn: seconds });
      }),
    presignPut: (key, seconds, bytes) =>
      run(key, async (client, Key) => {
        const { PutObjectCommand } = await import("@aws-sdk/client-s3");
        const { getSignedUrl } = await import("@aws-sdk/s3-request-presigner");
        if (bytes === null)
          return getSignedUrl(client, new PutObjectCommand({ Bucket: bucket, Key }), { expiresIn: seconds });
        // The length is signed, so that nobody sends more than was agreed.
        return getSignedUrl(client, new PutObjectCommand({ Bucket: bucket, Key, ContentLength: bytes }), {
          expiresIn: seconds,
          signableHeaders: new Set(["content-length"]),
        });
      }),
    abortUploads: (before, below = "") =>
      run("", async (client) => {
        const { ListMultipartUploadsCommand } = await import("@aws-sdk/client-s3");
        let ended = 0;
        let from: { KeyMarker?: string; UploadIdMarker?: string } = {};
        for (;;) {
          const asked = { Bucket: bucket, Prefix: prefix + below, ...from };
          const page = await client.send(new ListMultipartUploadsCommand(asked));
          for (const { Key, UploadId, Initiated } of page.Uploads ?? [])
            if (Key?.startsWith(prefix + below) && UploadId && Number(Initiated ?? 0) < before) {
              await abortUpload(client, bucket, Key, UploadId);
              ended++;
            }
          if (!page.IsTruncated || !page.NextKeyMarker) return ended;
          from = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker ?? "" };
        }
      }).catch((error: unknown) => {
        // Servers that list no uploads, or say this when there is none.
        if (error instanceof StoreProblem && NONE_LISTED.has(codeOf(error.cause))) return 0;
        throw error;
      }),
    async check(signal) {
      const { ListObjectsV2Command } = await import("@aws-sdk/client-s3");
      await run("", (client) =>
        client.send(
          new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 }),
          signal ? { abortSignal: signal } : {},
        ),
      );
      const skew = Math.abs((await connection()).skewMs);
      if (skew > MAX_SKEW_MS)
        throw new StoreProblem(
          "setup",
          `The clocks of this server and of ${settings.endpoint} differ by ${Math.round(skew / 60_000)} minutes. Set the clock of this server (for example with chrony).`,
        );
      const key = `${CHECK}${randomUUID()}`;
      const bytes = new TextEncoder().encode(key);
      await put(
        key,
        (async function* () {
          yield bytes;
        })(),
        undefined,
        signal,
      );
      const read: Uint8Array[] = [];
      for await (const piece of get(key, undefined, signal)) read.push(piece);
      await remove([key]);
      if (Buffer.concat(read).toString() !== key)
        throw new StoreProblem("damaged", `The bucket ${bucket} returned other bytes than were stored.`);
    },
  };
}
