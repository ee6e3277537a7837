/** Writes what is unpacked or converted to one file, within limits: a small file can expand to a full disk. */
import { closeSync, openSync, writeSync } from "node:fs";
import { diskGuard } from "../../../lib/disk/reserve.ts";
import { formatBytes } from "../../../lib/text/format.ts";
import { Unreadable } from "./unreadable.ts";

const BLOCK = 1 << 20;
/** Bytes that an archive may expand to whatever its size. */
const FREE = 64 * 1024 ** 2;
/** Times its own size that an archive may expand to; text with much repetition reaches 100. */
const MOST_RATIO = 200;

interface Limits {
  /** Most bytes of the output. */
  most: number;
  /** Bytes of the packed file, when the ratio is limited as well. */
  packed?: number;
  /** Bytes that must stay free on the disk. */
  reserve: number;
}

export interface Output {
  readonly bytes: number;
  text(text: string): void;
  add(bytes: Uint8Array): void;
  close(): void;
}

/** @throws Unreadable when the limits are exceeded; AppError `disk_full` */
export function createOutput(path: string, folder: string, limits: Limits): Output {
  const fd = openSync(path, "w", 0o600);
  const block = Buffer.allocUnsafe(BLOCK);
  const guard = diskGuard(folder, limits.reserve);
  let used = 0;
  let bytes = 0;

  function put(part: Uint8Array) {
    bytes += part.length;
    if (bytes > limits.most)
      throw new Unreadable(
        "expands_too_far",
        `The file expands to more than ${formatBytes(limits.most)}, the limit of this server (max_unpacked_bytes). Split it.`,
      );
    if (limits.packed !== undefined && bytes > FREE && bytes > limits.packed * MOST_RATIO)
      throw new Unreadable(
        "expands_too_far",
        `The archive expands to more than ${MOST_RATIO} times its size of ${formatBytes(limits.packed)}. Unpack it, and upload the data file itself.`,
      );
    guard(part.length);
    for (let at = 0; at < part.length; ) at += writeSync(fd, part, at, part.length - at);
  }

  function flush() {
    if (used > 0) put(block.subarray(0, used));
    used = 0;
  }

  return {
    get bytes() {
      return bytes + used;
    },
    text(text) {
      if (text.length * 3 > BLOCK) {
        this.add(Buffer.from(text, "utf8"));
        return;
      }
      if (used + text.length * 3 > BLOCK) flush();
      used += block.write(text, used, "utf8");
    },
    add(part) {
      if (used + part.length > BLOCK) flush();
      if (part.length > BLOCK) {
        put(part);
        return;
      }
      block.set(part, used);
      used += part.length;
    },
    close() {
      try {
        flush();
      } finally {
        closeSync(fd);
      }
    },
  };
}
