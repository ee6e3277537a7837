/** The connection to an S3-compatible server: addresses, credentials, time limits, and the clock of the other side. */
import type { S3Client } from "@aws-sdk/client-s3";

/** Where the bucket is and how to sign. Read at every request, so that a new secret counts at once. */
export interface S3Settings {
  endpoint: string;
  region: string;
  bucket: string;
  /** Before every key: empty, or with a slash at its end. */
  prefix: string;
  pathStyle: boolean;
  /** Certificate authority of the server as PEM; null = the system's. */
  ca: string | null;
  credentials(): { accessKey: string; secretKey: string };
  /** Time without a byte until a request counts as lost, in milliseconds. */
  quietMs: number;
}

/** Tries of one request: SlowDown, 5xx, lost connections. The delays grow to a few seconds. */
const TRIES = 6;
const CONNECT_MS = 10_000;
/** Credentials are read again after this time. */
const FRESH_MS = 10_000;

/** The client, and how far the server's clock was from ours at the last answer, in milliseconds. */
export interface Connection {
  client: S3Client;
  skewMs: number;
}

/**
 * Connects. The SDK is loaded here alone: an installation without a bucket does not pay for it.
 * @param now milliseconds since 1970
 */
export async function connect(settings: S3Settings, now: () => number): Promise<Connection> {
  const { S3Client } = await import("@aws-sdk/client-s3");
  const { Agent } = await import("node:https");
  const client = new S3Client({
    endpoint: settings.endpoint,
    region: settings.region,
    forcePathStyle: settings.pathStyle,
    credentials: async () => {
      const { accessKey, secretKey } = settings.credentials();
      return { accessKeyId: accessKey, secretAccessKey: secretKey, expiration: new Date(Date.now() + FRESH_MS) };
    },
    maxAttempts: TRIES,
    // Checksums in trailers are unknown to many servers; the signature covers the hash of every request's body.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      socketTimeout: settings.quietMs,
      requestTimeout: settings.quietMs,
      throwOnRequestTimeout: true,
      ...(settings.ca === null ? {} : { httpsAgent: new Agent({ ca: settings.ca, keepAlive: true }) }),
    },
  });
  const connection: Connection = { client, skewMs: 0 };
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const headers = (result.response as { headers?: Record<string, string> } | undefined)?.headers;
      const at = Date.parse(headers?.date ?? "");
      if (Number.isFinite(at)) connection.skewMs = at - now();
      return result;
    },
    { step: "deserialize", name: "clockOfServer", priority: "low" },
  );
  return connection;
}
