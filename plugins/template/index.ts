/**
 * A template for a provider of rented machines with a simple REST API. Replace the calls with those of your provider,
 * then run `finetune-lab plugin check` on this folder.
 */
import type { Handle, Offer, Provider, ProviderHost, ProviderPlugin, WorkStatus } from "../../src/contract/provider.ts";

/** A machine in the provider's API. Times in milliseconds since 1970. */
interface Instance {
  id: string;
  name: string;
  status: "pending" | "running" | "exited";
  exit_code: number | null;
  started_at: number | null;
  ended_at: number | null;
  labels: Record<string, string>;
}

function create(host: ProviderHost, config: Record<string, unknown>): Provider {
  /** Calls the provider's API, and classifies errors by the kinds of the contract. */
  async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
    let answer: Response;
    try {
      answer = await host.fetch(`${config.api_url}${path}`, {
        method,
        headers: { authorization: `Bearer ${config.api_key}`, "content-type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.any([host.signal, AbortSignal.timeout(30_000)]),
      });
    } catch (cause) {
      throw host.error("transient", "The provider is unreachable.", { cause });
    }
    if (answer.ok) return (await answer.json()) as T;
    if (answer.status === 401 || answer.status === 403) throw host.error("auth", "The API key was refused.");
    if (answer.status === 429) {
      const retryAfterS = Number(answer.headers.get("retry-after") ?? 10);
      throw host.error("rate_limited", "The provider has a rate limit.", { retryAfterS });
    }
    if (answer.status === 503) throw host.error("no_capacity", "The provider has no free machine of this type.");
    if (answer.status >= 500) throw host.error("transient", `The provider answered ${answer.status}.`);
    throw host.error("invalid", `The provider answered ${answer.status}: ${(await answer.text()).slice(0, 200)}`);
  }

  /** The name contains installation and key, so that a launch repeated after a crash finds the first machine. */
  const nameOf = (key: string) => `ftl-${host.installation}-${key}`;

  async function find(key: string): Promise<Instance | null> {
    const { instances } = await call<{ instances: Instance[] }>("GET", `/instances?name=${nameOf(key)}`);
    return instances[0] ?? null;
  }

  const state = (one: Instance): WorkStatus["state"] => (one.status === "pending" ? "starting" : one.status);

  return {
    async validate() {
      try {
        await call("GET", "/account");
        return { ok: true };
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        const remedy = "Create a key in the provider's console, and check the address.";
        return { ok: false, problems: [{ field: "api_key", message, remedy }] };
      }
    },

    async offers(need) {
      const { types } = await call<{ types: Offer[] }>("GET", "/instance-types");
      const ceiling = need.max_price_per_hour ?? Number.POSITIVE_INFINITY;
      return types
        .filter((one) => one.gpus >= need.gpus && one.gpuMemoryMb >= need.gpu_memory_mb)
        .filter((one) => one.cpus >= need.cpus && one.memoryMb >= need.memory_mb && one.pricePerHour <= ceiling)
        .sort((a, b) => a.pricePerHour - b.pricePerHour);
    },

    async launch(spec, offer, context) {
      if (!/^[a-z0-9-]{1,64}$/.test(context.key))
        throw host.error("invalid", "A launch key is 1 to 64 of a-z, 0-9 and -.");
      // This API refuses a second machine with the same name, and returns the first. If your API does not, use its
      // idempotency token; a lookup before the start is a race.
      const { instance } = await call<{ instance: Instance }>("POST", "/instances", {
        name: nameOf(context.key),
        type: offer.id,
        image: spec.image,
        command: spec.argv,
        labels: { ...context.labels, installation: host.installation, key: context.key },
        stop_after: context.deadline,
        env: {
          ...spec.env,
          FTL_HOME_URL: context.callHome.url,
          FTL_ATTEMPT_TOKEN: context.callHome.token,
          ...(context.callHome.fingerprint ? { FTL_HOME_FINGERPRINT: context.callHome.fingerprint } : {}),
          FTL_SCRATCH: "/scratch",
        },
      });
      const handle: Handle = { provider: plugin.id, key: context.key, instance: instance.id };
      return handle;
    },

    async describe(handle) {
      const one = await find(handle.key);
      if (!one) return { state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null };
      const { exit_code: exitCode, started_at: startedAt, ended_at: endedAt } = one;
      return { state: state(one), exitCode, reason: null, startedAt, endedAt };
    },

    async terminate(handle) {
      const one = await find(handle.key);
      if (!one) return { gone: true };
      await call("DELETE", `/instances/${one.id}`);
      return { gone: false, againAfterS: 1 };
    },

    async listOwned(installation) {
      const { instances } = await call<{ instances: Instance[] }>("GET", `/instances?installation=${installation}`);
      return instances.map((one) => ({
        handle: { provider: plugin.id, key: one.labels.key ?? "", instance: one.id },
        labels: one.labels,
        state: state(one),
      }));
    },
  };
}

const plugin: ProviderPlugin = {
  id: "my-provider",
  title: "My provider",
  contract: 2,
  kind: "machine",
  capabilities: {
    logs: false,
    gpus: true,
    survivesServer: true,
    local: false,
    priced: true,
    spot: false,
    vendorDeadline: true,
    multiNode: false,
  },
  config: [
    {
      name: "api_url",
      label: "Address",
      help: "URL of the provider's API.",
      type: "string",
      required: true,
      default: "https://api.example.com/v1",
    },
    { name: "api_key", label: "API key", help: "From the provider's console.", type: "secret", required: true },
  ],
  create,
};

export default plugin;
