/** The repository of a push on the hub: whether it exists, its branch, and the files that it has. */
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { ask, askHub, parsed, refusal, type Target } from "./hub.ts";
import { hubAddress } from "./model.ts";

/** Pages of a list of files; a page has up to 1,000. */
const MAX_PAGES = 50;

const Repository = v.looseObject({ private: v.boolean() });
const Entries = v.array(
  v.looseObject({
    type: v.string(),
    path: v.string(),
    size: v.optional(v.number()),
    oid: v.string(),
    lfs: v.optional(v.nullable(v.looseObject({ oid: v.string() }))),
  }),
);

/** A file on the hub. */
export interface RemoteFile {
  size: number;
  /** For a large file its SHA-256, else that of git (SHA-1). */
  oid: string;
  large: boolean;
}

const isNot = (status: number) => status === 404 || status === 410;

/** Creates the repository. @returns false when its name exists */
async function create(ctx: Ctx, target: Target, isPrivate: boolean): Promise<boolean> {
  const [organization, name] = target.repo.split("/");
  const body = { type: "model", name, organization, private: isPrivate };
  const answer = await askHub(ctx, target, "POST", "/api/repos/create", body);
  if (answer.status === 409) return false;
  if (answer.status >= 300) throw refusal(target, answer);
  return true;
}

/**
 * Finds the repository, or creates it. A private push never goes to a public repository.
 * @throws AppError `repository_public`, `repository_taken`, and refusals of the hub
 */
export async function openRepository(ctx: Ctx, target: Target, isPrivate: boolean): Promise<void> {
  const path = `/api/models/${target.repo}`;
  let answer = await askHub(ctx, target, "GET", path);
  if (isNot(answer.status)) {
    if (await create(ctx, target, isPrivate)) return;
    // Created in between, or one that this token may not see.
    answer = await askHub(ctx, target, "GET", path);
    if (isNot(answer.status))
      throw new AppError(
        "conflict",
        "repository_taken",
        `The name ${target.repo} is taken on the hub, and the token may not see the repository. Choose another name.`,
      );
  }
  if (answer.status !== 200) throw refusal(target, answer);
  if (isPrivate && !parsed(target, Repository, answer).private)
    throw new AppError(
      "conflict",
      "repository_public",
      `${target.repo} is public on the hub, and this push is private. Choose another name, or push it as public.`,
    );
}

/** The address of the next page of a list; only on the hub itself. */
function nextPage(target: Target, link: string | null): URL | null {
  const address = /<([^<>]{1,4000})>;\s?rel="next"/.exec(link ?? "")?.[1];
  const url = address ? URL.parse(address, target.hub) : null;
  return url && url.origin === new URL(target.hub).origin ? url : null;
}

/** The files of a branch or commit by path; null when there is no such branch. */
export async function filesAt(ctx: Ctx, target: Target, revision: string): Promise<Map<string, RemoteFile> | null> {
  const path = `/api/models/${target.repo}/tree/${encodeURIComponent(revision)}?recursive=true&expand=false`;
  const files = new Map<string, RemoteFile>();
  let url: URL | null = hubAddress(target.hub, path);
  for (let page = 0; url && page < MAX_PAGES; page++) {
    const answer = await ask(ctx, target, { method: "GET", url, headers: { accept: "application/json" } });
    if (isNot(answer.status)) return null;
    if (answer.status !== 200) throw refusal(target, answer);
    for (const entry of parsed(target, Entries, answer))
      if (entry.type === "file")
        files.set(entry.path, {
          size: entry.size ?? 0,
          oid: entry.lfs?.oid ?? entry.oid,
          large: Boolean(entry.lfs),
        });
    url = nextPage(target, answer.header("link"));
  }
  return files;
}

/** The files of the branch of a push; the branch is created when there is none. */
export async function filesOfBranch(ctx: Ctx, target: Target): Promise<Map<string, RemoteFile>> {
  const found = await filesAt(ctx, target, target.branch);
  // A repository without a commit has no branch yet: the first commit creates main.
  if (found || target.branch === "main") return found ?? new Map();
  const path = `/api/models/${target.repo}/branch/${encodeURIComponent(target.branch)}`;
  const answer = await askHub(ctx, target, "POST", path, {});
  if (answer.status >= 300 && answer.status !== 409) throw refusal(target, answer);
  return (await filesAt(ctx, target, target.branch)) ?? new Map();
}

/** The commit at which the branch is. */
export async function headOf(ctx: Ctx, target: Target): Promise<string> {
  const path = `/api/models/${target.repo}/revision/${encodeURIComponent(target.branch)}`;
  const answer = await askHub(ctx, target, "GET", path);
  if (answer.status !== 200) throw refusal(target, answer);
  return parsed(target, v.looseObject({ sha: v.string() }), answer).sha;
}
