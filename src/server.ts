/**
 * The listeners: the application on TCP, trainers of this machine and the administrator's command line on Unix sockets.
 */
import { chmodSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { App, OpenCtx } from "./app.ts";
import { adminHandler } from "./cli/admin-socket.ts";
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

/**
 * Starts all three listeners.
 * @throws AppError `cannot_listen` when the address is in use, or not an address of this machine
 */
export function startServer(ctx: OpenCtx, app: App): RunningServer {
  const { hostname, port } = splitListen(ctx.config.listen);
  app.compile();
  const failed = lastResort(ctx);
  let tcp: ReturnType<typeof Bun.serve>;
  try {
    tcp = Bun.serve({
      hostname,
      port,
      fetch: app.fetch,
      idleTimeout: 60,
      // The gate and streaming routes enforce the limits with an error that says what to do; the listener's has no
      // text.
      maxRequestBodySize: largestBody(ctx.config) + BODY_SLACK,
      development: false,
      error: failed,
    });
  } catch (cause) {
    throw new AppError(
      "unavailable",
      "cannot_listen",
      `Cannot listen on ${ctx.config.listen}: the port is in use, or this machine does not have the address. Choose another with --listen HOST:PORT.`,
      { cause },
    );
  }
  app.server = tcp;

  const run = ctx.files.path("run");
  const trainerPath = ctx.trainerHome.replace(/^unix:/, "");
  // Containers run as another user and get the directory of the socket; the parent directory excludes everybody else.
  const shown = ctx.compute.list().some(({ plugin }) => plugin.kind === "container" && plugin.capabilities.local);
  const trainers = listenUnix(
    trainerPath,
    TRAINER_BODY,
    (request) =>
      pathOf(request.url).startsWith(TRAINER_PREFIX)
        ? app.fetch(request)
        : Response.json({ error: { message: "Trainers only.", code: "unknown_url" } }, { status: 404 }),
    failed,
    shown ? 0o666 : 0o600,
  );
  if (shown && trainerPath.startsWith(run)) chmodSync(dirname(trainerPath), 0o755);
  const adminPath = socketPath(run, "admin.sock");
  const admin = listenUnix(adminPath, ADMIN_BODY, adminHandler(ctx), failed);

  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  const url = `http://${host}:${tcp.port}`;
  ctx.lock.announce({ url, adminSocket: adminPath });
  probesListener(ctx, url);
  return {
    url,
    async stop(graceS = 5) {
      const all = [tcp, trainers, admin];
      const graceful = Promise.all(all.map((server) => server.stop()));
      await Promise.race([graceful, Bun.sleep(graceS * 1000)]);
      await Promise.all(all.map((server) => server.stop(true)));
      for (const path of [trainerPath, adminPath]) clearSocket(path);
    },
  };
}
