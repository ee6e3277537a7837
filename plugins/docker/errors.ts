/**
 * Turns what an engine answers into the few kinds of errors the scheduler understands, and names the reason where it is
 * plain.
 */
import type { ProviderErrorKind, ProviderFailure, ProviderHost } from "../../src/contract/provider.ts";
import type { Engine } from "./engines.ts";

interface EngineError {
  statusCode?: number;
  code?: string;
  level?: string;
  message?: string;
  json?: { message?: string } | null;
}

interface Rule {
  pattern: RegExp;
  kind: ProviderErrorKind;
  reason: string | null;
  /** What happened; `%s` is the engine's name. */
  message: string;
}

/** First match wins. The engine's own words follow the message. */
const RULES: readonly Rule[] = [
  {
    pattern: /no space left on device|disk quota exceeded/i,
    kind: "fatal",
    reason: "disk_full",
    message: "No space left on the disk of %s",
  },
  {
    pattern: /no such image|manifest unknown|reference does not exist/i,
    kind: "invalid",
    reason: "image_missing",
    message: "The image is missing on %s",
  },
  {
    pattern:
      /could not select device driver|unknown or invalid runtime name|nvidia-container-cli|unresolvable CDI devices/i,
    kind: "fatal",
    reason: "gpu_lost",
    message: "%s cannot give its GPUs to containers",
  },
  {
    pattern: /bind source path does not exist/i,
    kind: "invalid",
    reason: "start_failed",
    message: "%s does not see the server's files",
  },
  {
    pattern: /cannot allocate memory|minimum memory limit|can not start.{0,200}memory/i,
    kind: "fatal",
    reason: "out_of_memory",
    message: "%s has no memory for the container",
  },
  {
    pattern: /runc|OCI runtime|failed to create (shim|task)|cgroup|rlimit|executable file not found|permission denied/i,
    kind: "fatal",
    reason: "start_failed",
    message: "%s could not start the container",
  },
];

const AWAY = new Set([
  "ECONNREFUSED",
  "ENOENT",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "ConnectionRefused",
  "FailedToOpenSocket",
  "ConnectionClosed",
]);
const REFUSED =
  /certificate|handshake|\bTLS\b|SSL|host key|host denied|verification failed|authentication methods failed|EACCES|permission denied while trying to connect/i;

/** Said by an engine call that took too long. */
export class EngineSilent extends Error {}

/** The engine's own words, one line. */
function wordsOf(error: unknown): string {
  const { json, message } = error as EngineError;
  return (json?.message ?? message ?? String(error)).replace(/\s+/g, " ").trim().slice(0, 500);
}

export const statusOf = (error: unknown): number | null => (error as EngineError).statusCode ?? null;

/** The error the scheduler gets for what an engine answered. */
export function engineFailure(host: ProviderHost, engine: Engine, error: unknown): ProviderFailure {
  if (error instanceof Error && "providerErrorKind" in error) return error as ProviderFailure;
  const { statusCode, code, level } = error as EngineError;
  const words = wordsOf(error);
  const make = (kind: ProviderErrorKind, message: string, reason?: string | null) =>
    host.error(kind, `${message.replace("%s", engine.id)}: ${words}`, { cause: error, reason: reason ?? undefined });
  if (statusCode === undefined) {
    if (level === "client-authentication" || code === "EACCES" || REFUSED.test(`${words} ${code}`))
      return make("auth", "%s does not let this server in");
    if (error instanceof EngineSilent || AWAY.has(code ?? "") || level?.startsWith("client-"))
      return make("transient", "The engine of %s does not answer");
    return make("transient", "The engine of %s could not be asked");
  }
  const rule = RULES.find((one) => one.pattern.test(words));
  if (rule) return make(rule.kind, rule.message, rule.reason);
  if (statusCode === 401 || statusCode === 403) return make("auth", "%s refused");
  if (statusCode === 429) return make("rate_limited", "%s wants fewer requests");
  return statusCode >= 500
    ? make("transient", "The engine of %s failed")
    : make("invalid", "%s did not accept the container", "start_failed");
}
