/** The client addresses from which an API key may be used. */
import type { Actor } from "../../ctx.ts";
import { AppError } from "../../errors.ts";

/** A Unix socket and work in this process are this machine. */
const LOOPBACK = "127.0.0.1";

/**
 * Refuses a key that may not be used from an address. The answer names the address that this server sees, which
 * explains a proxy that is not trusted, and not those that are allowed.
 * @param address of the client, or `local`
 * @throws AppError `key_address_not_allowed` (403)
 */
export function requireKeyAddress(actor: Actor, address: string): void {
  const seen = address === "local" ? LOOPBACK : address;
  if (actor.limits?.every(({ allows }) => allows === null || allows(seen)) ?? true) return;
  throw new AppError(
    "forbidden",
    "key_address_not_allowed",
    `This API key may not be used from ${seen}. Its owner can allow the address in Settings > API keys.`,
  );
}
