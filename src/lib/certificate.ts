/** Self-signed X.509 certificates: the wrapping in which identity providers expect the public key of a service. */
import { createPrivateKey, createPublicKey, generateKeyPair, randomBytes, sign } from "node:crypto";
import { promisify } from "node:util";

const [SEQUENCE, SET, INTEGER, BITS, NOTHING, OBJECT, UTF8, UTC_TIME, TIME] = [
  0x30, 0x31, 0x02, 0x03, 0x05, 0x06, 0x0c, 0x17, 0x18,
] as const;
/** sha256WithRSAEncryption, 1.2.840.113549.1.1.11 */
const SHA256_RSA = Buffer.from("2a864886f70d01010b", "hex");
/** commonName, 2.5.4.3 */
const COMMON_NAME = Buffer.from("550403", "hex");
const YEAR_MS = 365 * 86_400_000;

/** A value of DER: tag, length, content. */
function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const hex = content.length.toString(16);
  const length = Buffer.from(hex.length % 2 ? `0${hex}` : hex, "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content]);
}

/** Two digits of the year until 2049, four from 2050 (RFC 5280, 4.1.2.5). */
function time(at: number): Buffer {
  const text = `${new Date(at).toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`;
  const short = Number(text.slice(0, 4)) < 2050;
  return der(short ? UTC_TIME : TIME, Buffer.from(short ? text.slice(2) : text));
}

/** A key with its certificate, both as PEM. */
export interface KeyPair {
  privateKey: string;
  certificate: string;
}

/**
 * A new RSA key of 2,048 bits with a certificate of its own signature.
 * @param name common name
 * @param now milliseconds since 1970
 */
export async function selfSigned(name: string, now: number, years: number): Promise<KeyPair> {
  const { privateKey } = await promisify(generateKeyPair)("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const algorithm = der(SEQUENCE, der(OBJECT, SHA256_RSA), der(NOTHING));
  const named = der(SEQUENCE, der(SET, der(SEQUENCE, der(OBJECT, COMMON_NAME), der(UTF8, Buffer.from(name)))));
  const serial = randomBytes(16);
  // Positive, without a leading zero.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const toSign = der(
    SEQUENCE,
    der(INTEGER, serial),
    algorithm,
    named,
    der(SEQUENCE, time(now - 86_400_000), time(now + years * YEAR_MS)),
    named,
    createPublicKey(privateKey).export({ type: "spki", format: "der" }),
  );
  const signature = sign("sha256", toSign, createPrivateKey(privateKey));
  const whole = der(SEQUENCE, toSign, algorithm, der(BITS, Buffer.from([0]), signature));
  return { privateKey, certificate: certificatePem(whole.toString("base64")) };
}

/** @param base64 of the DER, with or without line breaks */
export function certificatePem(base64: string): string {
  const lines = base64.replace(/\s+/g, "").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
