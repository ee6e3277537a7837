/** Conformance cases about a vendor that fails: no machine twice, none forgotten, no loop, no wrong "it is gone". */
import type { ConformanceCase, ConformanceTools, ProviderFactory } from "./conformance-case.ts";
import { creates, expect, failureOf, machinesOf, rent, rentedOffer, untilGone } from "./conformance-tools.ts";
import type { WireCall, WireFault } from "./conformance-wire.ts";
import type { Handle, ProviderFailure } from "./provider.ts";

const FOREVER = 1000;
const EVERY = () => true;
/** Requests that one call of the host may send when the vendor refuses each: a list of regions, not a loop. */
const MOST_REFUSED = 4;

/** What may happen to the answer of a request that was carried out. */
const AFTER: readonly (readonly [what: string, fault: Omit<WireFault, "on">])[] = [
  ["whose answer is lost", { after: true }],
  ["that times out", { after: true, timeout: true }],
  ["that fails with 500 after all", { after: true, answer: { status: 500 } }],
];

/** Launches until it works, as the host repeats a launch. @returns the handle */
async function launchUntil(make: ProviderFactory, tools: ConformanceTools, key: string): Promise<Handle> {
  for (let i = 0; ; i++) {
    let handle: Handle | null = null;
    const failure = await failureOf(rent(make(), tools, { key }).then((made) => (handle = made)));
    if (handle) return handle;
    const kind = failure?.providerErrorKind;
    expect(kind === "transient" || kind === "rate_limited", `launch() threw ${kind}; nobody knows yet: transient`);
    expect(i < 20, "launch() still fails after the fault is over");
    await tools.sleep((failure?.retryAfterS ?? 1) * 1000);
  }
}

/** Requests of `terminate` that none of the calls that only read sends. */
async function endings(make: ProviderFactory, tools: ConformanceTools): Promise<(call: WireCall) => boolean> {
  const handle = await rent(make(), tools);
  tools.wire.clear();
  await make().describe(handle);
  await make().listOwned(tools.installation);
  const reading = new Set(tools.wire.calls.map(({ signature }) => signature));
  tools.wire.clear();
  await untilGone(make(), tools, handle, 0);
  const changing = tools.wire.calls.filter(({ method }) => method !== "GET").map(({ signature }) => signature);
  const ending = new Set(changing.filter((one) => !reading.has(one)));
  expect(ending.size > 0, "terminate() sends no request of its own");
  tools.wire.clear();
  return (call) => ending.has(call.signature);
}

/** The calls of the host, each with a machine that exists. */
async function calls(make: ProviderFactory, tools: ConformanceTools) {
  await rentedOffer(make(), tools);
  const handle = await rent(make(), tools);
  const list: [string, () => Promise<unknown>][] = [
    ["offers", () => make().offers(tools.need)],
    ["launch", () => rent(make(), tools)],
    ["describe", () => make().describe(handle)],
    ["listOwned", () => make().listOwned(tools.installation)],
    ["terminate", () => make().terminate(handle)],
  ];
  return list;
}

