/**
 * `user create`, `user password`, `user reset-two-factor`, `key create`, `key rotate`, `audit verify`: accounts from
 * the command line, through the running server or on the data directory.
 */
import { readFileSync } from "node:fs";
import { loadConfig } from "../config.ts";
import { AppError } from "../errors.ts";
import { type Args, CONFIG_OPTIONS, configFlags, EXIT, type Verb } from "./command.ts";

const DATA = { data: CONFIG_OPTIONS.data };
const PASSWORD = { value: "FILE", help: "file with the password on its first line; - reads standard input" };

/** Runs through the server when one uses the directory. Only errors are logged: standard output is for the answer. */
export async function command(
  args: Args,
  name: string,
  values: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  const { adminCommand } = await import("../app.ts");
  return adminCommand(loadConfig({ log_level: "error", ...configFlags(args) }), name, values);
}

function readPassword(path: string): string {
  let text: string;
  try {
    text = readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (cause) {
    throw new AppError("invalid", "password_file", `Cannot read the password from ${path}.`, { cause });
  }
  return text.split(/\r?\n/)[0] ?? "";
}

export const userCreate: Verb = {
  name: "user create",
  summary: "Creates an account.",
  options: {
    email: { value: "EMAIL", help: "e-mail address to sign in with" },
    "password-file": PASSWORD,
    role: { value: "admin|member", help: "admin administers the whole installation (default member)" },
    name: { value: "NAME", help: "display name" },
    org: { value: "ID", help: "organization to join (default: the only one, or a new one)" },
    ...DATA,
  },
  notes:
    "Works while the server runs. The password is read from a file to keep it out of process lists and shell history.",
  async run(args) {
    const made = await command(args, "user.create", {
      email: args.required("email"),
      password: readPassword(args.required("password-file")),
      role: args.text("role"),
      name: args.text("name"),
      org: args.text("org"),
    });
    process.stdout.write(`${made.id}\n`);
    return EXIT.ok;
  },
};

export const userPassword: Verb = {
  name: "user password",
  summary: "Sets a new password and ends all sessions of that user.",
  options: { email: { value: "EMAIL", help: "whose" }, "password-file": PASSWORD, ...DATA },
  async run(args) {
    const values = { email: args.required("email"), password: readPassword(args.required("password-file")) };
    await command(args, "user.password", values);
    return EXIT.ok;
  },
};

export const userResetTwoFactor: Verb = {
  name: "user reset-two-factor",
  summary: "Removes the second factors of a user who lost them, passkeys too, and ends all sessions of that user.",
  options: { email: { value: "EMAIL", help: "whose" }, ...DATA },
  async run(args) {
    const email = args.required("email");
    await command(args, "user.reset_two_factor", { email });
    process.stdout.write(`${email} signs in with the password alone.\n`);
    return EXIT.ok;
  },
};

export const keyCreate: Verb = {
  name: "key create",
  summary: "Creates an API key and prints only the key on standard output. It is shown only once.",
  options: {
    email: { value: "EMAIL", help: "whose key" },
    name: { value: "NAME", help: "what it is for" },
    scopes: { value: "read,train,infer,admin", help: "what it may do, separated by commas (default: everything)" },
    days: { value: "N", help: "days until it expires (default: never, or the setting key_max_days)" },
    addresses: { value: "IP,CIDR", help: "client addresses and networks that may use it (default: any)" },
    models: { value: "ID,NAME", help: "models and deployments that it may use (default: any)" },
    "requests-per-minute": { value: "N", help: "on all routes together (default: the limit of the installation)" },
    "tokens-per-minute": { value: "N", help: "of prompts and answers together (default: no limit)" },
    ...DATA,
  },
  async run(args) {
    const list = (name: string) =>
      args
        .text(name)
        ?.split(",")
        .map((each) => each.trim());
    const number = (name: string) => (args.text(name) ? Number(args.text(name)) : undefined);
    const values = {
      email: args.required("email"),
      name: args.required("name"),
      days: number("days"),
      scopes: list("scopes"),
      allowed_addresses: list("addresses"),
      allowed_models: list("models"),
      requests_per_minute: number("requests-per-minute"),
      tokens_per_minute: number("tokens-per-minute"),
    };
    const made = await command(args, "key.create", values);
    process.stdout.write(`${made.key}\n`);
    return EXIT.ok;
  },
};

export const keyRotate: Verb = {
  name: "key rotate",
  summary: "Gives an API key a new secret and prints only the secret on standard output. It is shown only once.",
  options: {
    id: { value: "KEY", help: "id of the key, as its page shows it" },
    "overlap-seconds": {
      value: "N",
      help: "how long the old secret still works, up to 604800 (default 0: it ends at once)",
    },
    ...DATA,
  },
  async run(args) {
    const values = { id: args.required("id"), overlap_seconds: Number(args.text("overlap-seconds") ?? "0") };
    const made = await command(args, "key.rotate", values);
    process.stdout.write(`${made.key}\n`);
    return EXIT.ok;
  },
};

export const auditVerify: Verb = {
  name: "audit verify",
  summary: "Verifies the integrity of the audit log: no entry missing or changed.",
  options: DATA,
  async run(args) {
    const { rows, broken_at: brokenAt, removed } = await command(args, "audit.verify", {});
    const older = removed ? ` ${removed} older entries were removed (audit_retention_days).` : "";
    process.stdout.write(brokenAt ? `Integrity check failed at ${brokenAt}.\n` : `Intact: ${rows} entries.${older}\n`);
    return brokenAt ? EXIT.failed : EXIT.ok;
  },
};
