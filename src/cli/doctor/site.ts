/**
 * Checks of a shared installation by `doctor`: file permissions, address and proxy, database, operation without
 * internet.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { assetPath } from "../../assets.ts";
import { CONFIG_NAMES, type Config } from "../../config.ts";
import { schemaState } from "../../db/migrate.ts";
import { readDatabaseOwner } from "../../db/owner.ts";
import { remoteClient } from "../../db/remote-client.ts";
import { holdsSecret, plainSecrets } from "../../insights/installation/plain-secrets.ts";
import { isOpen } from "../../lib/disk/private.ts";
import { splitListen } from "../../lib/listen.ts";
import { type Check, check, messageOf } from "./check.ts";

const isLoopback = (host: string) => /^(localhost|127(\.\d+){3}|::1|\[::1\])$/.test(host);

/** Permissions of the data directory, with the database, the secret and backups. Changes nothing. */
export function privacy({ data_dir: dir }: Config): Check[] {
  // The content of a private directory is private.
  if (!existsSync(dir) || !isOpen(dir))
    return [check("Privacy", "ok", "only the server's user can read the data directory")];
  const open = readdirSync(dir).filter(
    (name) => statSync(join(dir, name), { throwIfNoEntry: false }) && isOpen(join(dir, name)),
  );
  const found = `other users of this machine can read ${dir}${open.length > 0 ? ` and in it ${open.join(", ")}` : ""}`;
  const own = statSync(dir).uid === userInfo().uid;
  const advice = own
    ? `chmod 700 ${dir}. The next start of the server does the same, also for its content.`
    : `It belongs to another user: the server refuses it. Run chown for the server's user, or choose another with --data.`;
  return [check("Privacy", own ? "gap" : "missing", found, advice)];
}

/** Secrets in plain text: in files of the data directory, and in the environment. */
export function plainText(config: Config): Check[] {
  const files = plainSecrets(config.data_dir).map(({ name, path }) => `${name} in ${path}`);
  const environment = CONFIG_NAMES.filter(
    (name) => config.sources[name] === "environment" && holdsSecret(name, config[name]),
  ).map((name) => `FTL_${name.toUpperCase()}`);
  const found = [...files, ...environment];
  if (found.length === 0) return [check("Secrets", "ok", "no setting has a secret in plain text")];
  return [
    check(
      "Secrets",
      "info",
      `in plain text: ${found.join(", ")}`,
      "Administration, Settings stores tokens of the hub, of /metrics and of providers and the password of the mail server encrypted, and takes them out of the file. Or name a file: FTL_HUB_TOKEN_FILE.",
    ),
  ];
}

/** Who can reach the server, under which names, and whether a proxy is trusted. */
export function exposure({ listen, public_url, trusted_proxies }: Config): Check[] {
  const outside = !isLoopback(splitListen(listen).hostname);
  const name = "Reached by";
  if (!public_url)
    return [
      outside
        ? check(
            name,
            "gap",
            `${listen}, but only under this machine's own names: others are refused`,
            "Set FTL_PUBLIC_URL to the address that browsers use, and add a proxy with TLS.",
          )
        : check(name, "info", "only from this machine", "For other machines add a proxy with TLS: docs/install.md."),
    ];
  const url = new URL(public_url);
  if (url.protocol !== "https:" && !isLoopback(url.hostname))
    return [
      check(
        name,
        "gap",
        `${public_url}: passwords and keys are sent unencrypted`,
        "Add a proxy with TLS and set FTL_PUBLIC_URL to its https address: docs/install.md.",
      ),
    ];
  if (trusted_proxies.length === 0 && !isLoopback(url.hostname))
    return [
      check(
        name,
        "gap",
        `${public_url}, but no proxy is trusted: all users share one sign-in limit and one address in the audit log`,
        "Set FTL_TRUSTED_PROXIES to the proxy's address, such as 127.0.0.1.",
      ),
    ];
  return [
    check(name, "ok", `${public_url}${trusted_proxies.length > 0 ? ` through ${trusted_proxies.join(", ")}` : ""}`),
  ];
}

/** The same of a database on a server. */
async function remoteDatabase(name: string, url: string, token: string | null): Promise<Check> {
  const { host } = new URL(url);
  const client = remoteClient(url, token ?? undefined, { patienceMs: 0 });
  try {
    const found = await schemaState(client, assetPath("migrations"));
    const owner = await readDatabaseOwner(client);
    const used = owner ? `, in use by process ${owner.pid} on ${owner.machine}` : "";
    if (found.state === "newer")
      return check(name, "missing", `at ${host}, written by a newer version`, "Start the newer version.");
    if (found.state === "current") return check(name, "ok", `at ${host}, has this version's schema${used}`);
    const advice = "Back up first: finetune-lab backup DIR. The next start migrates it.";
    return check(name, "info", `at ${host}, ${found.missing} migrations behind${used}`, advice);
  } catch (error) {
    return check(name, "missing", `at ${host}: ${messageOf(error)}`, "Check database_url, its token and the server.");
  } finally {
    client.close();
  }
}

/** Compares the database with this version. Changes nothing. */
export async function database(config: Config): Promise<Check[]> {
  const name = "Database";
  if (config.database_url) return [await remoteDatabase(name, config.database_url, config.database_token)];
  const path = join(config.data_dir, "lab.db");
  if (!existsSync(path)) return [check(name, "info", "not created yet: the first start creates it")];
  const client = createClient({ url: `file:${path}`, timeout: 5000 });
  try {
    const found = await schemaState(client, assetPath("migrations"));
    if (found.state === "newer")
      return [
        check(
          name,
          "missing",
          "written by a newer version: this program refuses it",
          "Start the newer version, or restore the backup made before the upgrade.",
        ),
      ];
    if (found.state !== "older") return [check(name, "ok", "has this version's schema")];
    const advice = "Back up first: finetune-lab backup DIR. The next start migrates it.";
    return [check(name, "info", `of an older version (${found.missing} migrations behind)`, advice)];
  } catch (error) {
    return [
      check(name, "missing", `cannot be read: ${messageOf(error)}`, "Restore a backup: finetune-lab restore DIR."),
    ];
  } finally {
    client.close();
  }
}

/** The source of base models without internet access. */
export function airGap({ hub_url, prepared_models, data_dir }: Config): Check[] {
  const name = "Model hub";
  if (hub_url) return [check(name, "info", hub_url)];
  if (!prepared_models) {
    const installed = existsSync(join(data_dir, "models")) && readdirSync(join(data_dir, "models")).length > 0;
    if (installed) return [check(name, "ok", "not used; models are installed by import")];
    const advice =
      "Set FTL_PREPARED_MODELS to a directory of model directories, or import one by path on the page Models (from the directories of FTL_IMPORT_ROOTS).";
    return [check(name, "gap", "not used, and no model is installed", advice)];
  }
  if (!existsSync(prepared_models))
    return [check(name, "gap", `not used; ${prepared_models} is missing`, "Create it, or fix FTL_PREPARED_MODELS.")];
  const models = readdirSync(prepared_models).filter((one) => existsSync(join(prepared_models, one, "config.json")));
  if (models.length > 0) return [check(name, "ok", `never asked; ${prepared_models} has ${models.join(", ")}`)];
  const advice = "Each model is a directory named by its id, with config.json, the tokenizer and safetensors.";
  return [check(name, "gap", `not used; ${prepared_models} has no model`, advice)];
}
