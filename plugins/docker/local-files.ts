/**
 * Local directories that are mounted into a container: real paths below the data root, readable by the container user.
 */
import { chmod, lstat, mkdir, readdir, realpath, rm } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import type { LaunchSpec, ProviderHost } from "../../src/contract/provider.ts";
import type { Order } from "./container.ts";

/** Most bytes of the path of `serve.sock`; the system's limit for sockets is 108. */
const SOCKET_PATH_LIMIT = 100;

/** Real path of `path`, which must be a directory below `root`; null otherwise, also for links to the outside. */
async function below(root: string, path: string): Promise<string | null> {
  try {
    const [base, real] = await Promise.all([realpath(root), realpath(path)]);
    return real.startsWith(base + sep) && (await lstat(real)).isDirectory() ? real : null;
  } catch {
    return null;
  }
}

/**
 * Makes `path` readable for all users. Only containers can reach it, because the data root above it has mode 0700.
 * Links are not followed.
 */
async function makeReadable(path: string): Promise<void> {
  const found = await lstat(path);
  if (found.isDirectory()) {
    if ((found.mode & 0o555) !== 0o555) await chmod(path, (found.mode & 0o777) | 0o555);
    for (const name of await readdir(path)) await makeReadable(join(path, name));
  } else if (found.isFile() && (found.mode & 0o444) !== 0o444) await chmod(path, (found.mode & 0o777) | 0o444);
}

/** The writable directory of an endpoint's container, which has its socket. */
export const scratchDir = (host: ProviderHost, key: string) => join(host.dataDir, key, "scratch");

/**
 * Prepares the directories of local work.
 * @throws ProviderFailure `invalid` for a path outside the data root
 */
export async function localFiles(host: ProviderHost, spec: LaunchSpec, key: string, homeUrl: string) {
  const inside = async (path: string, what: string): Promise<string> => {
    const real = await below(host.root, path);
    if (!real) throw host.error("invalid", `${what} is not in the data directory: ${path}`);
    return real;
  };
  const inputs: string[] = [];
  for (const path of spec.inputs ?? []) {
    const real = await inside(path, "An input of the job");
    // The mount has the same path as on the host, which the trainer gets from the server, so links are not allowed.
    if (real !== path) throw host.error("invalid", `The path of the data directory has a link. Use ${real}`);
    await makeReadable(real);
    inputs.push(real);
  }
  const home = homeUrl.startsWith("unix:") ? dirname(homeUrl.slice("unix:".length)) : null;
  if (home === null) throw host.error("fatal", "Local containers connect to the server over its socket.");
  // A container that starts before the server listens waits for the socket. A socket outside the data root is refused.
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

/**
 * Deletes the files of a launch. Files of the container user that cannot be deleted stay, with a warning in the log.
 */
export async function forget(host: ProviderHost, key: string): Promise<void> {
  await rm(join(host.dataDir, key), { recursive: true, force: true }).catch((cause) =>
    host.log("warn", "files of a container could not be deleted", { key, cause }),
  );
}
