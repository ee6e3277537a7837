/**
 * The calls of a provider with a simple REST API. Replace them with those of your provider, one at a time; `plugin
 * check` says what is still wrong. docs/plugin-authors.md explains every rule.
 */
import type {
  AccountReport,
  Handle,
  LaunchContext,
  LaunchSpec,
  Offer,
  Provider,
  ProviderHost,
  WorkState,
} from "../../src/contract/provider.ts";

/** A machine in the provider's API. Times in milliseconds since 1970. */
interface Machine {
  id: string;
  name: string;
  status: "pending" | "running" | "exited" | "stopping";
  exit_code: number | null;
  /** Why it ended; `reclaimed` = the vendor took it back. */
  reason: string | null;
  started_at: number | null;
  ended_at: number | null;
  labels: Record<string, string>;
}

/** A type of machine in the provider's API. */
interface MachineType {
  id: string;
  region: string;
  gpu: string;
  gpus: number;
  gpu_memory_mb: number;
  cpus: number;
  memory_mb: number;
  disk_mb: number;
  usd_per_hour: number;
  available: boolean;
}

/** What a machine starts with, as the API takes it: an image with variables, or a start script. */
export type Boot = (spec: LaunchSpec, context: LaunchContext) => Record<string, unknown>;

/** Seconds from the request to the trainer's first message. */
const STARTS_IN_S = 120;

/** The variables that the trainer needs. The token is valid once; nothing else that is secret leaves the server. */
export function variables(spec: LaunchSpec, { callHome }: LaunchContext): Record<string, string> {
  return {
    ...spec.env,
    FTL_HOME_URL: callHome.url,
    FTL_ATTEMPT_TOKEN: callHome.token,
    ...(callHome.fingerprint ? { FTL_HOME_FINGERPRINT: callHome.fingerprint } : {}),
    FTL_SCRATCH: "/scratch",
  };
}

/** The vendor's code and message of an error; its status when the answer has none. */
function readError(text: string, status: number): { code: string; message: string } {
  try {
    const { error } = JSON.parse(text) as { error: { code?: string; message?: string } };
    return { code: error.code ?? `HTTP ${status}`, message: error.message ?? `HTTP ${status}` };
  } catch {
    return { code: `HTTP ${status}`, message: text.slice(0, 200) || `HTTP ${status}` };
  }
}

