/** Opens a data directory and runs the server on it, for `serve` and `quickstart`. */

import { createSetupToken } from "../accounts/organizations/invitations.ts";
import { createApp, createCtx, type OpenCtx } from "../app.ts";
import { startBackground } from "../background.ts";
import type { Config } from "../config.ts";
import type { Ctx } from "../ctx.ts";
import { requireBucket } from "../objects/bucket.ts";
import { startServer } from "../server.ts";
import { startMailbox } from "../training/mailbox/service.ts";

interface Running {
  ctx: OpenCtx;
  url: string;
  /**
   * Stops listening, waits for requests in progress, closes the database. Jobs continue: their processes survive the
   * server.
   */
  stop(): Promise<void>;
}

/** Maximum seconds of a stop. */
const STOP_S = 10;

/** @throws AppError `data_dir_in_use`, `schema_newer`, `object_store_setup`, `cannot_listen` */
export async function runServer(config: Config, overrides: Partial<Ctx> = {}): Promise<Running> {
  const ctx = await createCtx(config, overrides);
  try {
    await requireBucket(ctx);
    const app = createApp(ctx);
    const server = startServer(ctx, app);
    const stopBackground = startBackground(ctx);
    const stopMailbox = startMailbox(ctx, (request) => app.fetch(request));
    return {
      ctx,
      url: server.url,
      async stop() {
        const orderly = (async () => {
          await Promise.all([server.stop(STOP_S - 4), stopBackground(), stopMailbox()]);
          await ctx.close();
        })();
        await Promise.race([orderly, Bun.sleep(STOP_S * 1000)]);
      },
    };
  } catch (error) {
    await ctx.close();
    throw error;
  }
}

/** Address of the page that creates the first administrator, valid once; null when there is already one. */
export async function setupLink(ctx: Ctx, url: string): Promise<string | null> {
  const token = await createSetupToken(ctx);
  // A browser cannot open the wildcard address.
  const here = url.replace(/\/\/(0\.0\.0\.0|\[::\])(?=[:/]|$)/, "//localhost");
  return token && `${(ctx.config.public_url ?? here).replace(/\/$/, "")}/setup?token=${token}`;
}

/** Resolves with the name of the first signal that asks the process to end. */
export function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => resolve(name));
  });
}
