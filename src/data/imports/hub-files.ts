/** Finds the files of a dataset's split on the Hugging Face hub, at the commit that the revision is now. */
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { readUpTo } from "../../lib/body.ts";
import type { SourceOf } from "./model.ts";
import { getRemote, type Place, replyError } from "./remote.ts";

const MAX_LISTING = 32 * 1024 ** 2;
const DATA = /\.(jsonl|ndjson|json|csv|tsv|txt|parquet|arrow)(\.(gz|zst|xz))?$/i;
/** The branch on which the hub keeps every public dataset as Parquet, by configuration and split. */
const CONVERTED = "refs/convert/parquet";
/** `train-00000-of-00002`: one of several files that belong together. */
const SHARD = /-\d{5}-of-\d{5}/;

const Listing = v.object({
  sha: v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/)),
  siblings: v.array(
    v.object({
      rfilename: v.string(),
      size: v.optional(v.nullable(v.number())),
      lfs: v.optional(v.nullable(v.object({ sha256: v.string(), size: v.number() }))),
    }),
  ),
});
type Listing = v.InferOutput<typeof Listing>;
type File = Listing["siblings"][number];

const hubError = (kind: "not_found" | "invalid" | "unavailable", code: string, message: string) =>
  new AppError(kind, code, message, { param: "source.repo" });

async function listingOf(ctx: Ctx, source: SourceOf<"huggingface">, revision: string, signal: AbortSignal) {
  const url = new URL(
    `/api/datasets/${source.repo}/revision/${encodeURIComponent(revision)}?blobs=true`,
    ctx.config.hub_url,
  );
  const reply = await getRemote(ctx, url, {
    headers: { accept: "application/json" },
    secret: secretOf(ctx, source),
    signal,
  });
  if (reply.status === 404) {
    await reply.discard();
    return null;
  }
  if (reply.status === 401 || reply.status === 403) {
    await reply.discard();
    throw new AppError(
      "forbidden",
      "hub_access",
      `The hub denies access to ${source.repo}. Request access on its page there, then import it with a token that may read it.`,
      { param: "source.token" },
    );
  }
  if (reply.status !== 200) throw replyError(url, reply.status);
  const { bytes, truncated } = await readUpTo(reply.body, MAX_LISTING);
  let parsed: unknown = null;
  try {
    parsed = truncated ? null : JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // Reported below.
  }
  const listing = v.safeParse(Listing, parsed);
  if (!listing.success)
    throw hubError("unavailable", "hub_unreachable", "The hub sent a list of files that is not valid.");
  return listing.output;
}

/** A token of the request, else that of the installation. */
function secretOf(ctx: Ctx, source: SourceOf<"huggingface">): Record<string, string> {
  const token = source.token ?? ctx.config.hub_token;
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** The files of one split: their folder or name begins with it, in the folder of the configuration if one is given. */
function filesOfSplit(files: File[], config: string | null, split: string): File[] {
  const data = files.filter(
    (file) => DATA.test(file.rfilename) && !/(^|\/)(\.|dataset_infos?\.json)/.test(file.rfilename),
  );
  const folders = (file: File) => file.rfilename.split("/");
  const inConfig = config === null ? data : data.filter((file) => folders(file).slice(0, -1).includes(config));
  const begins = (part: string) => part.startsWith(split) && ["", "-", "_", "."].includes(part.charAt(split.length));
  const found = inConfig.filter((file) => folders(file).some(begins));
  if (found.length > 0 || config !== null || data.length !== 1) return found;
  // The only data file is the split, whatever its name.
  return split === "train" ? data : [];
}

/** True when the files are parts of one. */
const belongTogether = (files: File[]) =>
  files.length === 1 ||
  new Set(files.map((file) => (SHARD.test(file.rfilename) ? file.rfilename.replace(SHARD, "") : file))).size === 1;

function namesOf(files: File[]): string {
  const names = files.map((file) => file.rfilename).filter((name) => DATA.test(name));
  const shown = names.slice(0, 10).join(", ");
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown || "none";
}

/** The files to import, and the commit they are of. */
async function choose(
  ctx: Ctx,
  source: SourceOf<"huggingface">,
  signal: AbortSignal,
): Promise<{ sha: string; files: File[] }> {
  const revision = source.revision || "main";
  const listing = await listingOf(ctx, source, revision, signal);
  if (!listing)
    throw hubError("not_found", "hub_not_found", `The hub does not have the dataset ${source.repo} at ${revision}.`);
  const { sha, siblings } = listing;
  if (source.file) {
    const file = siblings.find(({ rfilename }) => rfilename === source.file);
    if (file) return { sha, files: [file] };
    throw hubError(
      "not_found",
      "hub_not_found",
      `${source.repo} has no file "${source.file}". Its data files: ${namesOf(siblings)}.`,
    );
  }
  const config = source.config || null;
  const split = source.split || "train";
  const files = filesOfSplit(siblings, config, split);
  if (files.length > 0 && belongTogether(files)) return { sha, files };
  const converted = revision === "main" ? await listingOf(ctx, source, CONVERTED, signal) : null;
  const parquet = converted
    ? converted.siblings.filter(({ rfilename }) => rfilename.startsWith(`${config ?? "default"}/${split}/`))
    : [];
  if (converted && parquet.length > 0) return { sha: converted.sha, files: parquet };
  throw hubError(
    "invalid",
    "hub_file_needed",
    `${source.repo} has ${files.length === 0 ? "no file" : "several files"} for the split "${split}". Choose one with 'file': ${namesOf(files.length > 0 ? files : siblings)}.`,
  );
}

/** @throws AppError `hub_not_found`, `hub_access`, `hub_file_needed`, `import_unreachable` */
export async function findHubFiles(ctx: Ctx, source: SourceOf<"huggingface">, signal: AbortSignal): Promise<Place[]> {
  const { sha, files } = await choose(ctx, source, signal);
  return files.map(({ rfilename, size, lfs }) => ({
    name: rfilename.split("/").at(-1) ?? rfilename,
    address: ctx.config.hub_url,
    size: lfs?.size ?? size ?? null,
    sha256: lfs?.sha256 ?? null,
    get: (headers, stop) => {
      const path = rfilename.split("/").map(encodeURIComponent).join("/");
      const url = new URL(`/datasets/${source.repo}/resolve/${sha}/${path}`, ctx.config.hub_url);
      return getRemote(ctx, url, { headers, secret: secretOf(ctx, source), signal: stop });
    },
  }));
}
