/** Lists of client addresses and networks, IPv4 and IPv6: which entries are valid, and what is in a list. */
import { BlockList, isIP } from "node:net";

const BITS = { 4: 32, 6: 128 } as const;

/** An address without the IPv6 prefix of mapped IPv4 addresses (`::ffff:10.0.0.1`). */
export const plainAddress = (address: string) => address.trim().replace(/^::ffff:(?=\d+\.)/i, "");

interface Entry {
  address: string;
  family: "ipv4" | "ipv6";
  /** Length of the prefix; of a single address all of its bits. */
  bits: number;
}

/** Reads `10.0.0.1`, `10.0.0.0/8`, `2001:db8::1` or `2001:db8::/32`; null for anything else. */
function readEntry(text: string): Entry | null {
  const [address = "", bits, ...rest] = plainAddress(text).split("/");
  const kind = isIP(address);
  // A zone (`fe80::1%eth0`) names an interface of one machine.
  if (rest.length > 0 || address.includes("%") || (kind !== 4 && kind !== 6)) return null;
  const all = BITS[kind];
  if (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= all)) return null;
  return { address, family: kind === 6 ? "ipv6" : "ipv4", bits: bits === undefined ? all : Number(bits) };
}

/** True for an address or a network with the length of its prefix. */
export const isAddressEntry = (text: string): boolean => readEntry(text) !== null;

function blockList(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of entries) {
    const entry = readEntry(text);
    if (!entry) throw new Error(`${text} is neither an address nor a network`);
    list.addSubnet(entry.address, entry.bits, entry.family);
  }
  return list;
}

/** @returns a function that says whether an address is in the list; a text that is no address never is */
export function addressMatcher(entries: readonly string[]): (address: string) => boolean {
  const list = blockList(entries);
  return (address) => {
    const kind = isIP(address);
    return kind !== 0 && list.check(address, kind === 6 ? "ipv6" : "ipv4");
  };
}

/** Whether every address of `inner` is in one entry of `outer`. */
export function isWithin(inner: string, outer: readonly string[]): boolean {
  const entry = readEntry(inner);
  return (
    entry !== null &&
    outer.some((text) => {
      const around = readEntry(text);
      return (
        around !== null &&
        around.family === entry.family &&
        around.bits <= entry.bits &&
        blockList([text]).check(entry.address, entry.family)
      );
    })
  );
}
