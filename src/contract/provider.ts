/**
 * Provider contract v2: what a GPU provider plugin implements. The host provides all tools; a provider imports only
 * these types. Plugins of version 1 run through an adapter of the host.
 */
import type { Need } from "./spec.ts";

export const PROVIDER_CONTRACT = 2;
/** Earlier versions that the host still loads. */
export const ADAPTED_CONTRACTS: readonly number[] = [1];

/** The only error kinds a provider may throw; they steer the scheduler. */
export type ProviderErrorKind = "auth" | "quota" | "no_capacity" | "invalid" | "rate_limited" | "transient" | "fatal";

/** Shape of an error a provider throws; made with `host.error(kind, message, {retryAfterS, vendorCode, cause})`. */
export interface ProviderFailure extends Error {
  readonly providerErrorKind: ProviderErrorKind;
  /** Seconds to wait before asking again, when the provider said so. */
  readonly retryAfterS: number | null;
  /**
   * The host's own code for the problem (`image_missing`, `disk_full`, …), when one fits; it selects the advice and the
   * retry rule.
   */
  readonly reason: string | null;
  /** The vendor's own code, such as `InsufficientInstanceCapacity`, for people who look it up; null without one. */
  readonly vendorCode: string | null;
}

/** Tools from the host; providers use nothing else to reach the outside. */
export interface ProviderHost {
  /** Installation id; every resource that a provider creates is labeled with it. */
  installation: string;
  /** The provider's own directory (local providers keep their state here). */
  dataDir: string;
  /** The server's data directory. Work on this machine may get access to directories below it, and to no others. */
  root: string;
  fetch: typeof fetch;
  log: (level: "debug" | "info" | "warn" | "error", message: string, fields?: Record<string, unknown>) => void;
  clock: { now(): number; sleep(ms: number, signal?: AbortSignal): Promise<void> };
  /** Aborted when the server stops. */
  signal: AbortSignal;
  /**
   * For providers that run processes on this machine: the Python interpreter of the trainer environment and the folder
   * of its sources. Throws `transient` (with `retryAfterS`) while the environment is being installed, `fatal` when it
   * cannot be.
   */
  trainer: () => Promise<{ python: string; dir: string }>;
  /** The same without installing it: null when it is missing. */
  readyTrainer: () => Promise<{ python: string; dir: string } | null>;
  /** Runs work with the same name sequentially: launches of one key, or the choice of GPUs of one engine. */
  inTurn: <T>(name: string, work: () => Promise<T>) => Promise<T>;
  error: (
    kind: ProviderErrorKind,
    message: string,
    options?: { retryAfterS?: number; cause?: unknown; reason?: string; vendorCode?: string },
  ) => ProviderFailure;
}

/**
 * How a machine is rented. `own` costs nothing per hour, `spot` may be taken back by its vendor at any time.
 */
export type Market = "own" | "on_demand" | "spot";

/** A resource that could run the work now. */
export interface Offer {
  id: string;
  market: Market;
  /** Where it is, for people: a host name, or region and zone. */
  location: string;
  /** The vendor's region and zone; null for own machines and where the vendor has none. */
  region: string | null;
  zone: string | null;
  /** The vendor's name of the machine type, such as `g5.xlarge`; null for own machines. */
  machineType: string | null;
  gpus: number;
  gpuName: string | null;
  gpuMemoryMb: number;
  cpus: number;
  memoryMb: number;
  /** Disk that the work may fill; null when not known. */
  diskMb: number | null;
  /** For the whole machine, 0 for own machines. */
  pricePerHour: number;
  /** ISO 4217 code of the price. The host refuses offers in a currency other than USD. */
  currency: string;
  /** Milliseconds since 1970 until which this price and this machine are promised; null = no promise. */
  quoteExpiresAt: number | null;
  /** The longest the vendor lets such a machine run, in seconds; null = no limit. */
  maxLifetimeS: number | null;
  /** Seconds of warning before the vendor takes the machine back; 0 = none, null = it is never taken back. */
  preemptionNoticeS: number | null;
  /** Seconds until the trainer could start, as far as known. */
  startsInS: number;
  /** Free for use right now. */
  available: boolean;
  /**
   * False for work on another machine, even with the capability `local`: it cannot read local paths and calls home over
   * the network.
   */
  local?: boolean;
}

/**
 * What to run. `argv` replaces the trainer's command in conformance cases; null = the trainer. Never a shell string.
 */
