/** Sends files to the hub as Git LFS objects, whole or in parts, and commits them. */
import { Readable } from "node:stream";
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { bytesOf, type PushFile } from "./files.ts";
import { ask, askHub, parsed, refusal, type Target } from "./hub.ts";
import { hubAddress } from "./model.ts";

/** Files of one request. */
const AT_ONCE = 100;
const SAMPLE_BYTES = 512;
/** Larger files are sent as LFS objects, whatever the hub prefers: the others travel inside the commit. */
const MAX_REGULAR = 10 * 1024 ** 2;
const MAX_REGULAR_TOTAL = 32 * 1024 ** 2;
const MAX_PARTS = 10_000;
const LFS = { accept: "application/vnd.git-lfs+json", "content-type": "application/vnd.git-lfs+json" };
/** Headers of a transfer that only the connection decides. */
const OWN_HEADERS = new Set(["host", "content-length", "transfer-encoding", "connection", "chunk_size"]);

const Modes = v.looseObject({
  files: v.array(v.looseObject({ path: v.string(), uploadMode: v.picklist(["lfs", "regular"]) })),
});
const Action = v.looseObject({
  href: v.string(),
  header: v.optional(v.nullable(v.record(v.string(), v.union([v.string(), v.number()])))),
});
type Action = v.InferOutput<typeof Action>;
const Batch = v.looseObject({
  objects: v.array(
    v.looseObject({
      oid: v.string(),
      error: v.optional(v.looseObject({ code: v.number(), message: v.string() })),
      actions: v.optional(v.nullable(v.looseObject({ upload: v.optional(Action), verify: v.optional(Action) }))),
    }),
  ),
});
const Committed = v.looseObject({ commitOid: v.string() });

/** Gets the bytes of a file that have been sent; less than before when a part is sent again. */
type OnBytes = (path: string, sent: number) => void;

function* chunksOf<T>(list: readonly T[]): Generator<T[]> {
  for (let at = 0; at < list.length; at += AT_ONCE) yield list.slice(at, at + AT_ONCE);
}

/** The paths of files that are sent inside the commit. */
async function regularFiles(ctx: Ctx, target: Target, files: PushFile[]): Promise<Set<string>> {
  const regular = new Set<string>();
  let total = 0;
  for (const some of chunksOf(files)) {
    const asked = [];
    for (const file of some) {
      const sample = await bytesOf(file, Math.min(file.size, SAMPLE_BYTES));
      asked.push({ path: file.path, size: file.size, sample: sample.toString("base64") });
    }
    const path = `/api/models/${target.repo}/preupload/${encodeURIComponent(target.branch)}`;
    const answer = await askHub(ctx, target, "POST", path, { files: asked });
    if (answer.status !== 200) throw refusal(target, answer);
    const modes = new Map(parsed(target, Modes, answer).files.map((file) => [file.path, file.uploadMode]));
    for (const { path: name, size } of some) {
      // An empty file cannot be an LFS object.
      if (size > 0 && (modes.get(name) !== "regular" || size > MAX_REGULAR || total + size > MAX_REGULAR_TOTAL))
        continue;
      regular.add(name);
      total += size;
    }
  }
  return regular;
}

/** An address that the hub names. */
function addressOf(target: Target, href: string): URL {
  const url = URL.parse(href, target.hub);
  if (url) return url;
  throw new AppError("invalid", "hub_answer", `${new URL(target.hub).host} sent an address that is not valid.`);
}

/** Sends the bytes from `start` to before `end`. @returns the ETag of what arrived */
async function put(
  ctx: Ctx,
  target: Target,
  file: PushFile,
  part: { href: string; headers: Record<string, string>; start: number; end: number },
  onBytes: OnBytes,
): Promise<string | null> {
  const { href, headers, start, end } = part;
  const url = addressOf(target, href);
  const counted = () => {
    let sent = start;
    const source = file.open(start, end);
    return Readable.from(
      (async function* () {
        onBytes(file.path, start);
        for await (const piece of source) {
          yield piece;
          sent += (piece as Buffer).byteLength;
          onBytes(file.path, sent);
        }
      })(),
      { objectMode: false },
    );
  };
  const stream = { size: end - start, open: counted };
  const answer = await ask(ctx, target, { method: "PUT", url, headers, stream });
  if (answer.status < 300) return answer.header("etag");
  if (answer.status === 413) throw refusal(target, answer);
  // A signed address expires; the next round gets a new one.
  throw new AppError(
    "unavailable",
    "hub_storage_refused",
    `${url.host}, the storage of the hub, refused ${file.path} (${answer.status}). Push again later.`,
  );
}

