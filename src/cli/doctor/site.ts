/**
 * What `doctor` looks at of an installation that others reach: who may read its files, its address and proxy, its
 * database, life without internet.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { assetPath } from "../../assets.ts";
import type { Config } from "../../config.ts";
import { schemaState } from "../../db/migrate.ts";
import { isOpen } from "../../lib/disk/private.ts";
import { splitListen } from "../../lib/listen.ts";
import { type Check, check, messageOf } from "./check.ts";

const isLoopback = (host: string) => /^(localhost|127(\.\d+){3}|::1|\[::1\])$/.test(host);

/**
 * The data directory, with the database, the secret that signs sessions and seals stored credentials, and backups.
 * Nothing is changed.
 */
export function privacy({ data_dir: dir }: Config): Check[] {
  // What lies in a closed directory is closed itself.
  if (!existsSync(dir) || !isOpen(dir))
    return [check("Privacy", "ok", "only the server's user reads the data directory")];
  const open = readdirSync(dir).filter(
    (name) => statSync(join(dir, name), { throwIfNoEntry: false }) && isOpen(join(dir, name)),
  );
  const found = `other users of this machine may read ${dir}${open.length > 0 ? ` and in it ${open.join(", ")}` : ""}`;
  const own = statSync(dir).uid === userInfo().uid;
  const advice = own
    ? `chmod 700 ${dir}. The next start of the server does it too, for what lies in it as well.`
    : `It belongs to another user: the server refuses it. chown it to the server's user, or name another with --data.`;
  return [check("Privacy", own ? "gap" : "missing", found, advice)];
}

/** Who reaches the server, under which name, and whether a proxy's word is believed. */
export function exposure({ listen, public_url, trusted_proxies }: Config): Check[] {
  const outside = !isLoopback(splitListen(listen).hostname);
  const name = "Reached by";
  if (!public_url)
    return [
      outside
        ? check(
            name,
            "gap",
            `${listen}, but under no name but this machine's own: other names are refused`,
            "Set FTL_PUBLIC_URL to the address people use, and put a proxy with TLS in front.",
          )
        : check(name, "info", "this machine alone", "For others put a proxy with TLS in front: docs/install.md."),
    ];
  const url = new URL(public_url);
  if (url.protocol !== "https:" && !isLoopback(url.hostname))
    return [
      check(
        name,
        "gap",
        `${public_url}: passwords and keys cross the network in the clear`,
        "Put a proxy with TLS in front and set FTL_PUBLIC_URL to its https address: docs/install.md.",
      ),
    ];
  if (trusted_proxies.length === 0 && !isLoopback(url.hostname))
    return [
      check(
        name,
        "gap",
        `${public_url}, but no proxy is trusted: everybody shares one sign-in limit and one address in the audit log`,
        "Set FTL_TRUSTED_PROXIES to the proxy's address, such as 127.0.0.1.",
      ),
    ];
  return [
    check(name, "ok", `${public_url}${trusted_proxies.length > 0 ? ` through ${trusted_proxies.join(", ")}` : ""}`),
  ];
}

/** How the database stands to this program; nothing is changed. */
export async function database(config: Config): Promise<Check[]> {
  const name = "Database";
  if (config.database_url) return [check(name, "info", `at ${new URL(config.database_url).host}`)];
  const path = join(config.data_dir, "lab.db");
  if (!existsSync(path)) return [check(name, "info", "not made yet: the first start makes it")];
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
    const advice = "Make a backup first: finetune-lab backup DIR. The next start brings it to this version.";
    return [check(name, "info", `of an older version (${found.missing} changes behind)`, advice)];
  } catch (error) {
    return [
      check(name, "missing", `cannot be read: ${messageOf(error)}`, "Restore a backup: finetune-lab restore DIR."),
    ];
  } finally {
    client.close();
  }
}

/** Where base models come from when nothing is asked of the internet. */
export function airGap({ hub_url, prepared_models, data_dir }: Config): Check[] {
  const name = "Model hub";
  if (hub_url) return [check(name, "info", hub_url)];
  if (!prepared_models) {
    const installed = existsSync(join(data_dir, "models")) && readdirSync(join(data_dir, "models")).length > 0;
    if (installed) return [check(name, "ok", "never asked; models are installed by import")];
    const advice =
      "Set FTL_PREPARED_MODELS to a directory of model directories, or import one by path on the page Models (from the directories of FTL_IMPORT_ROOTS).";
    return [check(name, "gap", "never asked, and no model is here", advice)];
  }
  if (!existsSync(prepared_models))
    return [
      check(name, "gap", `never asked; ${prepared_models} is not there`, "Make it, or mend FTL_PREPARED_MODELS."),
    ];
  const models = readdirSync(prepared_models).filter((one) => existsSync(join(prepared_models, one, "config.json")));
  if (models.length > 0) return [check(name, "ok", `never asked; ${prepared_models} has ${models.join(", ")}`)];
  const advice = "Each model is a directory named by its id, with config.json, the tokenizer and safetensors.";
  return [check(name, "gap", `never asked; ${prepared_models} has no model`, advice)];
}
