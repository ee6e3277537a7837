/** The network of a client address, for limits: one person owns all addresses of an IPv6 /64. */
import { isIP } from "node:net";

const GROUPS = 8;
const PREFIX_GROUPS = 4;

const groupsOf = (text: string) => text.split(":").filter(Boolean);

/** `2001:db8:0:1::/64` for an IPv6 address; any other address as it is. */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = "", tail] = (address.split("%")[0] ?? "").split("::");
  const start = groupsOf(head);
  const end = groupsOf(tail ?? "");
  // An IPv4 address at the end stands for two groups.
  const length = start.length + end.length + (address.includes(".") ? 1 : 0);
  const all = tail === undefined ? start : [...start, ...Array(GROUPS - length).fill("0"), ...end];
  const prefix = all.slice(0, PREFIX_GROUPS).map((group) => Number.parseInt(group, 16).toString(16));
  return `${prefix.join(":")}::/64`;
}
