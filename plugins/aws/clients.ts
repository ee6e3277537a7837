/** Clients of AWS's services. Every request goes through the host's fetch, once: the host decides about repeats. */
import { EC2Client } from "@aws-sdk/client-ec2";
import { PricingClient } from "@aws-sdk/client-pricing";
import { ServiceQuotasClient } from "@aws-sdk/client-service-quotas";
import { SSMClient } from "@aws-sdk/client-ssm";
import { STSClient } from "@aws-sdk/client-sts";
import type { ProviderHost } from "../../src/contract/provider.ts";
import { awsFailure } from "./errors.ts";
import type { Settings } from "./settings.ts";

const TIMEOUT_MS = 30_000;

/** What the SDK hands to a request handler. */
interface HttpRequest {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query?: Record<string, string | string[] | null>;
  headers: Record<string, string>;
  body?: unknown;
}

function addressOf({ protocol, hostname, port, path, query = {} }: HttpRequest): string {
  const words = Object.entries(query).flatMap(([name, value]) =>
    [value].flat().map((one) => encodeURIComponent(name) + (one === null ? "" : `=${encodeURIComponent(one)}`)),
  );
  return `${protocol}//${hostname}${port ? `:${port}` : ""}${path}${words.length > 0 ? `?${words.join("&")}` : ""}`;
}

/** A request handler of the SDK over the host's fetch. */
function fetchHandler(host: ProviderHost) {
  return {
    async handle(request: HttpRequest, { abortSignal }: { abortSignal?: unknown } = {}) {
      const own = abortSignal instanceof AbortSignal ? [abortSignal] : [];
      // fetch writes these itself.
      const { host: _host, "content-length": _length, ...headers } = request.headers;
      const answer = await host.fetch(addressOf(request), {
        method: request.method,
        headers,
        body:
          request.method === "GET" || request.method === "HEAD" ? undefined : (request.body as BodyInit | undefined),
        signal: AbortSignal.any([host.signal, AbortSignal.timeout(TIMEOUT_MS), ...own]),
      });
      const body = new Uint8Array(await answer.arrayBuffer());
      return { response: { statusCode: answer.status, headers: Object.fromEntries(answer.headers), body } };
    },
    updateHttpClientConfig() {},
    httpHandlerConfigs: () => ({}),
  };
}

export interface Parts {
  host: ProviderHost;
  settings: Settings;
  ec2(region: string): EC2Client;
  ssm(region: string): SSMClient;
  quotas(region: string): ServiceQuotasClient;
  sts(): STSClient;
  pricing(): PricingClient;
  /** Sends one request; an error comes as one of the contract's kinds. */
  call<T>(region: string, send: () => Promise<T>): Promise<T>;
}

/** AWS serves prices of all regions in a few of them. */
const PRICING_REGION = "us-east-1";

/** Clients for `settings`, created when they are used. */
export function createParts(host: ProviderHost, settings: Settings): Parts {
  const handler = fetchHandler(host);
  const { accessKeyId, secretAccessKey, sessionToken, endpoint } = settings;
  const debug = (...words: unknown[]) => host.log("debug", words.map(String).join(" ").slice(0, 500));
  const common = (region: string) => ({
    region,
    credentials: { accessKeyId, secretAccessKey, sessionToken },
    requestHandler: handler,
    maxAttempts: 1,
    logger: { trace: debug, debug, info: debug, warn: debug, error: debug },
    ...(endpoint ? { endpoint } : {}),
  });
  const perRegion = <T>(make: (region: string) => T) => {
    const made = new Map<string, T>();
    return (region: string): T => {
      const one = made.get(region) ?? make(region);
      made.set(region, one);
      return one;
    };
  };
  const sts = perRegion((region) => new STSClient(common(region)));
  const pricing = perRegion((region) => new PricingClient(common(region)));
  return {
    host,
    settings,
    ec2: perRegion((region) => new EC2Client(common(region))),
    ssm: perRegion((region) => new SSMClient(common(region))),
    quotas: perRegion((region) => new ServiceQuotasClient(common(region))),
    sts: () => sts(settings.regions[0] ?? PRICING_REGION),
    pricing: () => pricing(PRICING_REGION),
    async call(region, send) {
      try {
        return await send();
      } catch (error) {
        throw awsFailure(host, region, error);
      }
    },
  };
}

/** Every page of an answer. An error on any page is an error of the whole. */
export async function pages<T>(
  next: (token: string | undefined) => Promise<{ items: T[]; token?: string }>,
): Promise<T[]> {
  const all: T[] = [];
  for (let token: string | undefined; ; ) {
    const page = await next(token);
    all.push(...page.items);
    if (!page.token) return all;
    token = page.token;
  }
}

/** A value that is asked for again after `ms`; failures are not kept. */
export function cached<T>(host: ProviderHost, ms: number, load: (name: string) => Promise<T>) {
  const kept = new Map<string, { until: number; value: Promise<T> }>();
  return (name: string): Promise<T> => {
    const found = kept.get(name);
    if (found && host.clock.now() < found.until) return found.value;
    const value = load(name);
    kept.set(name, { until: host.clock.now() + ms, value });
    value.catch(() => kept.delete(name));
    return value;
  };
}
