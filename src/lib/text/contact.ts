/** Addresses at which an installation can be reached: a mail address, or a page. */
import * as v from "valibot";

const MAIL = v.pipe(v.string(), v.maxLength(254), v.email());
const PAGE = v.pipe(v.string(), v.maxLength(500), v.regex(/^https?:\/\/[^\s"<>]+$/i), v.url());

/** A mail address, or an address of a page that begins with http:// or https://. */
export const ContactAddress = v.union(
  [MAIL, PAGE],
  "must be a mail address (help@example.com) or an address of a page that begins with https://",
);

/** An address as pages show it. */
export interface Contact {
  /** The address itself. */
  address: string;
  href: string;
}

/** Null = the setting is not set. */
export function contactOf(address: string | null): Contact | null {
  if (address === null) return null;
  return { address, href: v.is(MAIL, address) ? `mailto:${address}` : address };
}
