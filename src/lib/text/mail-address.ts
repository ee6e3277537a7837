/** Senders of mails: an address, or a name with an address in angle brackets. */
import * as v from "valibot";

const Address = v.pipe(v.string(), v.maxLength(254), v.email());

/** The address of `Name <address>` or `address`; null when it is neither. */
export function addressIn(sender: string): string | null {
  const open = sender.indexOf("<");
  const address = open === -1 ? sender : sender.endsWith(">") ? sender.slice(open + 1, -1) : "";
  return v.is(Address, address) ? address : null;
}