/** The provider. `id` is the plugin's, `boot` what its machines start with. */
export function createProvider(id: string, boot: Boot, host: ProviderHost, config: Record<string, unknown>): Provider {
  /** One request. Errors are sorted into the kinds of the contract, with the vendor's own code. */
  async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
    let answer: Response;
    let text: string;
    try {
      answer = await host.fetch(`${config.api_url}${path}`, {
        method,
        headers: { authorization: `Bearer ${config.api_key}`, "content-type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.any([host.signal, AbortSignal.timeout(30_000)]),
      });
      text = await answer.text();
    } catch (cause) {
      // The vendor may have done it all the same: that is what `transient` means.
      throw host.error("transient", "The provider is unreachable.", { cause });
    }
    if (answer.ok) return JSON.parse(text) as T;
    const { code, message } = readError(text, answer.status);
    const vendorCode = code;
    if (answer.status === 401 || answer.status === 403)
      throw host.error("auth", `The provider refused the API key: ${message}`, { vendorCode });
    if (answer.status === 402 || code === "limit_reached")
      throw host.error("quota", `The account does not allow another machine: ${message}`, { vendorCode });
    if (answer.status === 429) {
      const retryAfterS = Number(answer.headers.get("retry-after")) || 10;
      throw host.error("rate_limited", "The provider limits the rate of requests.", { retryAfterS, vendorCode });
    }
    if (code === "out_of_stock") throw host.error("no_capacity", `No free machine: ${message}`, { vendorCode });
    if (answer.status >= 500) throw host.error("transient", `The provider failed: ${message}`, { vendorCode });
    throw host.error("invalid", `The provider did not accept the request: ${message}`, { vendorCode });
  }

  /** Every page of a list. A page that fails fails the whole: a part of the list looks like machines that ended. */
  async function list(filter: string): Promise<Machine[]> {
    const all: Machine[] = [];
    for (let next: string | null = ""; next !== null; ) {
      const page: { machines: Machine[]; next: string | null } = await call("GET", `/machines?${filter}&after=${next}`);
      all.push(...page.machines);
      next = page.next;
    }
    return all;
  }

  /** Name of a machine: a launch that is repeated after a crash finds the first one by it. */
  const nameOf = (key: string) => `ftl-${host.installation}-${key}`;

  /**
   * The machine of a key. This API makes two machines when it is asked twice, as most do; should there ever be two, the
   * one with the smallest id stays.
   */
  async function find(key: string): Promise<Machine | null> {
    const found = (await list(`name=${nameOf(key)}`)).sort((a, b) => (a.id < b.id ? -1 : 1));
    const [first, ...others] = found.filter(({ status }) => status !== "stopping");
    for (const { id: other } of others) await remove(other);
    return first ?? found[0] ?? null;
  }

  async function remove(machine: string): Promise<void> {
    try {
      await call("DELETE", `/machines/${machine}`);
    } catch (error) {
      if ((error as { vendorCode?: string }).vendorCode !== "not_found") throw error;
    }
  }

  const stateOf = ({ status }: Machine): WorkState =>
    status === "pending" ? "starting" : status === "running" ? "running" : "exited";

  const handleOf = (key: string, machine: Machine): Handle => ({ provider: id, key, machine: machine.id });

  async function types(): Promise<MachineType[]> {
    return (await call<{ types: MachineType[] }>("GET", "/types")).types;
  }

  return {
    // Looks at the form of the settings only: the server must start while the vendor is down. `inspect` asks it.
    async validate() {
      const problems: { field: string; message: string; remedy: string }[] = [];
      if (!URL.canParse(String(config.api_url)))
        problems.push({ field: "api_url", message: "This is not an address.", remedy: "Use https://…" });
      if (!/^[\x21-\x7e]+$/.test(String(config.api_key)))
        problems.push({ field: "api_key", message: "This is not an API key.", remedy: "Copy it from the console." });
      return problems.length > 0 ? { ok: false, problems } : { ok: true };
    },

    async offers(need) {
      const ceiling = need.max_price_per_hour ?? Number.POSITIVE_INFINITY;
      return (await types())
        .filter((one) => one.gpus >= need.gpus && one.gpu_memory_mb >= need.gpu_memory_mb)
        .filter((one) => one.cpus >= need.cpus && one.memory_mb >= need.memory_mb && one.disk_mb >= need.disk_mb)
        .filter((one) => one.usd_per_hour <= ceiling)
        .sort((a, b) => a.usd_per_hour - b.usd_per_hour)
        .map(
          (one): Offer => ({
            id: one.id,
            market: "on_demand",
            location: one.region,
            region: one.region,
            zone: null,
            machineType: one.id,
            gpus: one.gpus,
            gpuName: one.gpu,
            gpuMemoryMb: one.gpu_memory_mb,
            cpus: one.cpus,
            memoryMb: one.memory_mb,
            diskMb: one.disk_mb,
            pricePerHour: one.usd_per_hour,
            currency: "USD",
            quoteExpiresAt: null,
            maxLifetimeS: null,
            preemptionNoticeS: null,
            startsInS: STARTS_IN_S,
            available: one.available,
          }),
        );
    },

    async launch(spec, offer, context) {
      const { key, labels, maxPricePerHour } = context;
      if (!/^[a-z0-9-]{1,64}$/.test(key)) throw host.error("invalid", "A launch key is 1 to 64 of a-z, 0-9 and -.");
      // One launch of a key at a time: two that look first would both find nothing.
      return host.inTurn(nameOf(key), async () => {
        const before = await find(key);
        if (before) return handleOf(key, before);
        if (maxPricePerHour !== null) {
          const now = (await types()).find((one) => one.id === offer.machineType);
          if (!now || now.usd_per_hour > maxPricePerHour) {
            const price = now ? `${now.usd_per_hour} USD per hour` : "no price";
            throw host.error("no_capacity", `${offer.machineType} has ${price} now.`, { reason: "price_raised" });
          }
        }
        try {
          const { machine } = await call<{ machine: Machine }>("POST", "/machines", {
            name: nameOf(key),
            type: offer.machineType,
            labels: { ...labels, "ftl-installation": host.installation, "ftl-key": key },
            ...boot(spec, context),
          });
          return handleOf(key, machine);
        } catch (error) {
          if ((error as { providerErrorKind?: string }).providerErrorKind !== "transient") throw error;
          // Nobody knows whether the machine was made. If it is not there yet, the host repeats the launch.
          const made = await find(key);
          if (made) return handleOf(key, made);
          throw error;
        }
      });
    },

    async describe(handle) {
      const one = await find(handle.key);
      if (!one) return { state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null };
      return {
        state: stateOf(one),
        exitCode: one.exit_code,
        reason: one.reason,
        startedAt: one.started_at,
        endedAt: one.ended_at,
        machine: one.id,
        preempted: one.reason === "reclaimed",
      };
    },

    async terminate(handle) {
      const one = await find(handle.key);
      if (!one) return { gone: true };
      if (one.status !== "stopping") await remove(one.id);
      // The host asks again until the API no longer shows it.
      return { gone: false, againAfterS: 2 };
    },

    async listOwned(installation) {
      const all = await list(`label=ftl-installation:${installation}`);
      return all.map((one) => {
        const { "ftl-key": key = "", "ftl-installation": _, ...labels } = one.labels;
        const cost = { machine: one.id, ...(one.started_at ? { chargedFrom: one.started_at } : {}) };
        return { handle: handleOf(key, one), labels, state: stateOf(one), machines: [cost] };
      });
    },

    async inspect(): Promise<AccountReport> {
      const account = await call<{ user: string; balance_usd: number; machine_limit: number }>("GET", "/account");
      const regions = [...new Set((await types()).map(({ region }) => region))];
      return {
        checks: [{ name: "API key", outcome: "passed", message: `It belongs to ${account.user}.` }],
        balanceUsd: account.balance_usd,
        quotas: [{ name: "Machines", region: null, limit: account.machine_limit, used: null }],
        regions,
      };
    },
  };
}
