/**
 * The listeners: the application on TCP, trainers of this machine and the administrator's command line on Unix sockets,
 * and trainers elsewhere on a TCP address of their own.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import type { App, OpenCtx } from "./app.ts";
import { adminHandler } from "./cli/admin-socket.ts";
import type { Config } from "./config.ts";
import { AppError, errorBody } from "./errors.ts";
import { pathOf } from "./http/address.ts";
import { largestBody } from "./http/body.ts";
import { securityHeaders } from "./http/security.ts";
import { probesListener } from "./insights/status/checks.ts";
import { clearSocket, socketPath } from "./lib/disk/sockets.ts";
import { newId } from "./lib/ids.ts";
import { splitListen } from "./lib/listen.ts";

export interface RunningServer {
  /** `http://127.0.0.1:3900`, with the port the system chose. */
  url: string;
  /** The same of the listener for trainers elsewhere, `https://…` where it has a certificate; null without one. */
  trainerUrl: string | null;
  /** Stops listening; requests in progress get `graceS` seconds. Does not close the context. */
  stop(graceS?: number): Promise<void>;
}

const TRAINER_PREFIX = "/trainer/v1/";
/** Parts of artifacts and event batches are at most 8 MiB. */
const TRAINER_BODY = 9 * 1024 ** 2;
const ADMIN_BODY = 1024 ** 2;
/** Slack above the limits of routes, so that a body slightly above a limit gets a proper error. */
const BODY_SLACK = 64 * 1024 ** 2;

/** Answers and logs errors outside the application: Bun's own answer has no security headers. */
function lastResort(ctx: OpenCtx): (error: unknown) => Response {
  const headers = securityHeaders(ctx.config);
  return (thrown) => {
    const id = newId("request");
    const error = new AppError("internal", "internal_error", "Something went wrong on the server.");
    ctx.log("error", "a request failed outside the application", { request_id: id, cause: String(thrown) });
    return Response.json(errorBody(error), { status: 500, headers: { ...headers, "x-request-id": id } });
  };
}

function listenUnix(
  path: string,
  maxRequestBodySize: number,
  fetch: (request: Request) => Response | Promise<Response>,
  error: (error: unknown) => Response,
  mode = 0o600,
) {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  clearSocket(path);
  // The socket is created with the umask of the process: nobody else can connect before chmod.
  const mask = process.umask(0o177);
  try {
    const server = Bun.serve({ unix: path, fetch, error, maxRequestBodySize, development: false });
    chmodSync(path, mode);
    return server;
  } finally {
    process.umask(mask);
  }
}

const isForTrainers = (request: Request) => pathOf(request.url).startsWith(TRAINER_PREFIX);
const refused = (message: string) => Response.json({ error: { message, code: "unknown_url" } }, { status: 404 });

/** Runs `serve`, which listens on `address`. @throws AppError `cannot_listen` with what to change */
function listening<T>(address: string, setting: string, serve: () => T): T {
  try {
    return serve();
  } catch (cause) {
    throw new AppError(
      "unavailable",
      "cannot_listen",
      `Cannot listen on ${address}: the port is in use, or this machine does not have the address. Choose another with ${setting}.`,
      { cause },
    );
  }
}

/** The certificate of the listener for trainers. @throws AppError `bad_certificate` */
function certificateOf({ trainer_cert_file: certFile, trainer_key_file: keyFile }: Config) {
  if (!certFile || !keyFile) return undefined;
  try {
    const [cert, key] = [readFileSync(certFile, "utf8"), readFileSync(keyFile, "utf8")];
    if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
      throw new Error("the key is not the one of the certificate");
    return { cert, key };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AppError(
      "invalid",
      "bad_certificate",
      `trainer_cert_file and trainer_key_file must be PEM files of a certificate and its key: ${why}.`,
      { cause },
    );
  }
}

