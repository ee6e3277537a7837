/**
 * Classifies engine errors into the error kinds of the scheduler, with a reason where it is known.
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
  /** The message; `%s` is the name of the engine. */
  message: string;
}

/** The first match wins. The engine's error text follows the message. */
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
    message: "%s cannot give containers access to GPUs",
  },
  {
    pattern: /bind source path does not exist/i,
    kind: "invalid",
    reason: "start_failed",
    message: "%s cannot access the server's files",
  },
  {
    pattern: /cannot allocate memory|minimum memory limit|can not start.{0,200}memory/i,
    kind: "fatal",
    reason: "out_of_memory",
    message: "%s has not enough memory for the container",
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

/** An engine call timed out. */
export class EngineTimeout extends Error {}

/** The engine's error text in one line. */
function textOf(error: unknown): string {
  const { json, message } = error as EngineError;
  return (json?.message ?? message ?? String(error)).replace(/\s+/g, " ").trim().slice(0, 500);
}

export const statusOf = (error: unknown): number | null => (error as EngineError).statusCode ?? null;

/** The error for the scheduler from an engine error. */
export function engineFailure(host: ProviderHost, engine: Engine, error: unknown): ProviderFailure {
  if (error instanceof Error && "providerErrorKind" in error) return error as ProviderFailure;
  const { statusCode, code, level } = error as EngineError;
  const words = textOf(error);
  const make = (kind: ProviderErrorKind, message: string, reason?: string | null) =>
    host.error(kind, `${message.replace("%s", engine.id)}: ${words}`, { cause: error, reason: reason ?? undefined });
  if (statusCode === undefined) {
    if (level === "client-authentication" || code === "EACCES" || REFUSED.test(`${words} ${code}`))
      return make("auth", "%s denied access to this server");
    if (error instanceof EngineTimeout || AWAY.has(code ?? "") || level?.startsWith("client-"))
      return make("transient", "The engine of %s is unreachable");
    return make("transient", "The request to the engine of %s failed");
  }
  const rule = RULES.find((one) => one.pattern.test(words));
  if (rule) return make(rule.kind, rule.message, rule.reason);
  if (statusCode === 401 || statusCode === 403) return make("auth", "%s refused the request");
  if (statusCode === 429) return make("rate_limited", "%s has a rate limit");
  return statusCode >= 500
    ? make("transient", "The engine of %s failed")
    : make("invalid", "%s did not accept the container", "start_failed");
}
