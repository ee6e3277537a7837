/** Secrets and signatures of webhooks, as Standard Webhooks defines them and OpenAI's clients check them. */
import { createHmac, randomBytes } from "node:crypto";

const PREFIX = "whsec_";

/** A new secret: `whsec_` and 32 random bytes in base64. */
export const newSigningSecret = () => PREFIX + randomBytes(32).toString("base64");

/** The end of a secret, by which people recognize it. */
export const secretHint = (secret: string) => `${PREFIX}…${secret.slice(-5)}`;

/**
 * The headers of one request.
 * @param id the same for every attempt: receivers recognize repeats by it
 * @param at milliseconds since 1970 of this attempt
 * @param secrets each signs, so that a receiver may have the old one while a secret is rotated
 */
export function signedHeaders(id: string, at: number, body: string, secrets: string[]): Record<string, string> {
  const timestamp = String(Math.floor(at / 1000));
  const sign = (secret: string) =>
    createHmac("sha256", Buffer.from(secret.slice(PREFIX.length), "base64"))
      .update(`${id}.${timestamp}.${body}`)
      .digest("base64");
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": secrets.map((secret) => `v1,${sign(secret)}`).join(" "),
  };
}