const addressOf = (scheme: string, hostname: string, port: number | undefined) =>
  `${scheme}://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;

/** The listener of trainers elsewhere; null when it is not configured. */
function listenTrainers({ config }: OpenCtx, app: App, error: (error: unknown) => Response) {
  if (!config.trainer_listen) return null;
  const { hostname, port } = splitListen(config.trainer_listen);
  const tls = certificateOf(config);
  const server = listening(config.trainer_listen, "the setting trainer_listen", () =>
    Bun.serve({
      hostname,
      port,
      ...(tls && { tls }),
      fetch(request) {
        if (!isForTrainers(request)) return refused("Trainers only.");
        // The router reads paths of plain HTTP. The request itself stays the same, with its connection and address.
        if (tls) Object.defineProperty(request, "url", { value: request.url.replace(/^https:/, "http:") });
        return app.fetch(request);
      },
      idleTimeout: 60,
      maxRequestBodySize: TRAINER_BODY,
      development: false,
      error,
    }),
  );
  return { server, url: addressOf(tls ? "https" : "http", hostname, server.port) };
}

/**
 * Starts all listeners.
 * @throws AppError `cannot_listen` when an address is in use, or not an address of this machine, `bad_certificate`
 */
export function startServer(ctx: OpenCtx, app: App): RunningServer {
  const { hostname, port } = splitListen(ctx.config.listen);
  app.compile();
  const failed = lastResort(ctx);
  const tcp = listening(ctx.config.listen, "--listen HOST:PORT", () =>
    Bun.serve({
      hostname,
      port,
      fetch: ctx.config.listen_trainers
        ? app.fetch
        : (request) =>
            isForTrainers(request) ? refused("Trainers use another address: trainer_url.") : app.fetch(request),
      idleTimeout: 60,
      // The gate and streaming routes enforce the limits with an error that says what to do; the listener's has no
      // text.
      maxRequestBodySize: largestBody(ctx.config) + BODY_SLACK,
      development: false,
      error: failed,
    }),
  );
  app.server = tcp;
  let elsewhere: ReturnType<typeof listenTrainers>;
  try {
    elsewhere = listenTrainers(ctx, app, failed);
  } catch (error) {
    tcp.stop(true);
    throw error;
  }

  const run = ctx.files.path("run");
  const trainerPath = ctx.trainerHome.replace(/^unix:/, "");
  // Containers run as another user and get the directory of the socket; the parent directory excludes everybody else.
  const hasContainers = () =>
    ctx.compute.list().some(({ plugin }) => plugin.kind === "container" && plugin.capabilities.local);
  const trainers = listenUnix(
    trainerPath,
    TRAINER_BODY,
    (request) => (isForTrainers(request) ? app.fetch(request) : refused("Trainers only.")),
    failed,
    hasContainers() ? 0o666 : 0o600,
  );
  const openToContainers = () => {
    if (!hasContainers()) return;
    chmodSync(trainerPath, 0o666);
    if (trainerPath.startsWith(run)) chmodSync(dirname(trainerPath), 0o755);
  };
  openToContainers();
  // A provider of containers may be switched on while the server runs.
  const stopWatching = ctx.bus.on("hosts.changed", openToContainers);
  const adminPath = socketPath(run, "admin.sock");
  const admin = listenUnix(adminPath, ADMIN_BODY, adminHandler(ctx), failed);

  const url = addressOf("http", hostname, tcp.port);
  ctx.lock.announce({ url, adminSocket: adminPath });
  probesListener(ctx, url);
  return {
    url,
    trainerUrl: elsewhere?.url ?? null,
    async stop(graceS = 5) {
      stopWatching();
      const all = [tcp, trainers, admin, ...(elsewhere ? [elsewhere.server] : [])];
      const graceful = Promise.all(all.map((server) => server.stop()));
      await Promise.race([graceful, Bun.sleep(graceS * 1000)]);
      await Promise.all(all.map((server) => server.stop(true)));
      for (const path of [trainerPath, adminPath]) clearSocket(path);
    },
  };
}
