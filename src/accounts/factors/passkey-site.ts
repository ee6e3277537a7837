/** The site that passkeys are bound to: the domain and the origin of the address that people use. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";

/** The relying party of WebAuthn. */
export interface PasskeySite {
  /** The domain that passkeys belong to: the RP ID. */
  id: string;
  /** What browsers must report as the page's origin. */
  origin: string;
}

const isLocal = (host: string) => host === "localhost" || host.endsWith(".localhost");
const isAddress = (host: string) => host.startsWith("[") || /^\d+(\.\d+){3}$/.test(host);

/**
 * The site, or why passkeys cannot be used here.
 * @param origin of the request, which counts only on this machine: elsewhere, `public_url` says what people use
 */
export function passkeySite(ctx: Ctx, origin: string): PasskeySite | { problem: string } {
  const { protocol, hostname, origin: own } = new URL(ctx.config.public_url ?? origin);
  if (isAddress(hostname))
    return {
      problem: `Passkeys need a host name: browsers do not bind them to an IP address such as ${hostname}. Open this site by its name, or at http://localhost on the machine itself.`,
    };
  if (isLocal(hostname)) return { id: hostname, origin: own };
  if (protocol === "https:" && ctx.config.public_url) return { id: hostname, origin: own };
  return {
    problem:
      "Passkeys need https: browsers offer them only on https:// pages and at http://localhost, so that nobody on the network can pretend to be this site. An administrator serves it over https and sets public_url to that address.",
  };
}

/** @throws AppError `passkeys_unavailable` */
export function requirePasskeySite(ctx: Ctx, origin: string): PasskeySite {
  const site = passkeySite(ctx, origin);
  if ("problem" in site) throw new AppError("conflict", "passkeys_unavailable", site.problem);
  return site;
}
