/** Secret settings as administrators enter them in the page: stored encrypted, taken out of files, never shown. */
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { saveProviderSettings } from "../../compute/limits/settings.ts";
import { FORM_PLUGINS } from "../../compute/providers/plugins.ts";
import { type Compute, pluginProblems } from "../../compute/providers/registry.ts";
import type { ConfigSource } from "../../config.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { secretSetting } from "../../db/schema/audit.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { providerSecret, SECRET_SETTINGS, storedSecrets } from "../../db/secret-settings.ts";
import { AppError, notFound } from "../../errors.ts";
import { seal } from "../../lib/sealed.ts";
import { STRIPE_KEY, STRIPE_SIGNING_SECRET } from "../../lib/text/stripe-keys.ts";
import { type PlainSecret, plainSecrets, removeFromFile } from "./plain-secrets.ts";

/** A secret setting. */
export const SecretSettingView = v.strictObject({
  object: v.literal("secret_setting"),
  /** A setting such as `hub_token`, or `provider.ID.FIELD`. */
  name: v.string(),
  label: v.string(),
  help: v.string(),
  /**
   * Where its value comes from: `page` is encrypted, `file` in plain text, `secret_file` in the file that `NAME_file`
   * names; null when it is not set.
   */
  source: v.nullable(v.picklist(["page", "file", "environment", "flag", "secret_file"])),
  /** The file in which it is in plain text. */
  path: v.nullable(v.string()),
  /** A new value is used after the next start. */
  needs_restart: v.boolean(),
});
export type SecretSettingView = v.InferOutput<typeof SecretSettingView>;

export const SaveSecretSetting = v.strictObject({
  name: v.pipe(v.string(), v.maxLength(200)),
  /** Absent: the value that is in plain text in a file is encrypted. */
  value: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1, "must not be empty"), v.maxLength(10_000)))),
});

interface Known {
  name: string;
  label: string;
  help: string;
  needsRestart: boolean;
  /** The provider and field that it belongs to; null for settings of the installation. */
  of: { provider: string; field: string } | null;
  /** Where the value would be in a file. */
  isAt(plain: PlainSecret): boolean;
}

const HELP: Record<(typeof SECRET_SETTINGS)[number], [string, string]> = {
  hub_token: ["Token of the hub", "For gated models, and for pushes of administrators. Sent only to hub_url."],
  mail_password: [
    "Password of the mail server",
    "Of the user in mail_url. Not needed for a mail server that was entered on the page Mail.",
  ],
  metrics_token: ["Token of /metrics", "Opens /metrics to other machines. At least 16 characters."],
  s3_secret_key: [
    "Secret key of the object store",
    "Of the access key in s3_access_key_id. Signs requests; never sent.",
  ],
  stripe_secret_key: [
    "Secret key of Stripe",
    "sk_test_… or sk_live_…, from Developers, API keys. Sent only to Stripe.",
  ],
  stripe_webhook_secret: ["Signing secret of Stripe's webhook", "whsec_…, from the webhook endpoint at Stripe."],
};

/** What a value must look like, and what to say otherwise. */
const SHAPES: Record<string, [RegExp, string]> = {
  metrics_token: [/^\S{16,}$/, "The value needs 16 characters or more, without spaces."],
  stripe_secret_key: [STRIPE_KEY, "Enter a secret or restricted key of Stripe: sk_test_…, sk_live_… or rk_…"],
  stripe_webhook_secret: [STRIPE_SIGNING_SECRET, "Enter the signing secret of the webhook endpoint: whsec_…"],
};

const isFixed = (ctx: Ctx, id: string, field: string) => ctx.config.provider_settings[id]?.[field] !== undefined;

/** Every secret setting of this installation: its own, and those of its providers. */
function known(ctx: Ctx): Known[] {
  const compute = "settings" in ctx.compute ? (ctx.compute as Compute) : null;
  const loaded = ctx.compute.list().map(({ plugin }) => ({
    id: plugin.id,
    fields: plugin.config,
    folder: compute?.settings(plugin.id)?.folder ?? null,
  }));
  const failed = pluginProblems(ctx).flatMap(({ incomplete }) => (incomplete ? [incomplete] : []));
  return [
    ...SECRET_SETTINGS.map((name) => ({
      name,
      label: HELP[name][0],
      help: HELP[name][1],
      needsRestart: false,
      of: null,
      isAt: (plain: PlainSecret) => plain.name === (name === "mail_password" && plain.rest ? "mail_url" : name),
    })),
    ...[...loaded, ...failed].flatMap(({ id, fields, folder }) =>
      fields
        .filter((field) => field.type === "secret")
        .map((field) => ({
          name: providerSecret(id, field.name),
          label: `${id}: ${field.label}`,
          help: field.help,
          // The settings of bundled providers are used at once, unless the configuration has the value.
          needsRestart: folder !== null || !FORM_PLUGINS.includes(id) || isFixed(ctx, id, field.name),
          of: { provider: id, field: field.name },
          isAt: ({ at, path }: PlainSecret) =>
            at.at(-1) === field.name && (folder === null ? at[1] === id : path.startsWith(`${folder}/`)),
        })),
    ),
  ];
}

