/** Recovery codes: created, hashed with scrypt, and stored as a JSON list of hashes. Nobody can read them again. */
import { type ScryptOptions, scrypt } from "node:crypto";
import { randomChars } from "../../lib/ids.ts";

const AMOUNT = 10;
const HALF = 6;
const BYTES = 32;
/** 8 MiB and about 20 ms for one code of 62 bits. */
const COST: ScryptOptions = { N: 8192, r: 8, p: 1 };

/** Ten codes such as `k3x9qa-71mzpt`. */
export const newCodes = (): string[] =>
  Array.from({ length: AMOUNT }, () => `${randomChars(HALF)}-${randomChars(HALF)}`);

/** The hash of a code of one user, in base64url. */
export function hashCode(userId: string, code: string): Promise<string> {
  return new Promise((resolve, reject) => {
    scrypt(code, `recovery code of ${userId}`, BYTES, COST, (error, hash) =>
      error ? reject(error) : resolve(hash.toString("base64url")),
    );
  });
}

/** The stored text of codes. */
export const storedCodes = async (userId: string, codes: string[]): Promise<string> =>
  JSON.stringify(await Promise.all(codes.map((code) => hashCode(userId, code))));

/** True for the stored text of this version; earlier versions stored base64. */
export const isStored = (text: string): boolean => text.startsWith("[");

/** How many codes a stored text has. */
export const countCodes = (text: string): number => (JSON.parse(text) as string[]).length;
