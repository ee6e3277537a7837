/**
 * Fetches a model from the Hugging Face hub by pinned commit: allowed files only, sizes and hashes checked, interrupted
 * downloads continued.
 */
import { mkdirSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { readUpTo } from "../../lib/body.ts";
import { sha256File } from "../../lib/disk/manifest.ts";
import { diskGuard, requireDisk } from "../../lib/disk/reserve.ts";
import { isModelFile, refuseName } from "./inspect.ts";
import { megabytes, type Report } from "./progress.ts";

const MAX_MODEL_BYTES = 500e9;
const MAX_LISTING_BYTES = 8 * 1024 * 1024;
const MAX_REDIRECTS = 5;
/** Hosts the hub hands large files to. */
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

/** A repository at one commit: what to fetch, and how to tell that it came whole. */
export interface HubModel {
  repo: string;
  commit: string;
  /** As its model card says, else `unspecified`. */
  license: string;
  files: { path: string; size: number; sha256: string | null; blob: string | null }[];
  bytes: number;
}

function hubError(message: string, cause?: unknown): AppError {
  return new AppError("unavailable", "hub_unreachable", message, { cause });
}

/** A URL of the hub may lead to the hub itself or, over HTTPS, to its file hosts; anywhere else is refused. */
export function redirectAllowed(hub: URL, target: URL): boolean {
  if (target.origin === hub.origin) return true;
  return target.protocol === "https:" && target.port === "" && CDN.test(target.hostname);
}

/** GET with redirects followed by hand, so that each is checked and the token never leaves the hub's own origin. */
async function hubFetch(ctx: Ctx, start: URL, headers: Record<string, string>): Promise<Response> {
  const hub = new URL(ctx.config.hub_url);
  let url = start;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const sent = { ...headers };
    if (url.origin === hub.origin && ctx.config.hub_token) sent.authorization = `Bearer ${ctx.config.hub_token}`;
    const signal = AbortSignal.any([ctx.signal, AbortSignal.timeout(30 * 60_000)]);
    let reply: Response;
    try {
      reply = await fetch(url, { headers: sent, redirect: "manual", signal });
    } catch (cause) {
      throw hubError(
        `${hub.host} could not be reached from this machine. Import the model from a local directory instead.`,
        cause,
      );
    }
    const location = reply.headers.get("location");
    if (reply.status < 300 || reply.status >= 400 || !location) return reply;
    await reply.body?.cancel();
    const next = URL.parse(location, url);
    if (!next || !redirectAllowed(hub, next))
      throw hubError(
        `The hub led to ${next?.origin ?? "something that is no address"}, which is not one of its own addresses.`,
      );
    url = next;
  }
  throw hubError("The hub led around in circles.");
}

function refusal(status: number, repo: string): AppError {
  if (status === 401 || status === 403)
    return new AppError(
      "forbidden",
      "hub_access",
      `The hub does not give ${repo} to this installation. Ask for access on its page there, then set the setting hub_token.`,
      { param: "repo" },
    );
  if (status === 404)
    return new AppError("not_found", "hub_not_found", `The hub has no ${repo} at this revision.`, { param: "repo" });
  return hubError(`The hub answered ${status} for ${repo}.`);
}

/**
 * Asks the hub what `revision` (branch, tag or commit) of `repo` is now.
 * @throws AppError when the hub is switched off or unreachable, or the repository is not fit
 */
