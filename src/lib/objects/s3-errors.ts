/** Says why an S3 server refused a request, and what to change. */
import { StoreProblem } from "./store.ts";

interface Where {
  endpoint: string;
  bucket: string;
}

/** Codes of S3 and of the network that mean a wrong setting: repeating the request does not help. */
const SETUP: Record<string, (where: Where) => string> = {
  NoSuchBucket: ({ endpoint, bucket }) =>
    `The bucket ${bucket} does not exist at ${endpoint}. Create it, or correct s3_bucket, s3_region and s3_path_style.`,
  InvalidBucketName: ({ bucket }) => `${bucket} is not a valid name of a bucket. Correct s3_bucket.`,
  PermanentRedirect: ({ bucket }) => `The bucket ${bucket} is in another region. Correct s3_region and s3_endpoint.`,
  AuthorizationHeaderMalformed: ({ bucket }) => `The bucket ${bucket} is in another region. Correct s3_region.`,
  InvalidAccessKeyId: ({ endpoint }) => `${endpoint} does not know this access key. Correct s3_access_key_id.`,
  SignatureDoesNotMatch: ({ endpoint }) =>
    `${endpoint} refused the signature: the secret key does not belong to the access key. Correct s3_secret_key.`,
  AccessDenied: ({ endpoint, bucket }) =>
    `${endpoint} refused access to the bucket ${bucket}. The access key needs s3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload.`,
  RequestTimeTooSkewed: ({ endpoint }) =>
    `The clocks of this server and of ${endpoint} differ by more than 15 minutes. Set the clock of this server (for example with chrony).`,
  ENOTFOUND: ({ endpoint }) => `The name in ${endpoint} does not exist. Correct s3_endpoint.`,
};
const ALIASES: Record<string, string> = {
  InvalidAccessKey: "InvalidAccessKeyId",
  Forbidden: "AccessDenied",
  "403": "AccessDenied",
  RequestExpired: "RequestTimeTooSkewed",
  SignatureInvalid: "SignatureDoesNotMatch",
};
const MISSING = new Set(["NoSuchKey", "NotFound", "404", "NoSuchUpload"]);
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER/i;

/** Name or code of an error of the SDK or the network. */
export function codeOf(error: unknown): string {
  const { code, Code, name, $metadata } = (error ?? {}) as Record<string, unknown>;
  for (const one of [Code, code, name]) if (typeof one === "string" && one !== "Error" && one !== "") return one;
  return String(($metadata as { httpStatusCode?: number } | undefined)?.httpStatusCode ?? "unknown");
}

/** The problem behind an error of the SDK. A problem that is one already, and an abort, stay as they are. */
export function problemOf(error: unknown, where: Where, key = ""): unknown {
  if (error instanceof StoreProblem || (error instanceof Error && error.name === "AbortError")) return error;
  const code = codeOf(error);
  const setup = SETUP[ALIASES[code] ?? code];
  if (setup) return new StoreProblem("setup", setup(where), error);
  if (MISSING.has(code)) return new StoreProblem("missing", `${key}: no such object`, error);
  if (code === "InvalidRange") return new StoreProblem("damaged", `${key}: shorter than expected`, error);
  if (code === "BadDigest" || code === "XAmzContentSHA256Mismatch" || code === "InvalidDigest")
    return new StoreProblem("damaged", `${key}: the bytes changed on the way`, error);
  if (CERTIFICATE.test(code))
    return new StoreProblem(
      "setup",
      `The certificate of ${where.endpoint} is not trusted (${code}). Name its certificate authority in s3_ca.`,
      error,
    );
  return new StoreProblem(
    "unreachable",
    `The object store at ${where.endpoint} did not answer as expected (${code}). It is tried again.`,
    error,
  );
}
