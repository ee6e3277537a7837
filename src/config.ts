/** The only reader of environment, flags and configuration file: one schema, unknown keys refused, a frozen result. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import * as v from "valibot";
import { AppError } from "./errors.ts";
import { readSecretFile } from "./lib/disk/secret-file.ts";
import { objectStoreProblem, objectStoreSettings } from "./lib/objects/settings.ts";
import { BURST_TEXT_MESSAGE, burstPolicyOf } from "./lib/text/burst-policy.ts";
import { ContactAddress } from "./lib/text/contact.ts";
import { addressIn } from "./lib/text/mail-address.ts";
import { mlflowAuthorization } from "./lib/text/mlflow-authorization.ts";
import {
  absolutePath,
  absolutePaths,
  flag,
  hosts,
  integer,
  listOf,
  loopbackUrl,
  moderationRules,
  percent,
  providerSettings,
  stripeKey,
  stripeSigningSecret,
} from "./lib/text/setting-fields.ts";
import { checkTrainerSettings, trainerSettings } from "./lib/text/trainer-settings.ts";

/** Every setting, with its default. Environment: `FTL_` and the name in capitals with underscores (`FTL_DATA_DIR`). */
const ConfigSchema = v.strictObject({
  /** Directory of all data of the server. */
  data_dir: v.optional(v.string(), join(homedir(), ".finetune-lab")),
  /** HOST:PORT; port 0 lets the system choose. The default is reachable only from this machine. */
  listen: v.optional(
    v.pipe(v.string(), v.regex(/^(\[[0-9a-f:]+\]|[^:]+):\d+$/i, "must be HOST:PORT")),
    "127.0.0.1:3900",
  ),
  /** The address that browsers use, behind a proxy; also the only additional Host that is accepted. */
  public_url: v.optional(v.nullable(v.pipe(v.string(), v.url())), null),
  /** Addresses or networks (10.0.0.0/8) of proxies whose X-Forwarded-For is trusted, separated by commas. */
  trusted_proxies: v.optional(
    listOf(/^[0-9a-fA-F.:]+(\/\d{1,3})?$/, "must be addresses or networks such as 127.0.0.1 or 10.0.0.0/8"),
    [],
  ),
  /** Origins (`https://chat.example`) whose pages may call /v1 with an API key, by commas; none = no CORS. */
  allowed_origins: v.optional(
    listOf(
      /^https?:\/\/[a-z0-9._-]+(:\d{1,5})?$|^https?:\/\/\[[0-9a-f:]+\](:\d{1,5})?$/,
      "must be origins such as https://chat.example, in lower case, without a path",
    ),
    [],
  ),
  ...trainerSettings,
  log_level: v.optional(v.picklist(["debug", "info", "warn", "error"]), "info"),
  /** Remote libSQL server instead of the file in the data directory. */
  database_url: v.optional(v.nullable(v.string()), null),
  database_token: v.optional(v.nullable(v.string()), null),
  /** File with the database_token, such as a credential of systemd or a secret of Docker; read at the start. */
  database_token_file: v.optional(v.nullable(absolutePath), null),
  ...objectStoreSettings,
  /** Python 3.10+ used to create the trainer environment; searched on PATH when null. */
  python: v.optional(v.nullable(v.string()), null),
  /** A prepared trainer environment (a venv) with the packages of trainer/requirements.txt; null = created here. */
  trainer_env: v.optional(v.nullable(v.string()), null),
  /** Directory of trainer environments (1.6 GB each); `environments` in the data directory when null. */
  environments_dir: v.optional(v.nullable(v.string()), null),
  /** Which PyTorch to install: auto chooses CUDA only when nvidia-smi works. */
  torch: v.optional(v.picklist(["auto", "cpu", "cuda"]), "auto"),
  /** Active bundled providers, in order of preference: `process` for processes on this machine, `docker`. */
  providers: v.optional(listOf(/^[a-z][a-z0-9-]{0,31}$/, "must name providers, such as process or docker"), [
    "process",
  ]),
  /**
   * Settings of bundled providers by provider and field, as JSON: `{"docker": {"hosts":
   * "unix:///var/run/docker.sock"}}`.
   */
  provider_settings: v.optional(providerSettings, {}),
  /** How often the machine of one job may be taken back by its provider; these do not count as failed attempts. */
  max_preemptions: v.optional(integer(0, 10_000), 20),
  /** When jobs leave own machines for rented ones, unless their team or they say otherwise; see docs/providers.md. */
  burst_policy: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => burstPolicyOf(text) !== null, BURST_TEXT_MESSAGE),
    ),
    "burst",
  ),
  /** Concurrent training and evaluation jobs on this machine. */
  train_slots: v.optional(integer(0, 64), 1),
  /** Concurrent endpoints on this machine. */
  serve_slots: v.optional(integer(0, 64), 2),
  /** Largest upload in bytes (default 8 GiB). */
  max_upload_bytes: v.optional(integer(1, Number.MAX_SAFE_INTEGER), 8 * 1024 ** 3),
  /** Largest text that a packed file or a table may become when it is unpacked, in bytes (default 64 GiB). */
  max_unpacked_bytes: v.optional(integer(1, Number.MAX_SAFE_INTEGER), 64 * 1024 ** 3),
  /** Largest single line of a dataset in bytes (default 16 MiB). */
  max_line_bytes: v.optional(integer(1024, 1024 ** 3), 16 * 1024 ** 2),
  /** Free disk space in bytes that user data never uses, so that the database can write (default 1 GiB); 0 = none. */
  disk_reserve_bytes: v.optional(integer(0, Number.MAX_SAFE_INTEGER), 1024 ** 3),
  /**
   * Bytes one organization may store: files, uploads in progress, rows of datasets, checkpoints and models (default 1
   * TiB); 0 = no limit.
   */
  quota_bytes: v.optional(integer(0, Number.MAX_SAFE_INTEGER), 1024 ** 4),
  /** Files of one organization; 0 = no limit. */
  quota_files: v.optional(integer(0, 10_000_000), 50_000),
  /** Datasets of one organization; 0 = no limit. */
  quota_datasets: v.optional(integer(0, 10_000_000), 10_000),
  /** Concurrent uploads in parts of one organization; 0 = no limit. */
  quota_pending_uploads: v.optional(integer(0, 10_000_000), 100),
  /** Jobs of one organization that wait to start, waiting trials of sweeps included; 0 = no limit. */
  quota_waiting_jobs: v.optional(integer(0, 10_000_000), 1000),
  /** Requests per minute for one API key; 0 = no limit. */
  requests_per_minute: v.optional(integer(0, 10_000_000), 0),
  /** Seconds without a request until an endpoint sleeps, and until any on a rented machine is stopped; 0 = never. */
  idle_after_s: v.optional(integer(0, 31_536_000), 900),
  paid_idle_after_s: v.optional(integer(0, 31_536_000), 86_400),
  /** Administrators are notified when the balance at a provider is below this amount in US dollars; 0 = never. */
  low_balance_usd: v.optional(integer(0, 1_000_000), 10),
  /** Answers that may wait in the queue of an endpoint on the built-in engine; further requests get 429. */
  endpoint_queue: v.optional(integer(1, 100_000), 512),
  /** Hugging Face hub used by "import from the hub"; `none` = no network access (stored as the empty string). */
  hub_url: v.optional(
    v.pipe(
      v.string(),
      v.transform((url) => (url === "none" ? "" : url)),
    ),
    "https://huggingface.co",
  ),
  /** Access token for gated models of the hub; sent only to hub_url. */
  hub_token: v.optional(v.nullable(v.string()), null),
  /** File with the hub_token. */
  hub_token_file: v.optional(v.nullable(absolutePath), null),
  /**
   * A directory of prepared model directories, named by model id: installs copy from it before they download
   * (air-gapped sites).
   */
  prepared_models: v.optional(v.nullable(v.string()), null),
  /**
   * Directories whose models administrators may import by path; separated by commas. default `import` in the data
   * directory.
   */
  import_roots: v.optional(absolutePaths, []),
  /** Directories below which members may import datasets by path, separated by commas; none = no import by path. */
  dataset_roots: v.optional(listOf(/^\//, "must be absolute paths, separated by commas"), []),
  /**
   * Hosts (`minio.internal` or `minio.internal:9000`) that datasets may be imported from although their address is
   * private or without TLS, separated by commas.
   */
  import_hosts: v.optional(hosts, []),
  /**
   * Hosts (`hooks.internal` or `hooks.internal:8080`) that webhooks may be sent to although their address is private or
   * without TLS, separated by commas.
   */
  webhook_hosts: v.optional(hosts, []),
  /**
   * Hosts (`login.internal` or `login.internal:8443`) of identity providers whose address is private or without TLS,
   * separated by commas.
   */
  sso_hosts: v.optional(hosts, []),
  /**
   * Mail server: `smtp://user:password@mail.example.com:587` (STARTTLS), `smtps://…` (TLS), or `?tls=none` at the end
   * for a relay without encryption. None = what an administrator enters in the page.
   */
  mail_url: v.optional(
    v.nullable(v.pipe(v.string(), v.regex(/^smtps?:\/\//, "must begin with smtp:// or smtps://"), v.url())),
    null,
  ),
  /** Password of the user in mail_url, where the address has none. */
  mail_password: v.optional(v.nullable(v.string()), null),
  /** File with the mail_password. */
  mail_password_file: v.optional(v.nullable(absolutePath), null),
  /** Sender of mails of mail_url: an address, or `Name <address>`. */
  mail_from: v.optional(
    v.nullable(
      v.pipe(
        v.string(),
        v.check((text) => addressIn(text) !== null, "must be an address, or Name <address>"),
      ),
    ),
    null,
  ),
  /** A PEM file with the certificate authority of the mail server, when it is not a public one. */
  mail_ca: v.optional(v.nullable(v.string()), null),
  /** Days for which notices and their deliveries are kept. */
  notice_retention_days: v.optional(integer(1, 3650), 30),
  /** Days for which audit entries are kept; 0 = all of them. */
  audit_retention_days: v.optional(integer(0, 36_500), 0),
  /** Makes no connections to other servers for users: datasets are uploaded or imported by path. */
  offline: v.optional(flag, false),
  /** Days for which stored responses and chat completions are kept (`store`); 0 = nothing is stored. */
  answer_retention_days: v.optional(integer(0, 3650), 30),
  /** Looks for personal data and secrets in every dataset version, in the background, after its validation. */
  pii_scan: v.optional(v.picklist(["on", "off"]), "on"),
  /**
   * What findings of personal data mean for jobs: `report` only shows them, `require_decision` refuses jobs until the
   * rows are left out, masked, or accepted. A team can require it on its own.
   */
  pii_policy: v.optional(v.picklist(["report", "require_decision"]), "report"),
  /** Days for which the report of a search for a person is kept: it is personal data itself. */
  subject_request_days: v.optional(integer(1, 365), 30),
  /** A Python that has presidio-analyzer, which then looks for personal data too (names, places); none = not used. */
  presidio_python: v.optional(v.nullable(v.pipe(v.string(), v.startsWith("/", "must be an absolute path"))), null),
  /** Language of presidio's recognizers and of its spaCy model. */
  presidio_language: v.optional(v.pipe(v.string(), v.regex(/^[a-z]{2}$/, "must be a code such as en")), "en"),
  /** Words and phrases of the categories of /v1/moderations, as JSON: `{"violence": ["kill you"]}`. */
  moderation_rules: v.optional(moderationRules, {}),
  /** A guard model of the Llama Guard family that /v1/moderations asks, besides the words. */
  moderation_model: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(400))),
  /** Id of the model whose embeddings the `cosine` grader compares; none = the grader is refused. */
  embedding_model: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(400))), null),
  /** Bearer token that opens /metrics to other machines; none = only to programs on this machine, without a proxy. */
  metrics_token: v.optional(
    v.nullable(
      v.pipe(v.string(), v.minLength(16, "must have at least 16 characters"), v.regex(/^\S+$/, "must have no spaces")),
    ),
    null,
  ),
  /** File with the metrics_token. */
  metrics_token_file: v.optional(v.nullable(absolutePath), null),
  /** Secret or restricted key of a Stripe account; none = no payments. */
  stripe_secret_key: v.optional(v.nullable(stripeKey), null),
  stripe_secret_key_file: v.optional(v.nullable(absolutePath), null),
  /** Signing secret of the webhook endpoint at Stripe. */
  stripe_webhook_secret: v.optional(v.nullable(stripeSigningSecret), null),
  stripe_webhook_secret_file: v.optional(v.nullable(absolutePath), null),
  /** For tests: a server on this machine that is asked instead of Stripe. It gets no live key. */
  stripe_test_url: v.optional(v.nullable(loopbackUrl), null),
  /** Fewest characters of a new password. OWASP ASVS asks for 8 and advises 15. */
  password_min_length: v.optional(integer(8, 64), 15),
  /** Longest life of an API key in days; keys without an expiry are then refused. 0 = no limit. */
  key_max_days: v.optional(integer(0, 3650), 0),
  /** Everybody needs two-factor authentication; a team can ask for it on its own. */
  require_two_factor: v.optional(flag, false),
  /** Days to set it up, from when it is required or the account is created. API keys keep working afterwards. */
  two_factor_grace_days: v.optional(integer(0, 365), 7),
  /** Days from the decision to delete an account or a team to its erasure; it can be canceled until then. */
  deletion_grace_days: v.optional(integer(0, 365), 14),
  /** Hours without a request until a browser session ends; 0 = never before session_days. */
  session_idle_hours: v.optional(integer(0, 8760), 72),
  /** Days until a browser session ends, however much it is used. */
  session_days: v.optional(integer(1, 365), 14),
  /** Allows sign-up without an invitation. */
  open_sign_up: v.optional(flag, false),
  /**
   * What counts as accepting a new version of the terms once it is in force: `explicit` asks everybody, `continued_use`
   * records the next request.
   */
  terms_acceptance: v.optional(v.picklist(["explicit", "continued_use"]), "explicit"),
  /** Where users of this installation get help: a mail address, or an address of a page. Pages and mails show it. */
  contact_address: v.optional(v.nullable(ContactAddress), null),
  /** Where abuse of this installation is reported: a mail address, or an address of a page. */
  abuse_address: v.optional(v.nullable(ContactAddress), null),
  /** Who sees the status page: nobody, signed-in users, or everybody. */
  status_page: v.optional(v.picklist(["off", "members", "public"]), "members"),
  /** Percent of a month in which a component should work. */
  status_target: v.optional(percent, 99.9),
  /** For tests: places where the server kills itself (see lib/fail-points.ts). Only on 127.0.0.1. */
  fail_points: v.optional(v.nullable(v.string()), null),
});

