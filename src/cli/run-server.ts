/** Opens a data directory and runs the whole server on it: what `serve` and `quickstart` have in common. */

import { createSetupToken } from "../accounts/organizations/invitations.ts";
import { createApp, createCtx, type OpenCtx, startBackground } from "../app.ts";
import type { Config } from "../config.ts";
import type { Ctx } from "../ctx.ts";
import { startServer } from "../server.ts";

interface Running {
  ctx: OpenCtx;
  url: string;
  /**
   * Stops listening, lets requests under way end, closes the database. Jobs go on: their processes survive the server.
   */
  stop(): Promise<void>;
}

/** Seconds a stop may take in all. */
const STOP_S = 10;

/** @throws AppError `data_dir_in_use`, `schema_newer`, `cannot_listen` */
export async function runServer(config: Config, overrides: Partial<Ctx> = {}): Promise<Running> {
  const ctx = await createCtx(config, overrides);
  try {
    const server = startServer(ctx, createApp(ctx));
    const stopBackground = startBackground(ctx);
    return {
      ctx,
      url: server.url,
      async stop() {
        const orderly = (async () => {
          await Promise.all([server.stop(STOP_S - 4), stopBackground()]);
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

/** Address of the page that makes the first administrator, valid once; null when there is one already. */
export async function setupLink(ctx: Ctx, url: string): Promise<string | null> {
  const token = await createSetupToken(ctx);
  // "Every address" is no address a browser could open.
  const here = url.replace(/\/\/(0\.0\.0\.0|\[::\])(?=[:/]|$)/, "//localhost");
  return token && `${(ctx.config.public_url ?? here).replace(/\/$/, "")}/setup?token=${token}`;
}

/** Resolves with the name of the first signal that asks the process to end. */
export function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => resolve(name));
  });
}
