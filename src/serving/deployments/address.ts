/** Checks that the address an engine announced is where its provider launched it; the server connects to no other. */
import { lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Progress } from "../../contract/job.ts";
import type { Ctx } from "../../ctx.ts";
import { isEngineAddress } from "../../lib/upstream.ts";
import { refuseAddress, type ServingAttempt, servingAttempt } from "../../training/attempts/serving.ts";

/** The address to use, or why it was refused. */
type Verdict = { address: string } | { refused: string };

const refused = (address: string, why: string): Verdict => ({
  refused: `The engine announced ${address.slice(0, 200)}, ${why}.`,
});

/**
 * A socket directly in `directory`, with links resolved. A path without a file is judged by its text.
 */
function socketIn(directory: string, address: string): Verdict {
  const path = address.slice("unix:".length);
  const outside = refused(address, "which is not a socket in the directory it was given");
  let real: string;
  try {
    real = realpathSync(path);
  } catch {
    return dirname(path) === directory && !lstatSync(path, { throwIfNoEntry: false }) ? { address } : outside;
  }
  try {
    if (dirname(real) !== realpathSync(directory) || !lstatSync(real).isSocket()) return outside;
  } catch {
    return outside;
  }
  return { address: `unix:${join(directory, basename(real))}` };
}

function hostIn(hosts: readonly string[], address: string): Verdict {
  const url = new URL(address);
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const named = hosts.map((name) => name.toLowerCase());
  return named.includes(url.hostname) || named.includes(`${url.hostname}:${port}`)
    ? { address }
    : refused(address, `but its provider runs it on ${hosts.join(", ").slice(0, 500)}`);
}

/** Checks an address that `attempt` announced. Pure except for reads of the file system. */
export function checkAddress(attempt: Omit<ServingAttempt, "id">, address: string): Verdict {
  const { local, place, provider } = attempt;
  if (!isEngineAddress(address)) return refused(address, "which is not a valid engine address");
  if (address.startsWith("unix:")) {
    if (!local) return refused(address, "which is a socket of another machine");
    if (!place?.socketDir) return refused(address, `but ${provider} does not report where its sockets are`);
    return socketIn(place.socketDir, address);
  }
  if (local) return refused(address, "but engines on this machine are reached only by their socket");
  if (!place?.hosts?.length) return refused(address, `but ${provider} does not report which host it runs on`);
  return hostIn(place.hosts, address);
}

/**
 * The address of a running serve job; null while there is none. A refused address is logged, and the attempt that
 * announced it fails.
 */
export async function announcedAddress(
  ctx: Ctx,
  jobId: string,
  progress: Pick<Progress, "address">,
): Promise<string | null> {
  const { address } = progress;
  if (typeof address !== "string") return null;
  const attempt = await servingAttempt(ctx, jobId);
  if (!attempt) return null;
  const verdict = checkAddress(attempt, address);
  if ("address" in verdict) return verdict.address;
  ctx.log("warn", "the address of an engine was refused", { job: jobId, attempt: attempt.id, why: verdict.refused });
  await refuseAddress(ctx, attempt.id, verdict.refused);
  return null;
}
