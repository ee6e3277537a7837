/** The commands of the administrator of this machine, with or without a running server: name, arguments, action. */
import * as v from "valibot";
import { ownerOfKey, rotateKey } from "../accounts/api-keys/changes.ts";
import { RotateKey } from "../accounts/api-keys/model.ts";
import { createKey } from "../accounts/api-keys/service.ts";
import { audit, verifyAudit } from "../accounts/audit/service.ts";
import { Email, Name } from "../accounts/auth/model.ts";
import { createUser, setPassword, userIdOf } from "../accounts/auth/service.ts";
import { resetTwoFactor } from "../accounts/factors/two-factor.ts";
import { askedOf, RestrictionFields } from "../accounts/keys/restrictions.ts";
import { verifyNow } from "../billing/ledger/verification.ts";
import { type Actor, type Ctx, systemActor } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { DAY_MS } from "../lib/clock.ts";
import { migrationStep } from "../objects/migrate.ts";
import { INSTALLATION_ROLES, SCOPES } from "../roles.ts";

/** The person at the terminal: trusted by this machine, without an organization. */
const operator: Actor = { ...systemActor(), via: "cli" };

const KeyOfUser = v.strictObject({
  email: Email,
  name: Name,
  /** Days until it expires; absent = never, or the setting `key_max_days`. */
  days: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(3650))),
  /** What it may do; absent = everything its user may do. */
  scopes: v.optional(v.pipe(v.array(v.picklist(SCOPES)), v.minLength(1, "needs at least one"))),
  ...RestrictionFields,
});

interface Command<S extends v.GenericSchema> {
  args: S;
  run(ctx: Ctx, args: v.InferOutput<S>): Promise<Record<string, unknown>>;
}
const command = <S extends v.GenericSchema>(args: S, run: Command<S>["run"]): Command<S> => ({ args, run });

const COMMANDS = {
  /** Creates an account. -> `{id, email, org}` */
  "user.create": command(
    v.strictObject({
      email: Email,
      password: v.string(),
      role: v.optional(v.picklist(INSTALLATION_ROLES), "member"),
      name: v.optional(Name),
      org: v.optional(v.string()),
    }),
    async (ctx, args) => ({ ...(await createUser(ctx, operator, args)) }),
  ),
  /** Sets a forgotten password and ends the sessions of that user. -> `{id}` */
  "user.password": command(v.strictObject({ email: Email, password: v.string() }), async (ctx, args) => {
    const id = await userIdOf(ctx, args.email);
    await setPassword(ctx, operator, id, args.password);
    return { id };
  }),
  /** Removes the second factor of a user who lost it, and ends their sessions. -> `{id}` */
  "user.reset_two_factor": command(v.strictObject({ email: Email }), async (ctx, args) => {
    const id = await userIdOf(ctx, args.email);
    await resetTwoFactor(ctx, operator, id);
    return { id };
  }),
  /** Creates an API key for a user. -> `{id, key}`; the key is not stored. */
  "key.create": command(KeyOfUser, async (ctx, { name, email, days, scopes, ...asked }) => {
    const never = ctx.config.key_max_days === 0 ? null : undefined;
    const expiresAt = days === undefined ? never : ctx.clock.now() + days * DAY_MS;
    const userId = await userIdOf(ctx, email);
    const restrictions = askedOf(asked);
    const made = await createKey(ctx, operator, { name, userId, expiresAt, scopes, restrictions });
    return { id: made.id, key: made.key };
  }),
  /** Gives a key a new secret. -> `{id, key}`; the secret is not stored. */
  "key.rotate": command(
    v.strictObject({ id: v.string(), ...RotateKey.entries }),
    async (ctx, { id, overlap_seconds: overlap }) => {
      const { userId, org } = await ownerOfKey(ctx, id);
      return { id, key: (await rotateKey(ctx, { ...operator, userId, org }, id, overlap * 1000)).key };
    },
  ),
  /** Verifies the audit log. -> `{rows, broken_at, removed}` */
  "audit.verify": command(v.strictObject({}), async (ctx) => {
    const { rows, brokenAt, removed } = await verifyAudit(ctx);
    return { rows, broken_at: brokenAt, removed };
  }),
  /** Checks the ledger. -> `{checks}` */
  "billing.verify": command(v.strictObject({}), async (ctx) => ({ checks: (await verifyNow(ctx)).checks })),
  /** Moves stored files to the bucket or back, for some seconds. -> a step of `migrationStep` */
  "storage.migrate": command(
    v.strictObject({ to: v.picklist(["disk", "s3"]), dry_run: v.boolean(), after: v.string() }),
    async (ctx, { to, dry_run: dryRun, after }) => {
      if (!dryRun && after === "") await ctx.write((tx) => audit(tx, ctx, operator, "storage.migrate", to));
      return { ...(await migrationStep(ctx, { to, dryRun, after })) };
    },
  ),
  /** The checks of `doctor` by the running server, with its settings. -> `{checks}` */
  doctor: command(v.strictObject({}), async (ctx) => {
    const { runChecks } = await import("./doctor/machine.ts");
    const { callHomeChecks } = await import("./doctor/call-home.ts");
    return { checks: [...(await runChecks(ctx.config, true)), ...(await callHomeChecks(ctx))] };
  }),
  /** Facts of the running server. -> `{pid, uptime_s, data_dir, installation, memory_mb}` */
  status: command(v.strictObject({}), async (ctx) => ({
    pid: process.pid,
    uptime_s: Math.round(process.uptime()),
    data_dir: ctx.files.root,
    installation: ctx.installation,
    memory_mb: Math.round(process.memoryUsage.rss() / 1024 ** 2),
  })),
} as const;

type CommandName = keyof typeof COMMANDS;

/**
 * Checks the arguments and runs the command.
 * @throws AppError `unknown_command`, `invalid_value`, and what the service throws
 */
export async function runCommand(ctx: Ctx, name: string, args: unknown): Promise<Record<string, unknown>> {
  if (!Object.hasOwn(COMMANDS, name))
    throw new AppError("not_found", "unknown_command", `There is no command ${name}.`);
  const entry = COMMANDS[name as CommandName] as Command<v.GenericSchema>;
  const parsed = v.safeParse(entry.args, args);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const param = v.getDotPath(issue);
    throw new AppError("invalid", "invalid_value", param ? `${param}: ${issue.message}` : issue.message, { param });
  }
  return entry.run(ctx, parsed.output);
}
