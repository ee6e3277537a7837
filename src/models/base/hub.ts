/**
 * Downloads a model from the Hugging Face hub at a pinned commit: only allowed files, with sizes and hashes checked.
 * Interrupted downloads resume.
 */
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import type { HubSource } from "../../contract/hub-source.ts";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { readUpTo } from "../../lib/body.ts";
import { sha256File } from "../../lib/disk/manifest.ts";
import { diskGuard, requireDisk } from "../../lib/disk/reserve.ts";
import { fetchReply, followRedirects, type Reply, saveBody } from "../../lib/net/download.ts";
import { isModelFile, refuseName } from "./inspect.ts";
import type { BaseModelRow } from "./model.ts";
import { megabytes, type Report } from "./progress.ts";

const MAX_MODEL_BYTES = 500e9;
const MAX_LISTING_BYTES = 8 * 1024 * 1024;
const DOWNLOAD_TIMEOUT_MS = 30 * 60_000;
/** A listing is answered while a request waits for it. */
const LISTING_TIMEOUT_MS = 20_000;
/** File hosts that the hub redirects large files to. */
const CDN = /^([a-z0-9-]+\.)*(hf\.co|huggingface\.co)$/;

const Listing = v.object({
  cardData: v.optional(
    v.nullable(v.object({ license: v.optional(v.unknown()), license_name: v.optional(v.unknown()) })),
  ),
  sha: v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/)),
  siblings: v.array(
    v.object({
      rfilename: v.string(),
      size: v.optional(v.nullable(v.number())),
      blobId: v.optional(v.nullable(v.string())),
      lfs: v.optional(v.nullable(v.object({ sha256: v.string(), size: v.number() }))),
    }),
  ),
});

/** A repository at one commit: which files to fetch, with the sizes and hashes to check. */
export interface HubModel {
  repo: string;
  commit: string;
  /** From its model card, else `unspecified`. */
  license: string;
  files: { path: string; size: number; sha256: string | null; blob: string | null }[];
  bytes: number;
}

function hubError(message: string, cause?: unknown): AppError {
  return new AppError("unavailable", "hub_unreachable", message, { cause });
}

/** True where the hub may redirect to: its own origin or, over HTTPS, its file hosts. */
export function redirectAllowed(hub: URL, target: URL): boolean {
  if (target.origin === hub.origin) return true;
  return target.protocol === "https:" && target.port === "" && CDN.test(target.hostname);
}

/** GET whose redirects are checked; the token only goes to the hub's own origin. */
async function hubFetch(
  ctx: Ctx,
  start: URL,
  headers: Record<string, string>,
  timeoutMs = DOWNLOAD_TIMEOUT_MS,
): Promise<Reply> {
  const hub = new URL(ctx.config.hub_url);
  const ask = async (url: URL) => {
    const sent = { ...headers };
    if (url.origin === hub.origin && ctx.config.hub_token) sent.authorization = `Bearer ${ctx.config.hub_token}`;
    try {
      return await fetchReply(url, sent, AbortSignal.any([ctx.signal, AbortSignal.timeout(timeoutMs)]));
    } catch (cause) {
      throw hubError(
        `${hub.host} could not be reached from this machine. Import the model from a local directory instead.`,
        cause,
      );
    }
  };
  return followRedirects(start, ask, (next) => {
    if (next === undefined) throw hubError("The hub redirected more than 5 times.");
    if (!next || !redirectAllowed(hub, next))
      throw hubError(
        `The hub redirected to ${next?.origin ?? "an invalid URL"}, which is not one of its own addresses.`,
      );
  });
}

function refusal(status: number, repo: string): AppError {
  if (status === 401 || status === 403)
    return new AppError(
      "forbidden",
      "hub_access",
      `The hub denies access to ${repo}. Request access on the model's page there, then set hub_token.`,
      { param: "repo" },
    );
  if (status === 404)
    return new AppError("not_found", "hub_not_found", `The hub does not have ${repo} at this revision.`, {
      param: "repo",
    });
  return hubError(`The hub answered ${status} for ${repo}.`);
}

/**
 * Asks the hub which commit `revision` (branch, tag or commit) of `repo` currently is.
 * @throws AppError when the hub is switched off or unreachable, or the repository cannot be used
 */
