/** Helpers of the conformance cases: expectations with messages, waiting, and launches with defaults. */
import type { ConformanceTools } from "./conformance-case.ts";
import type { WireCall } from "./conformance-wire.ts";
import type {
  Handle,
  LaunchSpec,
  Offer,
  OwnedWork,
  Provider,
  ProviderErrorKind,
  ProviderFailure,
  WorkStatus,
} from "./provider.ts";

const KINDS: readonly ProviderErrorKind[] = [
  "auth",
  "quota",
  "no_capacity",
  "invalid",
  "rate_limited",
  "transient",
  "fatal",
];

/** Throws `message` unless `condition` holds. */
export function expect(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** The kind of an error a provider threw; an Error for any other throw. */
export function failureKind(error: unknown): ProviderErrorKind {
  const kind = (error as { providerErrorKind?: unknown }).providerErrorKind;
  const known = KINDS.find((name) => name === kind);
  if (!known) throw new Error(`threw something that host.error did not make: ${String(error)}`);
  return known;
}

/** An offer for the runner's need. */
export async function offerFor(provider: Provider, tools: ConformanceTools): Promise<Offer> {
  const [offer] = await provider.offers(tools.need);
  expect(offer, "offers() gave nothing for the need of the test; check the configuration or --need");
  return offer;
}

export interface Work {
  argv: string[];
  key?: string;
  env?: Record<string, string>;
  labels?: Record<string, string>;
  deadlineInMs?: number;
  kind?: LaunchSpec["kind"];
}

/** Launches `work`; it is terminated at the end of the case. */
export async function launch(provider: Provider, tools: ConformanceTools, work: Work): Promise<Handle> {
  const key = work.key ?? tools.key();
  tools.cleanup.push({ provider: tools.plugin.id, key });
  return provider.launch(
    { kind: work.kind ?? "train", need: tools.need, image: null, argv: work.argv, env: work.env ?? {} },
    await offerFor(provider, tools),
    {
      key,
      labels: work.labels ?? { purpose: "conformance" },
      deadline: Date.now() + (work.deadlineInMs ?? 600_000),
      maxPricePerHour: null,
      callHome: { url: "unix:/nowhere/trainer.sock", token: `fta-conformance-${key}`, fingerprint: null },
    },
  );
}

/** Polls until the work is in one of `states`. */
export async function untilState(
  provider: Provider,
  tools: ConformanceTools,
  handle: Handle,
  states: WorkStatus["state"][],
): Promise<WorkStatus> {
  const end = Date.now() + tools.patienceMs;
  for (;;) {
    const status = await provider.describe(handle);
    if (states.includes(status.state)) return status;
    expect(
      Date.now() < end,
      `describe() still said "${status.state}" after ${tools.patienceMs} ms; expected ${states.join(" or ")}`,
    );
    await tools.sleep(20);
  }
}

/** Terminates until gone, as the host does; returns how many calls it took. */
export async function untilGone(
  provider: Provider,
  tools: ConformanceTools,
  handle: Handle,
  graceS: number,
): Promise<number> {
  const end = Date.now() + tools.patienceMs;
  for (let calls = 1; ; calls++) {
    const result = await provider.terminate(handle, { graceS });
    if (result.gone) return calls;
    expect(result.againAfterS > 0 && result.againAfterS <= 600, `againAfterS is ${result.againAfterS}; 0 < n <= 600`);
    expect(Date.now() < end, `terminate() still said "not gone" after ${tools.patienceMs} ms`);
    await tools.sleep(result.againAfterS * 1000);
  }
}

/** Everything the work printed so far, as the provider gives it. Only for providers with `capabilities.logs`. */
export async function output(provider: Provider, handle: Handle, tail = 1000): Promise<string[]> {
  expect(provider.logs, "capabilities.logs is set but there is no logs()");
  return provider.logs(handle, { tail });
}

/** The bootstrap token of a launch, which its machine is to get. */
const tokenOf = (key: string) => `ftb-conformance-${key}`;

interface Rent {
  key?: string;
  labels?: Record<string, string>;
  deadline?: number;
  maxPricePerHour?: number | null;
}

/** An offer of a rented machine, the same for all cases. */
export async function rentedOffer(provider: Provider, tools: ConformanceTools): Promise<Offer> {
  tools.offer ??= await offerFor(provider, tools);
  return tools.offer;
}

/** Rents a machine for the trainer; it is terminated at the end of the case. */
export async function rent(provider: Provider, tools: ConformanceTools, given: Rent = {}): Promise<Handle> {
  const key = given.key ?? tools.key();
  const offer = await rentedOffer(provider, tools);
  tools.cleanup.push({ provider: tools.plugin.id, key });
  return provider.launch({ kind: "train", need: tools.need, image: null, argv: null, env: {} }, offer, {
    key,
    labels: given.labels ?? { purpose: "conformance" },
    deadline: given.deadline ?? Date.now() + 600_000,
    maxPricePerHour: given.maxPricePerHour ?? null,
    callHome: { url: "https://lab.example.com", token: tokenOf(key), fingerprint: null },
  });
}

/** True for the request that creates the machine of a key: the one that carries its token. */
export const creates = (key: string) => (call: WireCall) =>
  call.method !== "GET" && call.readable.includes(tokenOf(key));

/** Machines of a key that are not at their end. */
export async function machinesOf(provider: Provider, tools: ConformanceTools, key: string): Promise<OwnedWork[]> {
  const owned = await provider.listOwned(tools.installation);
  const alive = (one: OwnedWork) => one.state !== "exited" && one.state !== "absent";
  return owned.filter((one) => (one.resource ?? "machine") === "machine" && one.handle.key === key && alive(one));
}

/** What a call throws, as a failure of the contract; null when it throws nothing. */
export async function failureOf(work: Promise<unknown>): Promise<ProviderFailure | null> {
  try {
    await work;
    return null;
  } catch (error) {
    failureKind(error);
    return error as ProviderFailure;
  }
}
