/** Finds personal data and secrets in the bytes of a row: card numbers, IBANs, e-mail addresses and keys. */
import { ibanDigits, isCard } from "../../pii/checksums.ts";
import { IBAN_LENGTHS } from "../../pii/iban.ts";

/** The kinds, as problem codes. */
type PrivateKind = "card_number" | "iban" | "email_address" | "secret_key";

/** A digit is searched at every sixth byte: of a number with 13 digits, in groups or not, one of them is hit. */
const STRIDE = 6;
const MIN_DIGITS = 13;
const MAX_DIGITS = 19;
const SPACE = 32;
const DASH = 45;
const AT = 64;
const DOT = 46;

/** How keys begin, and how many more letters and digits they have at least. */
const KEYS: [start: Buffer, more: number][] = [
  [Buffer.from("sk-"), 20],
  [Buffer.from("AKIA"), 16],
  [Buffer.from("ghp_"), 30],
  [Buffer.from("github_pat_"), 20],
  [Buffer.from("xoxb-"), 20],
];
const PRIVATE_KEY = Buffer.from("PRIVATE KEY-----");

const isDigit = (byte: number) => byte >= 48 && byte <= 57;
const isUpper = (byte: number) => byte >= 65 && byte <= 90;
const isWord = (byte: number) => isDigit(byte) || isUpper(byte) || (byte >= 97 && byte <= 122);
const isPart = (byte: number) => isWord(byte) || byte === DASH || byte === 95;

/** The IBAN whose country is at `from`, or null. Groups may be separated by a space. */
function ibanAt(bytes: Buffer, from: number, end: number): string | null {
  const length = IBAN_LENGTHS[bytes.toString("latin1", from, from + 2)] ?? 0;
  let text = "";
  for (let at = from; at < end && text.length < length; at++) {
    const byte = bytes[at] ?? 0;
    if (isDigit(byte) || isUpper(byte)) text += String.fromCharCode(byte);
    else if (byte !== SPACE) break;
  }
  return length > 0 && text.length === length && ibanDigits(text) ? text : null;
}

const masked = (text: string) => `${text.slice(0, 4)}…${text.slice(-2)}`;

/** Looks at the number around the digit at `hit`; returns the index after it. */
function lookAtNumber(bytes: Buffer, hit: number, start: number, end: number, found: Found): number {
  const joins = (at: number) => {
    const byte = bytes[at] ?? 0;
    return (
      isDigit(byte) || ((byte === SPACE || byte === DASH) && isDigit(bytes[at - 1] ?? 0) && isDigit(bytes[at + 1] ?? 0))
    );
  };
  let from = hit;
  while (from > start && joins(from - 1)) from--;
  let to = hit;
  while (to < end && joins(to)) to++;
  if (from - 2 >= start && isUpper(bytes[from - 1] ?? 0) && isUpper(bytes[from - 2] ?? 0)) {
    const iban = ibanAt(bytes, from - 2, end);
    if (iban) {
      found("iban", masked(iban));
      return to;
    }
  }
  if (to - from >= MIN_DIGITS && !isWord(bytes[from - 1] ?? 0) && !isWord(bytes[to] ?? 0)) {
    const digits = bytes.toString("latin1", from, to).replace(/[ -]/g, "");
    if (digits.length <= MAX_DIGITS && isCard(digits)) found("card_number", masked(digits));
  }
  return to;
}

type Found = (kind: PrivateKind, sample: string) => void;

/** The address around the sign at `at`, or null. */
function emailAt(bytes: Buffer, at: number): string | null {
  const isLocal = (byte: number) => isPart(byte) || byte === DOT || byte === 37 || byte === 43;
  let from = at;
  while (from > 0 && at - from < 64 && isLocal(bytes[from - 1] ?? 0)) from--;
  let to = at + 1;
  while (to < bytes.length && to - at < 254 && (isWord(bytes[to] ?? 0) || bytes[to] === DASH || bytes[to] === DOT))
    to++;
  while (bytes[to - 1] === DOT) to--;
  const domain = bytes.toString("latin1", at + 1, to);
  const last = domain.slice(domain.lastIndexOf(".") + 1);
  if (from === at || !domain.includes(".") || domain.startsWith(".") || !/^[A-Za-z]{2,}$/.test(last)) return null;
  return `${bytes.toString("latin1", from, from + 1)}…@${domain}`;
}

/** True for a key that begins at `at` with `more` letters and digits after its start. */
function isKey(bytes: Buffer, at: number, start: Buffer, more: number): boolean {
  if (isPart(bytes[at - 1] ?? 0)) return false;
  let to = at + start.length;
  while (isPart(bytes[to] ?? 0)) to++;
  return to - at - start.length >= more;
}

/** What an e-mail address or a key cannot be without. */
const SIGNS = [Buffer.from("@"), ...KEYS.map(([begin]) => begin), PRIVATE_KEY];

/**
 * Creates a search through rows.
 * @param found called once for each kind in a row, with a sample that does not show the value
 */
export function createPrivateSearch(found: Found) {
  let chunk: Buffer = Buffer.alloc(0);
  /** The next place of each sign in the chunk, and the first of them. */
  const next = SIGNS.map(() => -1);
  let nearest = -1;
  const seen: PrivateKind[] = [];
  const once: Found = (kind, sample) => {
    if (seen.includes(kind)) return;
    seen.push(kind);
    found(kind, sample);
  };

  function lookForSigns(row: Buffer) {
    for (let at = row.indexOf(AT); at >= 0; at = row.indexOf(AT, at + 1)) {
      const email = emailAt(row, at);
      if (!email) continue;
      once("email_address", email);
      break;
    }
    for (const [begin, more] of KEYS)
      for (let at = row.indexOf(begin); at >= 0; at = row.indexOf(begin, at + 1))
        if (isKey(row, at, begin, more)) {
          once("secret_key", `${begin.toString()}…`);
          break;
        }
    if (row.includes(PRIVATE_KEY)) once("secret_key", "private key");
  }

  return {
    /** Starts a chunk of the file. */
    begin(bytes: Buffer): void {
      chunk = bytes;
      next.fill(-1);
      nearest = -1;
    },
    /**
     * Whether the range of the chunk may have an e-mail address or a key. Ranges must come in their order. It takes one
     * native search of each sign for hundreds of rows.
     */
    hasSign(from: number, to: number): boolean {
      if (nearest >= to) return false;
      nearest = chunk.length;
      for (const [index, sign] of SIGNS.entries()) {
        let at = next[index] ?? -1;
        if (at < from) {
          at = chunk.indexOf(sign, from);
          next[index] = at < 0 ? chunk.length : at;
        }
        nearest = Math.min(nearest, next[index] ?? nearest);
      }
      return nearest < to;
    },
    /**
     * Looks through a row.
     * @param signs false when the row has no e-mail address and no key
     */
    look(bytes: Buffer, start: number, end: number, signs: boolean): void {
      seen.length = 0;
      for (let at = start + STRIDE; at < end; at += STRIDE)
        // The codes of digits differ from that of 0 in their low bits only: below 10.
        if (((bytes[at] ?? 0) ^ 48) < 10) at = lookAtNumber(bytes, at, start, end, once);
      // Native searches in the row alone: in the whole buffer they would read to its end for each row.
      if (signs) lookForSigns(bytes.subarray(start, end));
    },
  };
}