/** Sends a file in the parts that the hub wants, and has it put together. */
async function putParts(ctx: Ctx, target: Target, file: PushFile, upload: Action, onBytes: OnBytes): Promise<void> {
  const header = upload.header ?? {};
  const size = Number(header.chunk_size);
  const addresses = Object.entries(header)
    .filter(([name]) => /^\d{1,6}$/.test(name))
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, href]) => String(href));
  if (!(size >= 1) || addresses.length > MAX_PARTS || addresses.length !== Math.ceil(file.size / size))
    throw new AppError("invalid", "hub_answer", `The hub asks for parts of ${file.path} that do not cover it.`);
  const parts: { partNumber: number; etag: string }[] = [];
  for (const [index, href] of addresses.entries()) {
    const start = index * size;
    const part = { href, headers: {}, start, end: Math.min(start + size, file.size) };
    const etag = await put(ctx, target, file, part, onBytes);
    if (!etag) throw new AppError("invalid", "hub_answer", `The storage of the hub sent no ETag for ${file.path}.`);
    parts.push({ partNumber: index + 1, etag });
  }
  const body = JSON.stringify({ oid: file.sha256, parts });
  const answer = await ask(ctx, target, {
    method: "POST",
    url: addressOf(target, upload.href),
    headers: LFS,
    body,
  });
  if (answer.status >= 300) throw refusal(target, answer);
}

/** Sends one object as the hub asks for it. */
async function putObject(
  ctx: Ctx,
  target: Target,
  file: PushFile,
  actions: { upload?: Action; verify?: Action },
  onBytes: OnBytes,
): Promise<void> {
  const { upload, verify } = actions;
  // Without an upload, the hub has the object already.
  if (!upload) return;
  const header = Object.entries(upload.header ?? {});
  if (upload.header?.chunk_size !== undefined) await putParts(ctx, target, file, upload, onBytes);
  else {
    const headers = Object.fromEntries(
      header.filter(([name]) => !OWN_HEADERS.has(name.toLowerCase())).map(([name, value]) => [name, String(value)]),
    );
    await put(ctx, target, file, { href: upload.href, headers, start: 0, end: file.size }, onBytes);
  }
  if (!verify) return;
  const body = JSON.stringify({ oid: file.sha256, size: file.size });
  const answer = await ask(ctx, target, { method: "POST", url: addressOf(target, verify.href), headers: LFS, body });
  if (answer.status >= 300) throw refusal(target, answer);
}

/** Sends the objects that the hub does not have yet. */
async function uploadObjects(ctx: Ctx, target: Target, files: PushFile[], onBytes: OnBytes): Promise<void> {
  // Files with the same content are one object.
  const byHash = Map.groupBy(files, ({ sha256 }) => sha256);
  for (const some of chunksOf([...byHash.values()])) {
    const objects = some.flatMap(([file]) => (file ? [{ oid: file.sha256, size: file.size }] : []));
    const ref = { name: target.branch };
    const answer = await ask(ctx, target, {
      method: "POST",
      url: hubAddress(target.hub, `/${target.repo}.git/info/lfs/objects/batch`),
      headers: LFS,
      body: JSON.stringify({
        operation: "upload",
        transfers: ["basic", "multipart"],
        hash_algo: "sha256",
        ref,
        objects,
      }),
    });
    if (answer.status !== 200) throw refusal(target, answer);
    const found = new Map(parsed(target, Batch, answer).objects.map((object) => [object.oid, object]));
    for (const same of some) {
      const [file] = same;
      const object = file && found.get(file.sha256);
      if (!file || !object)
        throw new AppError("invalid", "hub_answer", "The hub did not answer for all objects that it was asked about.");
      if (object.error) {
        const { code, message } = object.error;
        throw refusal(target, { status: code, header: () => null, text: JSON.stringify({ error: message }) });
      }
      await putObject(ctx, target, file, object.actions ?? {}, onBytes);
      for (const { path, size } of same) onBytes(path, size);
    }
  }
}

/** The lines of a commit: large files by hash, the others with their content. */
async function commitBody(files: PushFile[], regular: Set<string>, message: string): Promise<string> {
  const lines: unknown[] = [{ key: "header", value: { summary: message, description: "" } }];
  for (const file of files) {
    const { path, size, sha256 } = file;
    if (regular.has(path)) {
      const content = (await bytesOf(file)).toString("base64");
      lines.push({ key: "file", value: { path, content, encoding: "base64" } });
    } else lines.push({ key: "lfsFile", value: { path, algo: "sha256", oid: sha256, size } });
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

/**
 * Sends files and commits them.
 * @param beforeCommit called when all large files have arrived
 * @returns the id of the commit
 * @throws AppError `hub_*`; `unavailable` ones may succeed in another round
 */
export async function uploadFiles(
  ctx: Ctx,
  target: Target,
  files: PushFile[],
  given: { message: string; onBytes: OnBytes; beforeCommit(): Promise<void> },
): Promise<string> {
  const regular = await regularFiles(ctx, target, files);
  const large = files.filter(({ path }) => !regular.has(path));
  await uploadObjects(ctx, target, large, given.onBytes);
  await given.beforeCommit();
  const answer = await ask(ctx, target, {
    method: "POST",
    url: hubAddress(target.hub, `/api/models/${target.repo}/commit/${encodeURIComponent(target.branch)}`),
    headers: { "content-type": "application/x-ndjson" },
    body: await commitBody(files, regular, given.message),
    // Whether a commit whose answer was lost exists shows in the next round.
    repeat: false,
  });
  if (answer.status >= 300) throw refusal(target, answer);
  for (const { path, size } of files) given.onBytes(path, size);
  return parsed(target, Committed, answer).commitOid;
}