export async function resolveHubModel(ctx: Ctx, repo: string, revision: string): Promise<HubModel> {
  if (ctx.config.hub_url === "")
    throw new AppError(
      "unavailable",
      "hub_disabled",
      "This installation does not use a hub (hub_url is empty). Import the model from a local directory.",
    );
  const url = new URL(`/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`, ctx.config.hub_url);
  const reply = await hubFetch(ctx, url, { accept: "application/json" }, LISTING_TIMEOUT_MS);
  if (reply.status !== 200) throw refusal(reply.status, repo);
  const parsed = v.safeParse(Listing, await boundedJson(reply));
  if (!parsed.success) throw hubError("The hub sent a response that is not valid.");
  const files: HubModel["files"] = [];
  for (const sibling of parsed.output.siblings) {
    if (/^[^/]+$/.test(sibling.rfilename) && isModelFile(sibling.rfilename))
      files.push({
        path: sibling.rfilename,
        size: sibling.lfs?.size ?? sibling.size ?? 0,
        sha256: sibling.lfs?.sha256 ?? null,
        blob: sibling.lfs ? null : (sibling.blobId ?? null),
      });
  }
  if (!files.some((file) => file.path.endsWith(".safetensors"))) {
    for (const sibling of parsed.output.siblings) refuseName(sibling.rfilename);
    throw new AppError("invalid", "model_refused", `${repo} has no safetensors weights.`, { param: "repo" });
  }
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  if (bytes > MAX_MODEL_BYTES)
    throw new AppError(
      "too_large",
      "model_too_large",
      `${repo} is ${megabytes(bytes)}; the limit is ${megabytes(MAX_MODEL_BYTES)}.`,
    );
  const card = parsed.output.cardData;
  const license = [card?.license === "other" ? card.license_name : card?.license].flat()[0];
  return {
    repo,
    commit: parsed.output.sha,
    license: typeof license === "string" ? license.slice(0, 200) : "unspecified",
    files,
    bytes,
  };
}

/** Where the files of a repository at a commit are; the path of a file is added. */
const filesAt = (ctx: Ctx, repo: string, commit: string) =>
  new URL(`/${repo}/resolve/${commit}/`, ctx.config.hub_url).href;

/**
 * Where others can download the files of a base model: only those that this server downloaded itself, at the commit
 * that it checked. Null for models of any other origin, for those that stay here, and for a hub_url with a password.
 */
export function hubSource(ctx: Ctx, row: BaseModelRow): HubSource | null {
  if (row.source !== "hub" || row.staysLocal || !/^[0-9a-f]{40}$/.test(row.revision)) return null;
  const hub = URL.parse(ctx.config.hub_url);
  if (!hub || !/^https?:$/.test(hub.protocol) || hub.username || hub.password) return null;
  return { url: filesAt(ctx, row.sourceRef, row.revision) };
}

async function boundedJson(reply: Reply): Promise<unknown> {
  const { bytes, truncated } = await readUpTo(reply.body, MAX_LISTING_BYTES);
  if (truncated) throw hubError("The hub's answer is too long.");
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/** The git object id of a file: SHA-1 of `blob SIZE\0CONTENT`. */
async function gitBlob(path: string): Promise<string> {
  const bytes = await Bun.file(path).bytes();
  return new Bun.CryptoHasher("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

async function isComplete(path: string, file: HubModel["files"][number]): Promise<boolean> {
  if (statSync(path, { throwIfNoEntry: false })?.size !== file.size) return false;
  if (file.sha256) return (await sha256File(path)) === file.sha256;
  return file.blob === null || (await gitBlob(path)) === file.blob;
}

/** Downloads every file into `directory`, resuming an earlier try; returns when all files are complete. */
export async function downloadHubModel(ctx: Ctx, model: HubModel, directory: string, report: Report): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const present = model.files.reduce((sum, file) => sum + Math.min(file.size, sizeOf(join(directory, file.path))), 0);
  requireDisk(directory, ctx.config.disk_reserve_bytes, model.bytes - present);
  let done = 0;
  for (const file of model.files) {
    const path = join(directory, file.path);
    const onBytes = (bytes: number) =>
      report(
        `Downloading ${file.path}: ${megabytes(done + bytes)} of ${megabytes(model.bytes)}`,
        (done + bytes) / Math.max(1, model.bytes),
      );
    if (!(await isComplete(path, file))) {
      await downloadWithRetries(ctx, model, file, path, onBytes);
      if (!(await isComplete(path, file))) {
        await Bun.file(path).delete();
        throw hubError(`${file.path} does not match the size or hash that the hub lists; try again.`);
      }
    }
    done += file.size;
  }
}

const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Resumes after a broken connection as long as every try makes progress. */
async function downloadWithRetries(...given: Parameters<typeof downloadFile>): Promise<void> {
  const [ctx, , file, path] = given;
  for (;;) {
    const before = sizeOf(path);
    try {
      return await downloadFile(...given);
    } catch (cause) {
      if (cause instanceof AppError || ctx.signal.aborted) throw cause;
      if (sizeOf(path) <= before)
        throw hubError(`The connection broke while ${file.path} was downloading; try again.`, cause);
    }
  }
}

async function downloadFile(
  ctx: Ctx,
  model: HubModel,
  file: HubModel["files"][number],
  path: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let received = sizeOf(path);
  if (received >= file.size) received = 0;
  const url = new URL(filesAt(ctx, model.repo, model.commit) + file.path);
  const reply = await hubFetch(ctx, url, received > 0 ? { range: `bytes=${received}-` } : {});
  if (reply.status !== 200 && reply.status !== 206) throw refusal(reply.status, model.repo);
  if (reply.status !== 206) received = 0;
  const guard = diskGuard(path, ctx.config.disk_reserve_bytes);
  await saveBody(reply, path, received, (chunk, after) => {
    if (after > file.size) throw hubError(`${file.path} is longer than the hub lists.`);
    guard(chunk);
    onBytes(after);
  });
}