export interface LaunchSpec {
  kind: "train" | "evaluate" | "serve" | "export";
  need: Need;
  /** Image reference pinned by digest; ignored by providers that run processes. */
  image: string | null;
  argv: string[] | null;
  env: Record<string, string>;
  /**
   * Directories of this machine that the work reads, by absolute path. Providers that isolate their work mount them
   * read-only under the same paths.
   */
  inputs?: string[];
  /** GPUs for the exclusive use of this work, by UUID; the provider chooses free ones when absent. */
  gpus?: string[];
  /** Machines that the work needs together; absent = 1. No bundled provider accepts more yet. */
  nodes?: number;
}

export interface LaunchContext {
  /** Idempotency key: the same key never starts a second one. `[a-z0-9-]{1,64}` */
  key: string;
  labels: Record<string, string>;
  /**
   * Milliseconds since 1970 after which the provider may kill the work. Rented machines must end themselves then, even
   * when neither the server nor the work asks for it; the provider sets the vendor's own deadline too, if there is one.
   */
  deadline: number;
  /**
   * The highest price per hour in USD that this launch may cost; null = no limit. A vendor that asks for more now is a
   * failure `no_capacity` with the reason `price_raised`.
   */
  maxPricePerHour: number | null;
  callHome: CallHome;
}

/** Where the trainer calls home. The provider passes it on as FTL_HOME_URL, FTL_ATTEMPT_TOKEN, FTL_HOME_FINGERPRINT. */
export interface CallHome {
  /** A Unix socket (`unix:…`), an address (`https://…`) or a mailbox (`mailbox:…`, about 1.5 KB): one line of ASCII. */
  url: string;
  /**
   * On this machine the token of the attempt. On a rented one a bootstrap token: it is valid once, for minutes, and the
   * trainer exchanges it for the token of the attempt, so that nothing secret stays in the vendor's user data.
   */
  token: string;
  /** SHA-256 of the certificate that the trainer accepts, in hexadecimal; null = public certificate authorities. */
  fingerprint: string | null;
}

/**
 * Where work of kind `serve` may accept requests. The server connects to no other address, whatever the work announces.
 * On this machine: Unix sockets directly in `socketDir` (an absolute path). Elsewhere: HTTP at one of `hosts`, each
 * `name` or `name:port`.
 */
export interface ServingPlace {
  socketDir?: string;
  hosts?: string[];
}

/** Opaque to the host apart from `key` and `serving`; must survive JSON. */
export interface Handle {
  provider: string;
  key: string;
  /** For work that serves: its allowed addresses, when known at the launch. */
  serving?: ServingPlace;
  [field: string]: unknown;
}

/** What a vendor charges for one machine. Without it the host counts the price of the offer, from launch to end. */
export interface MachineCost {
  /** The vendor's id of the machine, for people who look it up in its console. */
  machine: string;
  /** What the vendor charges now in USD; absent = the price of its offer. */
  pricePerHour?: number;
  /** Since when the vendor charges it, by the clock of the server; absent = not known. */
  chargedFrom?: number;
  /** False for a machine that is still there and costs nothing any more. */
  charged?: boolean;
  /** Since when it costs nothing any more; absent or null = not known. */
  endedAt?: number | null;
}

export type WorkState = "starting" | "running" | "exited" | "absent";
export interface WorkStatus extends Partial<Omit<MachineCost, "endedAt">> {
  state: WorkState;
  /** Exit code when exited and known. 128+n for signal n. */
  exitCode: number | null;
  /** The provider's reason why it ended, for people: "killed: out of memory". */
  reason: string | null;
  startedAt: number | null;
  endedAt: number | null;
  /** The same as in the handle, for addresses that are known only later. The handle takes precedence. */
  serving?: ServingPlace;
  /** When the vendor takes the machine back, in milliseconds since 1970, once it has said so. */
  preemptAt?: number;
  /** The vendor took the machine back, or it broke: the work is not at fault, and other machines may finish it. */
  preempted?: boolean;
}

export type TerminateResult = { gone: true } | { gone: false; againAfterS: number };

/** What may remain at a vendor and cost money. */
export type ResourceKind = "machine" | "volume" | "address" | "spot_request" | "key" | "network";

/** Something that a vendor holds for this installation. `terminate` of its handle removes it. */
export interface OwnedWork {
  /** Absent = a machine or its counterpart, such as a container. */
  resource?: ResourceKind;
  /** It serves every launch of the installation (a key, a security group): the sweep leaves it alone. */
  shared?: boolean;
  handle: Handle;
  labels: Record<string, string>;
  state: WorkState;
  /** GPUs of the work, by UUID, when the provider labels its work with them. */
  gpus?: readonly string[];
  /** Every machine of this key that is listed, also a second one that is being removed, with what it costs. */
  machines?: readonly MachineCost[];
}

