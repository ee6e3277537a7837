/** Talks to a serving engine: probes its health and loads adapters while it runs. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { isLocalAddress, upstreamFetch } from "../../lib/upstream.ts";
import { localUnit } from "../../objects/local.ts";

const PROBE_MS = 5_000;
const LOAD_MS = 60_000;

/**
 * `healthy`: it responded. `absent`: nobody listens. `silent`: it listens but did not respond in time, as when it is
 * busy.
 */
type ProbeResult = "healthy" | "absent" | "silent";

/** One `GET /health`. Never throws. */
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
 * @returns false when the engine cannot do that and the adapter needs its own engine
 */
export async function loadAdapter(ctx: Ctx, address: string, name: string, artifactId: string): Promise<boolean> {
  if (!isLocalAddress(address)) return false;
  // A checkpoint that is saved again has different files under the same name: load_inplace replaces the adapter.
  try {
    const path = await localUnit(ctx, { folder: "artifacts", id: artifactId });
    const body = JSON.stringify({ lora_name: name, lora_path: path, load_inplace: true });
    const reply = await upstreamFetch(address, "/v1/load_lora_adapter", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: AbortSignal.any([ctx.signal, AbortSignal.timeout(LOAD_MS)]),
    });
    await reply.arrayBuffer();
    if (!reply.ok) ctx.log("warn", "the engine refused an adapter", { status: reply.status, adapter: name });
    return reply.ok;
  } catch (cause) {
    ctx.log("warn", "the engine could not be reached to load an adapter", { adapter: name, cause });
    return false;
  }
}

/** The 503 for a model that is starting: the client should retry. */
export function stillStarting(model: string): AppError {
  return new AppError("unavailable", "model_starting", `${model} is still starting. Try again in a few seconds.`, {
    param: "model",
    retryAfterS: 5,
  });
}