/**
 * Where the value of a setting came from. `secret_file`: the file that `NAME_file` names. `page`: a secret that is
 * stored encrypted; see src/db/secret-settings.ts.
 */
export type ConfigSource = "default" | "file" | "environment" | "flag" | "secret_file" | "page";
type Settings = v.InferOutput<typeof ConfigSchema>;

export type Config = Readonly<Settings> & {
  /** For each setting that is not the default: where its value came from. */
  readonly sources: Readonly<Partial<Record<keyof Settings, ConfigSource>>>;
};
export type ConfigInput = v.InferInput<typeof ConfigSchema>;
export const CONFIG_NAMES = Object.keys(ConfigSchema.entries) as (keyof Settings)[];

function fromEnvironment(env: Record<string, string | undefined>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of CONFIG_NAMES) {
    const value = env[`FTL_${name.toUpperCase()}`];
    if (value !== undefined && value !== "") found[name] = value;
  }
  return found;
}

/** Secrets that may be in a file of their own. */
const SECRET_FILES = [
  "backup_key",
  "database_token",
  "hub_token",
  "mail_password",
  "metrics_token",
  "s3_secret_key",
  "stripe_secret_key",
  "stripe_webhook_secret",
] as const;

const invalid = (name: string, why: string) =>
  new AppError("invalid", "config_invalid", `Setting "${name}": ${why}`, { param: name });