export const FAULT_CASES: readonly ConformanceCase[] = [
  ...AFTER.map(
    ([what, fault]): ConformanceCase => ({
      name: `a create ${what} leaves one machine, and the repeated launch finds it`,
      async check(make, tools) {
        const key = tools.key();
        await rentedOffer(make(), tools);
        tools.wire.clear();
        tools.wire.inject({ ...fault, on: creates(key) });
        const handle = await launchUntil(make, tools, key);
        expect(tools.wire.calls.some(creates(key)), "no request carries callHome.token");
        const repeated = await rent(make(), tools, { key });
        expect(JSON.stringify(repeated) === JSON.stringify(handle), "the repeated launch gave another handle");
        const machines = await machinesOf(make(), tools, key);
        expect(machines.length === 1, `listOwned() shows ${machines.length} machines of this key`);
        return undefined;
      },
    }),
  ),
  ...AFTER.map(
    ([what, fault]): ConformanceCase => ({
      name: `a delete ${what} is repeated until the machine is gone`,
      async check(make, tools) {
        const ends = await endings(make, tools);
        const handle = await rent(make(), tools);
        tools.wire.inject({ ...fault, on: ends });
        const failure = await failureOf(make().terminate(handle));
        expect(!failure || failure.providerErrorKind === "transient", `it threw ${failure?.providerErrorKind}`);
        await untilGone(make(), tools, handle, 0);
        expect((await machinesOf(make(), tools, handle.key)).length === 0, "listOwned() still shows it");
        return undefined;
      },
    }),
  ),
  {
    // Also when the vendor says that it did.
    name: "a delete that the vendor did not carry out is not gone",
    async check(make, tools) {
      const ends = await endings(make, tools);
      const handle = await rent(make(), tools);
      for (const fault of [{ answer: { status: 200 } }, { answer: { status: 500 } }, {}, { answer: { status: 429 } }]) {
        tools.wire.clear();
        tools.wire.inject({ ...fault, on: ends, times: FOREVER });
        let gone = false;
        await failureOf(
          make()
            .terminate(handle)
            .then((result) => (gone = result.gone)),
        );
        expect(!gone, "terminate() says gone, and the machine runs on");
      }
      tools.wire.clear();
      expect((await machinesOf(make(), tools, handle.key)).length === 1, "listOwned() does not show the machine");
      return undefined;
    },
  },
  {
    name: "listOwned() throws when any part of the vendor's answer is missing",
    async check(make, tools) {
      await rent(make(), tools);
      tools.wire.clear();
      await make().listOwned(tools.installation);
      const parts = tools.wire.calls.length;
      expect(parts > 0, "listOwned() asks nobody");
      for (let part = 0; part < parts; part++)
        for (const fault of [{ answer: { status: 500 } }, {}]) {
          tools.wire.clear();
          let seen = 0;
          tools.wire.inject({ ...fault, on: () => seen++ >= part, times: FOREVER });
          const failure = await failureOf(make().listOwned(tools.installation));
          expect(failure, `it gave a list although request ${part + 1} of ${parts} failed`);
        }
      return undefined;
    },
  },
  {
    name: "a vendor that fails is no sign that a machine is absent",
    async check(make, tools) {
      const handle = await rent(make(), tools);
      for (const fault of [{ answer: { status: 500 } }, { answer: { status: 401 } }, { timeout: true }, {}]) {
        tools.wire.clear();
        tools.wire.inject({ ...fault, on: EVERY, times: FOREVER });
        let state = "";
        await failureOf(
          make()
            .describe(handle)
            .then((status) => (state = status.state)),
        );
        expect(state !== "absent" && state !== "exited", `describe() says "${state}"`);
      }
      return undefined;
    },
  },
  {
    name: "a refused key is said as auth with the vendor's code, and not tried in a loop",
    async check(make, tools) {
      for (const [name, call] of await calls(make, tools)) {
        tools.wire.clear();
        tools.wire.inject({ on: EVERY, times: FOREVER, answer: { status: 401 } });
        const failure = await failureOf(call());
        expect(failure?.providerErrorKind === "auth", `${name}() threw ${failure?.providerErrorKind ?? "nothing"}`);
        expect(failure.vendorCode, `${name}(): vendorCode is empty`);
        const { length } = tools.wire.calls;
        expect(length <= MOST_REFUSED, `${name}() sent ${length} requests`);
      }
      return undefined;
    },
  },
  {
    name: "a refused key is part of the account's report",
    async check(make, tools) {
      tools.wire.inject({ on: EVERY, times: FOREVER, answer: { status: 401 } });
      let failed = false;
      const failure = await failureOf(
        (make().inspect?.() ?? Promise.resolve(null)).then((report) => {
          failed = report?.checks.some(({ outcome }) => outcome === "failed") ?? false;
        }),
      );
      expect(failed || failure?.providerErrorKind === "auth", "inspect() found nothing wrong with a refused key");
      return undefined;
    },
  },
  ...[7, null].map(
    (seconds): ConformanceCase => ({
      name: `a rate limit ${seconds === null ? "without" : "with"} retry-after is obeyed`,
      async check(make, tools) {
        const handle = await rent(make(), tools);
        const headers: Record<string, string> = seconds === null ? {} : { "retry-after": String(seconds) };
        tools.wire.clear();
        tools.wire.inject({ on: EVERY, times: FOREVER, answer: { status: 429, headers } });
        const failure: ProviderFailure | null = await failureOf(make().describe(handle));
        const kind = failure?.providerErrorKind;
        expect(kind === "rate_limited", `describe() threw ${kind ?? "nothing"} at 429`);
        const wait = failure?.retryAfterS ?? 0;
        expect(
          wait >= (seconds ?? 1),
          `retryAfterS is ${failure?.retryAfterS}; the vendor said ${seconds ?? "nothing"}`,
        );
        expect(tools.wire.calls.length <= MOST_REFUSED, `it sent ${tools.wire.calls.length} requests`);
        tools.wire.clear();
        await tools.sleep(wait * 1000);
        expect((await make().describe(handle)).state !== "absent", "after the wait the machine is absent");
        return undefined;
      },
    }),
  ),
];
