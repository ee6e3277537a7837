/**
 * Directories of this machine that a container is shown: real paths below the data root, readable by the user inside.
 */
import { chmod, lstat, mkdir, readdir, realpath, rm } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import type { LaunchSpec, ProviderHost } from "../../src/contract/provider.ts";
import type { Order } from "./container.ts";

/** Paths of sockets end at 108 bytes; `serve.sock` is put below. */
const SOCKET_PATH_LIMIT = 100;

/** Real path of `path`, which must be a directory strictly below `root`. Links that lead out are refused. */
async function below(root: string, path: string): Promise<string | null> {
  try {
    const [base, real] = await Promise.all([realpath(root), realpath(path)]);
    return real.startsWith(base + sep) && (await lstat(real)).isDirectory() ? real : null;
  } catch {
    return null;
  }
}

/**
 * Lets everybody who can reach `path` read it. Nobody else of this machine can: the data root above is closed (0700).
 * Links are not followed.
 */
async function open(path: string): Promise<void> {
  const found = await lstat(path);
  if (found.isDirectory()) {
    if ((found.mode & 0o555) !== 0o555) await chmod(path, (found.mode & 0o777) | 0o555);
    for (const name of await readdir(path)) await open(join(path, name));
  } else if (found.isFile() && (found.mode & 0o444) !== 0o444) await chmod(path, (found.mode & 0o777) | 0o444);
}

/** The directory a serving container may write to, which is where its socket is. */
export const scratchDir = (host: ProviderHost, key: string) => join(host.dataDir, key, "scratch");

/**
 * Prepares everything local work is shown.
 * @throws ProviderFailure `invalid` for a path outside the data root
 */
export async function localFiles(host: ProviderHost, spec: LaunchSpec, key: string, homeUrl: string) {
  const inside = async (path: string, what: string): Promise<string> => {
    const real = await below(host.root, path);
    if (!real) throw host.error("invalid", `${what} does not lie in the data directory: ${path}`);
    return real;
  };
  const inputs: string[] = [];
  for (const path of spec.inputs ?? []) {
    const real = await inside(path, "An input of the job");
    // Shown under its own path, which the server tells the trainer: a link on the way would make it another.
    if (real !== path) throw host.error("invalid", `The data directory is reached through a link: use ${real}`);
    await open(real);
    inputs.push(real);
  }
  const home = homeUrl.startsWith("unix:") ? dirname(homeUrl.slice("unix:".length)) : null;
  if (home === null) throw host.error("fatal", "Work on this machine calls home over the server's socket.");
  // A container that starts before its server listens waits for the socket; one outside the data root is never shown.
  const exists = await lstat(home).catch(() => null);
  const socketDir = exists ? await inside(home, "The server's socket") : null;
  let scratch: string | null = null;
  if (spec.kind === "serve" && spec.argv === null) {
    scratch = scratchDir(host, key);
    if (Buffer.byteLength(join(scratch, "serve.sock")) > SOCKET_PATH_LIMIT)
      throw host.error("invalid", `The path of the data directory is too long for a socket: ${host.root}`);
    await mkdir(scratch, { recursive: true, mode: 0o700 });
    scratch = await inside(scratch, "The scratch directory");
    await chmod(scratch, 0o777);
  }
  return { socketDir, inputs, scratch } satisfies Order["local"];
}

/** Removes what was kept for a launch. What the user inside left and we may not remove stays, and is told. */
export async function forget(host: ProviderHost, key: string): Promise<void> {
  await rm(join(host.dataDir, key), { recursive: true, force: true }).catch((cause) =>
    host.log("warn", "files of a container are left", { key, cause }),
  );
}
