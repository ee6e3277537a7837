/** Asks a serving engine how it is, and gives it adapters while it runs. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { isLocalAddress, upstreamFetch } from "../../lib/upstream.ts";
import { artifactDir } from "../../models/tuned/service.ts";

const PROBE_MS = 5_000;
const LOAD_MS = 60_000;

/**
 * `healthy`: it answered. `absent`: nobody listens. `silent`: it listens but did not answer in time, as when it is
 * busy.
 */
type ProbeResult = "healthy" | "absent" | "silent";

/** One look at `GET /health`. Never throws. */
export async function probe(ctx: Ctx, address: string): Promise<ProbeResult> {
  const timeout = AbortSignal.timeout(PROBE_MS);
  try {
    const reply = await upstreamFetch(address, "/health", { signal: AbortSignal.any([ctx.signal, timeout]) });
    await reply.arrayBuffer();
    return reply.ok ? "healthy" : "silent";
  } catch {
    return timeout.aborted ? "silent" : "absent";
  }
}

/**
 * Loads an adapter into a running engine on this machine.
 * @returns false when the engine cannot do that, so that it needs a process of its own
 */
export async function loadAdapter(ctx: Ctx, address: string, name: string, artifactId: string): Promise<boolean> {
  if (!isLocalAddress(address)) return false;
  // A checkpoint saved again has other files under the same name: whatever the name stood for is replaced.
  const body = JSON.stringify({ lora_name: name, lora_path: artifactDir(ctx, artifactId), load_inplace: true });
  try {
    const reply = await upstreamFetch(address, "/v1/load_lora_adapter", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: AbortSignal.any([ctx.signal, AbortSignal.timeout(LOAD_MS)]),
    });
    await reply.arrayBuffer();
    if (!reply.ok) ctx.log("warn", "the engine did not take an adapter", { status: reply.status, adapter: name });
    return reply.ok;
  } catch (cause) {
    ctx.log("warn", "the engine could not be asked to load an adapter", { adapter: name, cause });
    return false;
  }
}

/** The 503 for a model that is on its way: the client should come back. */
export function stillStarting(model: string): AppError {
  return new AppError("unavailable", "model_starting", `${model} is still starting; try again in a few seconds.`, {
    param: "model",
    retryAfterS: 5,
  });
}