/** A value of the environment, the command line or a file of its own, which the page cannot change. */
function fixedBy(ctx: Ctx, { name, of }: Known): "environment" | "flag" | "secret_file" | null {
  const own = SECRET_SETTINGS.find((each) => each === name);
  const inAddress = name === "mail_password" && URL.parse(ctx.config.mail_url ?? "")?.password;
  const source = ctx.config.sources[inAddress ? "mail_url" : (own ?? "provider_settings")];
  if (source !== "environment" && source !== "flag" && source !== "secret_file") return null;
  if (own) return source;
  return of && isFixed(ctx, of.provider, of.field) ? source : null;
}

function viewOf(ctx: Ctx, one: Known, plain: PlainSecret | undefined): SecretSettingView {
  const stored = storedSecrets(ctx).has(one.name);
  const source: ConfigSource | null = fixedBy(ctx, one) ?? (plain ? "file" : stored ? "page" : null);
  return {
    object: "secret_setting",
    name: one.name,
    label: one.label,
    help: one.help,
    source,
    path: plain?.path ?? null,
    needs_restart: one.needsRestart,
  };
}

/** All secret settings without their values. Administrators only. */
export function listSecretSettings(ctx: Ctx, actor: Actor): SecretSettingView[] {
  requireAdmin(actor);
  const plain = plainSecrets(ctx.files.root);
  return known(ctx).map((one) => viewOf(ctx, one, plain.find(one.isAt)));
}

function find(ctx: Ctx, name: string): Known {
  const found = known(ctx).find((one) => one.name === name);
  if (!found) throw notFound("secret_setting", name);
  return found;
}

const FIXED = {
  environment: "an environment variable",
  flag: "the command line",
  secret_file: "a file of its own",
} as const;

/** @throws AppError `setting_fixed` for a value of the environment, the command line or a file of its own */
function requireChangeable(ctx: Ctx, one: Known): void {
  const source = fixedBy(ctx, one);
  if (!source) return;
  throw new AppError(
    "conflict",
    "setting_fixed",
    `${one.name} is set by ${FIXED[source]}. Remove it there to set it here.`,
  );
}

/** Takes a value out of its file. @throws AppError `file_not_changed` */
function takeOut(plain: PlainSecret): void {
  try {
    removeFromFile(plain);
  } catch (cause) {
    throw new AppError(
      "conflict",
      "file_not_changed",
      `The value is stored encrypted, but ${plain.path} cannot be changed, and its value in plain text is still used. Remove ${plain.name} from the file.`,
      { cause },
    );
  }
}

/**
 * Stores a value encrypted. What is in plain text in a file is removed from it.
 * @param value null or absent: the value of the file
 * @throws AppError `secret_setting_not_found`, `setting_fixed`, `missing_value`, `invalid_value`, `file_not_changed`
 */
export async function saveSecretSetting(
  ctx: Ctx,
  actor: Actor,
  { name, value }: v.InferOutput<typeof SaveSecretSetting>,
): Promise<SecretSettingView> {
  requireAdmin(actor);
  const one = find(ctx, name);
  requireChangeable(ctx, one);
  const plain = plainSecrets(ctx.files.root).find(one.isAt);
  const text = value ?? plain?.value;
  if (!text) throw new AppError("invalid", "missing_value", "Enter a value.", { param: "value" });
  const shape = SHAPES[name];
  if (shape && !shape[0].test(text)) throw new AppError("invalid", "invalid_value", shape[1], { param: "value" });
  if (one.of && !one.needsRestart) {
    await saveProviderSettings(ctx, actor, one.of.provider, { settings: { [one.of.field]: text } });
    return viewOf(ctx, one, undefined);
  }
  const row = { value: seal(ctx.secret, sealedIn("setting", name), text), updatedAt: ctx.clock.now() };
  await ctx.write(async (tx) => {
    await tx
      .insert(secretSetting)
      .values({ name, ...row })
      .onConflictDoUpdate({ target: secretSetting.name, set: row });
    await audit(tx, ctx, actor, "setting.change", name, { encrypted: true, from_file: value == null });
  });
  storedSecrets(ctx).set(name, text);
  if (plain) takeOut(plain);
  return viewOf(ctx, one, undefined);
}

/** Removes a value that was stored here. @throws AppError `secret_setting_not_found` */
export async function removeSecretSetting(ctx: Ctx, actor: Actor, name: string): Promise<void> {
  requireAdmin(actor);
  const one = known(ctx).find((each) => each.name === name);
  if (one?.of && !one.needsRestart && storedSecrets(ctx).has(name)) {
    await saveProviderSettings(ctx, actor, one.of.provider, { settings: { [one.of.field]: null } });
    return;
  }
  await ctx.write(async (tx) => {
    const [gone] = await tx.delete(secretSetting).where(eq(secretSetting.name, name)).returning();
    if (!gone) throw notFound("secret_setting", name);
    await audit(tx, ctx, actor, "setting.remove", name);
  });
  storedSecrets(ctx).delete(name);
}
