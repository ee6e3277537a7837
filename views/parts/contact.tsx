/** A link to an address of the installation, shown in full so that it can be read, copied and typed elsewhere. */
import type { Contact } from "../../src/lib/text/contact.ts";

export const ContactLink = ({ contact }: { contact: Contact }) => (
  <a class="wrap-any" href={contact.href}>
    {contact.address}
  </a>
);