/** The secrets that files have. @throws AppError `config_invalid` */
function fromSecretFiles(given: Record<string, unknown>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of SECRET_FILES) {
    const path = given[`${name}_file`];
    // What is not a path is refused with the other settings.
    if (typeof path !== "string" || !path.startsWith("/")) continue;
    if (given[name] != null) throw invalid(`${name}_file`, `${name} is set too. Set one of them.`);
    found[name] = readSecretFile(path, (why) => invalid(`${name}_file`, why));
  }
  return found;
}

/** @throws AppError `config_invalid` when the password of the mail server is given twice, or for nobody */
function checkMail({ mail_url: address, mail_password: password }: Settings): void {
  if (password === null) return;
  const url = URL.parse(address ?? "");
  if (url?.password) throw invalid("mail_password", "mail_url has a password too. Take it out of the address.");
  if (!url?.username)
    throw invalid("mail_password", "needs mail_url with a user, such as smtp://user@mail.example.com.");
}

function fromFile(path: string): Record<string, unknown> {
  if (!existsSync(path)) return {};
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw new AppError("invalid", "config_not_json", `${path} is not valid JSON. Fix it or remove it.`, { cause });
  }
}

/** What the client's verbs read from the environment. */
interface ClientEnvironment {
  /** Address and API key of a server. */
  url: string | null;
  key: string | null;
  /** The user's configuration directory. */
  configDir: string;
  /** False when NO_COLOR is set. */
  color: boolean;
  /** MLflow's own variables: the tracking server, and the `Authorization` header for it. */
  mlflowUrl: string | null;
  mlflowAuthorization: string | null;
}

