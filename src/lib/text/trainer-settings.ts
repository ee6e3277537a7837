/** Settings of the way home: how trainers on other machines reach this server. */
import * as v from "valibot";
import { absolutePath, flag, integer, listOf } from "./setting-fields.ts";

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** A SHA-256 in hexadecimal, with or without colons; read as 64 lower-case digits. */
const fingerprints = v.pipe(
  listOf(/^([0-9a-f]{2}:?){31}[0-9a-f]{2}$/i, "must be SHA-256 fingerprints: 64 hexadecimal digits, colons allowed"),
  v.transform((all) => all.map((one) => one.replaceAll(":", "").toLowerCase())),
);

/** The part of the configuration that says how trainers elsewhere call home. */
export const trainerSettings = {
  /** HOST:PORT of a listener that serves /trainer/v1 and nothing else; none = trainers use `listen`. */
  trainer_listen: v.optional(
    v.nullable(v.pipe(v.string(), v.regex(/^(\[[0-9a-f:]+\]|[^:]+):\d+$/i, "must be HOST:PORT"))),
    null,
  ),
  /** PEM files of that listener's certificate (with the chain) and its key; none = plain HTTP, behind a TLS proxy. */
  trainer_cert_file: v.optional(v.nullable(absolutePath), null),
  trainer_key_file: v.optional(v.nullable(absolutePath), null),
  /** The address at which trainers on other machines reach this server; none = public_url. */
  trainer_url: v.optional(
    v.nullable(
      v.pipe(
        v.string(),
        v.url(),
        v.check((text) => {
          const url = new URL(text);
          return url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.test(url.hostname));
        }, "must begin with https://: trainers send their token to it"),
        v.check((text) => /^\/?$/.test(new URL(text).pathname), "must have no path"),
        v.transform((text) => text.replace(/\/$/, "")),
      ),
    ),
    null,
  ),
  /**
   * SHA-256 fingerprints of the certificate at trainer_url, or of an authority in the chain that it sends, separated by
   * commas. Needed when no public authority signed it: trainers then trust these and nothing else.
   */
  trainer_fingerprint: v.optional(fingerprints, []),
  /** Whether `listen` serves /trainer/v1 too. Trainers of this machine use a Unix socket in any case. */
  listen_trainers: v.optional(flag, true),
  /** Whether the server checks that trainer_url answers before it starts work on other machines. */
  trainer_probe: v.optional(flag, true),
  /**
   * How trainers on other machines reach this server: `direct` calls trainer_url; `mailbox` exchanges objects in the
   * S3 bucket, so that nothing connects to this server.
   */
  trainer_channel: v.optional(v.picklist(["direct", "mailbox"]), "direct"),
  /**
   * Who downloads base models from hub_url besides this server: nobody, or rented machines. Administrators can decide
   * otherwise for each provider.
   */
  models_from_hub: v.optional(v.picklist(["never", "rented"]), "never"),
  /** Milliseconds between two looks into the mailbox while trainers use it. Each look is one list of the bucket. */
  mailbox_poll_ms: v.optional(integer(50, 60_000), 500),
  /** Seconds from when a machine elsewhere runs until its trainer has called home; then the machine is terminated. */
  first_contact_s: v.optional(integer(1, 86_400), 1200),
};

interface Given {
  trainer_listen: string | null;
  trainer_cert_file: string | null;
  trainer_key_file: string | null;
  listen_trainers: boolean;
  trainer_channel: "direct" | "mailbox";
  s3_bucket: string | null;
}

/** @throws the error of `invalid` for a setting that does not fit the others */
export function checkTrainerSettings(given: Given, invalid: (name: string, why: string) => Error): void {
  const { trainer_listen: listen, trainer_cert_file: cert, trainer_key_file: key } = given;
  if (cert && !key) throw invalid("trainer_key_file", "is missing. Set it with trainer_cert_file.");
  if (key && !cert) throw invalid("trainer_cert_file", "is missing. Set it with trainer_key_file.");
  if (cert && !listen) throw invalid("trainer_cert_file", "needs trainer_listen: `listen` speaks plain HTTP.");
  const byMailbox = given.trainer_channel === "mailbox";
  if (byMailbox && given.s3_bucket === null)
    throw invalid("trainer_channel", "is mailbox, which needs a bucket that trainers reach. Set s3_bucket.");
  if (!given.listen_trainers && !listen && !byMailbox)
    throw invalid("listen_trainers", "is false, so trainers elsewhere need trainer_listen. Set it.");
}