export async function resolveHubModel(ctx: Ctx, repo: string, revision: string): Promise<HubModel> {
  if (ctx.config.hub_url === "")
    throw new AppError(
      "unavailable",
      "hub_disabled",
      "This installation does not reach out to a hub (setting hub_url is empty). Import from a local directory.",
    );
  const url = new URL(`/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`, ctx.config.hub_url);
  const reply = await hubFetch(ctx, url, { accept: "application/json" });
  if (!reply.ok) throw refusal(reply.status, repo);
  const parsed = v.safeParse(Listing, await boundedJson(reply));
  if (!parsed.success) throw hubError("The hub's answer could not be understood.");
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
    throw new AppError("invalid", "model_refused", `${repo} holds no safetensors weights.`, { param: "repo" });
  }
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  if (bytes > MAX_MODEL_BYTES)
    throw new AppError(
      "too_large",
      "model_too_large",
      `${repo} is ${megabytes(bytes)}; at most ${megabytes(MAX_MODEL_BYTES)} are fetched.`,
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

async function boundedJson(reply: Response): Promise<unknown> {
  const { bytes, truncated } = await readUpTo(reply.body, MAX_LISTING_BYTES);
  if (truncated) throw hubError("The hub's answer is too long.");
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/** git's own name of a file's content: sha1 over `blob SIZE\0CONTENT`. */
async function gitBlob(path: string): Promise<string> {
  const bytes = await Bun.file(path).bytes();
  return new Bun.CryptoHasher("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

async function isWhole(path: string, file: HubModel["files"][number]): Promise<boolean> {
  if (statSync(path, { throwIfNoEntry: false })?.size !== file.size) return false;
  if (file.sha256) return (await sha256File(path)) === file.sha256;
  return file.blob === null || (await gitBlob(path)) === file.blob;
}

/** Fetches every file into `directory`, going on where an earlier try stopped; returns when all are whole. */
export async function downloadHubModel(ctx: Ctx, model: HubModel, directory: string, report: Report): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const here = model.files.reduce((sum, file) => sum + Math.min(file.size, sizeOf(join(directory, file.path))), 0);
  requireDisk(directory, ctx.config.disk_reserve_bytes, model.bytes - here);
  let done = 0;
  for (const file of model.files) {
    const path = join(directory, file.path);
    const say = (bytes: number) =>
      report(
        `Downloading ${file.path}: ${megabytes(done + bytes)} of ${megabytes(model.bytes)}`,
        (done + bytes) / Math.max(1, model.bytes),
      );
    if (!(await isWhole(path, file))) {
      await fetchPatiently(ctx, model, file, path, say);
      if (!(await isWhole(path, file))) {
        await Bun.file(path).delete();
        throw hubError(`${file.path} did not arrive as the hub describes it; try again.`);
      }
    }
    done += file.size;
  }
}

const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Tries again from where it broke off as long as every try brings something. */
async function fetchPatiently(...given: Parameters<typeof downloadFile>): Promise<void> {
  const [ctx, , file, path] = given;
  for (;;) {
    const before = sizeOf(path);
    try {
      return await downloadFile(...given);
    } catch (cause) {
      if (cause instanceof AppError || ctx.signal.aborted) throw cause;
      if (sizeOf(path) <= before)
        throw hubError(`The connection broke while ${file.path} was coming in; try again.`, cause);
    }
  }
}

async function downloadFile(
  ctx: Ctx,
  model: HubModel,
  file: HubModel["files"][number],
  path: string,
  say: (bytes: number) => void,
): Promise<void> {
  let have = sizeOf(path);
  if (have >= file.size) have = 0;
  const url = new URL(`/${model.repo}/resolve/${model.commit}/${file.path}`, ctx.config.hub_url);
  const reply = await hubFetch(ctx, url, have > 0 ? { range: `bytes=${have}-` } : {});
  if (!reply.ok) throw refusal(reply.status, model.repo);
  if (reply.status !== 206) have = 0;
  const out = await open(path, have > 0 ? "a" : "w");
  const guard = diskGuard(path, ctx.config.disk_reserve_bytes);
  try {
    for await (const chunk of reply.body ?? []) {
      have += chunk.length;
      if (have > file.size) throw hubError(`${file.path} is longer than the hub said.`);
      guard(chunk.length);
      await out.write(chunk);
      say(have);
    }
  } finally {
    await out.close();
  }
}