/** Settings of a client of a server: FTL_URL, FTL_API_KEY, XDG_CONFIG_HOME, NO_COLOR and MLflow's. */
export function clientEnvironment(env: Record<string, string | undefined> = process.env): ClientEnvironment {
  return {
    url: env.FTL_URL || null,
    key: env.FTL_API_KEY || null,
    configDir: env.XDG_CONFIG_HOME || join(env.HOME || homedir(), ".config"),
    color: !env.NO_COLOR,
    mlflowUrl: env.MLFLOW_TRACKING_URI || null,
    mlflowAuthorization: mlflowAuthorization(env),
  };
}

/**
 * Settings in order of precedence: flags, environment, `config.json` in the data directory, defaults.
 * @throws AppError `config_invalid` naming the setting
 */
export function loadConfig(flags: ConfigInput = {}, env: Record<string, string | undefined> = process.env): Config {
  const environment = fromEnvironment(env);
  const given = { ...environment, ...flags };
  const dataDir = resolve(given.data_dir ?? join(homedir(), ".finetune-lab"));
  const file = fromFile(join(dataDir, "config.json"));
  const asked = { ...file, ...given };
  const secrets = fromSecretFiles(asked);
  const parsed = v.safeParse(ConfigSchema, { ...asked, ...secrets, data_dir: dataDir });
  if (!parsed.success) {
    const issue = parsed.issues[0];
    throw invalid(v.getDotPath(issue) ?? "configuration", issue.message);
  }
  checkMail(parsed.output);
  const problem = objectStoreProblem(parsed.output);
  if (problem) throw invalid(...problem);
  checkTrainerSettings(parsed.output, invalid);
  const { listen } = parsed.output;
  for (const name of ["fail_points", "stripe_test_url"] as const)
    if (parsed.output[name] && !listen.startsWith("127.0.0.1:"))
      throw invalid(
        name,
        `is for tests and allowed only when the server listens on 127.0.0.1 (now ${listen}). Unset it.`,
      );
  if (parsed.output.pii_policy === "require_decision" && parsed.output.pii_scan === "off")
    throw invalid(
      "pii_policy",
      "require_decision needs pii_scan, which is off: no job could ever start. Turn pii_scan on.",
    );
  const sources: Config["sources"] = Object.fromEntries(
    CONFIG_NAMES.flatMap((name): [string, ConfigSource][] => {
      if (secrets[name] !== undefined) return [[name, "secret_file"]];
      if (flags[name] !== undefined) return [[name, "flag"]];
      if (environment[name] !== undefined) return [[name, "environment"]];
      return file[name] === undefined ? [] : [[name, "file"]];
    }),
  );
  return Object.freeze({ ...parsed.output, sources });
}
