/** The interface of a place that keeps objects: a directory or an S3 bucket. Keys are made of ids and hashes. */

/** An object in a list. Time in milliseconds since 1970. */
export interface StoredItem {
  key: string;
  bytes: number;
  modifiedAt: number;
}

/** What an object must be: `sha256` in hex. A write with other bytes is refused and leaves no object. */
export interface Expected {
  bytes: number;
  sha256: string;
}

/** How a browser receives an object: the name that it is saved under, and its type. */
interface Presented {
  filename: string;
  type: string;
}

/** A file of this machine, or bytes in order. An upload of a file resumes where an interrupted one stopped. */
export type Source = { path: string } | Sized | AsyncIterable<Uint8Array>;
/** Bytes in order whose number is known: S3 needs it for objects of more than 150 GiB. */
interface Sized {
  pieces: AsyncIterable<Uint8Array>;
  bytes: number;
}

export interface ObjectStore {
  readonly kind: "disk" | "s3";
  /**
   * Writes an object: complete, or not at all. It is hashed on the way; a source that differs from `expected` is
   * refused.
   * @throws StoreProblem `damaged` and those of the network
   */
  put(key: string, source: Source, expected?: Expected, signal?: AbortSignal): Promise<Expected>;
  /** The bytes from `from` to before `to`. @throws StoreProblem `missing` */
  get(key: string, range?: { from: number; to?: number }, signal?: AbortSignal): AsyncGenerator<Uint8Array>;
  /** Size and time; null when there is none. */
  stat(key: string): Promise<StoredItem | null>;
  /** All objects whose key begins with `prefix`, in order. */
  list(prefix: string, signal?: AbortSignal): AsyncGenerator<StoredItem>;
  /** Names of the folders directly below `prefix`, which ends with a slash. */
  folders(prefix: string): Promise<string[]>;
  /** Removes objects. One that does not exist counts as removed. */
  remove(keys: readonly string[]): Promise<void>;
  /** An address that reads the object without a key for `seconds`; null where the store has none. */
  presignGet(key: string, seconds: number, presented?: Presented): Promise<string | null>;
  /**
   * An address that accepts a `PUT` for `seconds`: of exactly `bytes` bytes, or of any length with null. Null where the
   * store has none.
   */
  presignPut(key: string, seconds: number, bytes: number | null): Promise<string | null>;
  /**
   * Ends uploads in parts that began before `before` (milliseconds since 1970), of keys that begin with `below`.
   * @returns how many
   */
  abortUploads(before: number, below?: string): Promise<number>;
  /** Lists, writes, reads and removes a small object. @throws StoreProblem that says what to change */
  check(signal?: AbortSignal): Promise<void>;
}

/**
 * Why a store did not do it. `missing`: no such object. `damaged`: the bytes have another hash or length. `setup`: the
 * settings or rights are wrong, so repeating does not help. `unreachable`: it may work later.
 */
type ProblemKind = "missing" | "damaged" | "setup" | "unreachable";

export class StoreProblem extends Error {
  readonly kind: ProblemKind;
  constructor(kind: ProblemKind, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "StoreProblem";
    this.kind = kind;
  }
}

/** Hashes what passes; `seen` is what it was. */
export async function* hashed(
  source: AsyncIterable<Uint8Array>,
  seen: (what: Expected) => void,
): AsyncGenerator<Uint8Array> {
  const hasher = new Bun.CryptoHasher("sha256");
  let bytes = 0;
  for await (const piece of source) {
    hasher.update(piece);
    bytes += piece.byteLength;
    yield piece;
  }
  seen({ bytes, sha256: hasher.digest("hex") });
}

/** @throws StoreProblem `damaged` when `found` is not `expected` */
export function requireSame(key: string, found: Expected, expected: Expected | undefined): void {
  if (!expected || (found.bytes === expected.bytes && found.sha256 === expected.sha256)) return;
  const why =
    found.bytes === expected.bytes ? "its content changed" : `${found.bytes} bytes instead of ${expected.bytes}`;
  throw new StoreProblem("damaged", `${key}: ${why}`);
}
