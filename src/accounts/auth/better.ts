/**
 * better-auth for one context: it writes through the writer queue and hashes through src/accounts/auth/passwords.ts.
 * Loaded on the first sign-in, not at the start.
 */
import { type Ctx, perContext } from "../../ctx.ts";
import * as schema from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { cookieName } from "../../lib/cookies.ts";
import { PASSWORD_MAX } from "./password-rules.ts";
import { hashPassword, verifyPassword } from "./passwords.ts";
import { sealing } from "./sealing.ts";

const DAY_S = 86_400;
/** Time to enter the second factor after the password. */
const STEP_S = 600;

/** True when browsers reach this server over https: cookies then carry `Secure` and the `__Host-` prefix. */
export function isHttps(ctx: Ctx): boolean {
  return ctx.config.public_url?.startsWith("https://") ?? false;
}

/** The cookie name contains the installation id, because all ports of a host share cookies. */
export function sessionCookie(ctx: Ctx): string {
  return `ftl-session-${ctx.installation.slice(0, 6)}`;
}

/** The cookie of somebody who gave the password and still has to give the second factor. */
export function stepCookie(ctx: Ctx): string {
  return `ftl-step-${ctx.installation.slice(0, 6)}`;
}

type Step = (tx: Db) => unknown;

/**
 * A query builder without a connection: it records every method call, and awaiting it replays the calls on a
 * transaction of the writer queue. better-auth therefore cannot open a second write transaction.
 */
function deferred(ctx: Ctx, build: Step): object {
  return new Proxy(
    {},
    {
      get(_target, name) {
        if (name === "then") {
          const result = ctx.write(async (tx) => (await build(tx)) as unknown);
          return result.then.bind(result);
        }
        return (...args: unknown[]) =>
          deferred(ctx, (tx) => {
            const on = build(tx) as Record<PropertyKey, (...given: unknown[]) => unknown>;
            return on[name]?.(...args);
          });
      },
    },
  );
}

/** A database that reads on the reading connection and writes through the queue. */
function queuedDb(ctx: Ctx): Db {
  return new Proxy(ctx.db, {
    get(target, name, receiver) {
      if (name === "insert") return (table: Parameters<Db["insert"]>[0]) => deferred(ctx, (tx) => tx.insert(table));
      if (name === "update") return (table: Parameters<Db["update"]>[0]) => deferred(ctx, (tx) => tx.update(table));
      if (name === "delete") return (table: Parameters<Db["delete"]>[0]) => deferred(ctx, (tx) => tx.delete(table));
      if (name === "transaction") return (work: (tx: Db) => Promise<unknown>) => ctx.write(work);
      return Reflect.get(target, name, receiver);
    },
  });
}

async function build(ctx: Ctx) {
  const [{ betterAuth }, { drizzleAdapter }, { organization }, { twoFactor }] = await Promise.all([
    import("better-auth/minimal"),
    import("better-auth/adapters/drizzle"),
    import("better-auth/plugins/organization"),
    import("better-auth/plugins/two-factor"),
  ]);
  const sealed = drizzleAdapter(queuedDb(ctx), { provider: "sqlite", schema, transaction: false });
  const secure = isHttps(ctx);
  return betterAuth({
    baseURL: ctx.config.public_url ?? "http://localhost",
    secret: ctx.secret,
    database: sealing(ctx, sealed),
    telemetry: { enabled: false },
    logger: { log: (level, message) => ctx.log(level === "error" ? "warn" : "debug", `accounts: ${message}`) },
    emailAndPassword: {
      enabled: true,
      disableSignUp: true,
      minPasswordLength: ctx.config.password_min_length,
      maxPasswordLength: PASSWORD_MAX,
      password: {
        hash: (password) => hashPassword(ctx, password),
        verify: ({ password, hash }) => verifyPassword(ctx, password, hash),
      },
    },
    session: {
      expiresIn: ctx.config.session_days * DAY_S,
      disableSessionRefresh: true,
      cookieCache: { enabled: false },
    },
    user: {
      additionalFields: {
        role: { type: "string", input: false },
        banned: { type: "boolean", input: false },
      },
    },
    plugins: [
      organization({ allowUserToCreateOrganization: false }),
      twoFactor({
        issuer: "Fine-Tune Lab",
        // Accounts of single sign-on have no password; sign-in.ts asks them for a recent sign-in.
        allowPasswordless: true,
        twoFactorCookieMaxAge: STEP_S,
        backupCodeOptions: {
          // Hashes, which src/accounts/auth/recovery-codes.ts creates: the library only compares and removes them.
          customBackupCodesGenerate: () => [],
          storeBackupCodes: { encrypt: async (hashes) => hashes, decrypt: async (hashes) => hashes },
        },
      }),
    ],
    advanced: {
      useSecureCookies: false,
      cookies: {
        session_token: {
          name: cookieName(sessionCookie(ctx), secure),
          attributes: { secure, httpOnly: true, sameSite: "lax", path: "/" },
        },
        two_factor: {
          name: cookieName(stepCookie(ctx), secure),
          attributes: { secure, httpOnly: true, sameSite: "lax", path: "/" },
        },
      },
    },
  });
}

/** The sign-in library of a server, created on first use. */
export const betterAuthOf = perContext(build);