/** Flags must agree with the methods present. */
export interface Capabilities {
  logs: boolean;
  gpus: boolean;
  /** Work survives a restart of the server. */
  survivesServer: boolean;
  /** Work runs on this machine and can read local paths. */
  local: boolean;
  /** Machines cost money by the hour. */
  priced: boolean;
  /** Offers may be of the market `spot`. */
  spot: boolean;
  /** The vendor itself ends a machine at the deadline, without help from the server or the machine. */
  vendorDeadline: boolean;
  /** It accepts `nodes` above 1. */
  multiNode: boolean;
}

/** One thing that was checked at a vendor. */
export interface AccountCheck {
  /** What was tried, such as `ec2:RunInstances` or `Balance`. */
  name: string;
  /** `unknown`: the vendor does not let this key ask. */
  outcome: "passed" | "failed" | "unknown";
  /** What was found, and what to do when it failed. */
  message: string;
}

/** The state of the account at the vendor. */
export interface AccountReport {
  checks: AccountCheck[];
  /** Money left in USD; null when the vendor does not say. */
  balanceUsd: number | null;
  /** Limits of the vendor by name, such as GPUs or vCPUs per region; null when the vendor does not say. */
  quotas: { name: string; region: string | null; limit: number | null; used: number | null }[];
  regions: string[];
}

export interface Provider {
  /** Checks the configuration; problems name the field and the remedy. Never throws for an invalid configuration. */
  validate(): Promise<{ ok: true } | { ok: false; problems: { field: string; message: string; remedy: string }[] }>;
  /**
   * Offers for a need, best first; an empty list means "can never run this". The host asks without a price limit
   * (`max_price_per_hour` is null) and checks prices itself.
   */
  offers(need: Need): Promise<Offer[]>;
  /** Starts the work and returns at once. Safe to repeat with the same key: returns the same handle. */
  launch(spec: LaunchSpec, offer: Offer, context: LaunchContext): Promise<Handle>;
  /** The state of the work. Work that no longer exists is `absent`, not an error. */
  describe(handle: Handle): Promise<WorkStatus>;
  /** Asks the work to end; success when it no longer exists. The host repeats this until it is gone. */
  terminate(handle: Handle, options?: { graceS?: number }): Promise<TerminateResult>;
  /**
   * Everything with this installation's label, in every region and on every page of the vendor's answers, for the
   * orphan sweep. It throws when a part of the answer is missing: an incomplete list looks like work that ended.
   */
  listOwned(installation: string): Promise<OwnedWork[]>;
  /** Credentials, permissions one by one, quotas and balance; only with `capabilities.priced`. Starts nothing. */
  inspect?(): Promise<AccountReport>;
  /**
   * The machines of this provider, for providers with their own machines. A machine that does not answer is reported
   * with its problem.
   */
  hosts?(): Promise<HostReport[]>;
  /** Last lines of output; only with `capabilities.logs`. */
  logs?(handle: Handle, options: { tail: number }): Promise<string[]>;
}

/** A machine of a provider. Output of `nvidia-smi` is passed on unchanged: the host parses it. */
export interface HostReport {
  /** Stable within the provider; `[a-zA-Z0-9._-]{1,64}`. */
  id: string;
  name: string;
  cpus: number;
  memoryMb: number;
  memoryFreeMb: number | null;
  /** False for a machine other than the server's, even with the capability `local`: it has its own slots. */
  local?: boolean;
  /** Load over one minute; null when not known. */
  load: number | null;
  diskMb: number | null;
  diskFreeMb: number | null;
  /**
   * `xml` of `nvidia-smi -q -x` and `list` of `nvidia-smi -L`; `failure` when they failed; null where there is no
   * NVIDIA software.
   */
  nvidia: { xml: string; list: string } | { failure: string } | null;
  /** Why no work can run there now; null when healthy. */
  problem: string | null;
}

/** A configuration field as the settings page shows it. Secrets are never shown. */
export interface ConfigField {
  name: string;
  label: string;
  help: string;
  /** `list` is text separated by commas, `text` has several lines. */
  type: "string" | "integer" | "boolean" | "secret" | "list" | "text";
  required: boolean;
  default?: string | number | boolean;
  /** The only values that are accepted, for a `string` or the parts of a `list`. */
  options?: readonly string[];
}

/** What a plugin's `index.ts` exports as default. */
export interface ProviderPlugin {
  id: string;
  title: string;
  contract: typeof PROVIDER_CONTRACT;
  /** `container` runs images, `machine` rents a machine, `process` runs processes on this machine. */
  kind: "container" | "machine" | "process";
  capabilities: Capabilities;
  config: ConfigField[];
  create(host: ProviderHost, config: Record<string, unknown>): Provider;
}
