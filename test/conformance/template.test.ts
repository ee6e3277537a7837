/**
 * The plugin templates pass every case against the fake vendor of `plugin check`, and plugins with one mistake each
 * fail the case that is about it.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import container from "../../plugins/template/container.ts";
import machine from "../../plugins/template/machine.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { type FakeVendor, startFakeVendor } from "../../src/compute/providers/fake-vendor.ts";
import { fakeSettings } from "../../src/compute/providers/plugin-check.ts";
import { casesFor, runCase } from "../../src/contract/conformance.ts";
import type { Provider, ProviderHost, ProviderPlugin } from "../../src/contract/provider.ts";

let dataDir: string;
let vendor: FakeVendor;
beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), "ftl-template-"));
});
beforeEach(() => {
  vendor = startFakeVendor();
});
afterEach(() => vendor.stop());
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

const setup = (plugin: ProviderPlugin) => conformanceSetup(plugin, fakeSettings(plugin, vendor, {}), dataDir);

for (const [name, plugin] of Object.entries({ container, machine }))
  describe(`the template for a ${name} cloud conforms:`, () => {
    for (const one of casesFor(plugin))
      test(one.name, async () => {
        const { make, tools } = setup(plugin);
        const result = await runCase(one, make, tools);
        expect(result.detail || result.outcome).toBe("passed");
        expect(vendor.machines.filter(({ status }) => status !== "stopping")).toEqual([]);
      });
  });

/** The container template with a mistake. */
const wrong = (
  change: (provider: Provider, host: ProviderHost, config: Record<string, unknown>) => Partial<Provider>,
) => ({
  ...container,
  create(host: ProviderHost, config: Record<string, unknown>) {
    const provider = container.create(host, config);
    return { ...provider, ...change(provider, host, config) };
  },
});
const gone = { state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null } as const;

/** Each mistake, and the beginnings of the names of cases that must see it. */
const MISTAKES: [what: string, plugin: ProviderPlugin, cases: string[]][] = [
  [
    "a list that swallows errors",
    wrong((provider) => ({ listOwned: (id) => provider.listOwned(id).catch(() => []) })),
    ["listOwned() throws"],
  ],
  [
    "a delete that is believed at once",
    wrong((provider) => ({ terminate: (handle) => provider.terminate(handle).then(() => ({ gone: true }) as const) })),
    ["a delete that the vendor did not"],
  ],
  [
    "a delete that hides its failure",
    wrong((provider) => ({ terminate: (handle) => provider.terminate(handle).catch(() => ({ gone: true }) as const) })),
    ["a delete that the vendor did not"],
  ],
  [
    "an outage that looks like the end of the work",
    wrong((provider) => ({ describe: (handle) => provider.describe(handle).catch(() => gone) })),
    ["a vendor that fails is no sign", "a refused key is said", "a rate limit with"],
  ],
  [
    "a price limit that is not looked at",
    wrong((provider) => ({
      launch: (spec, offer, context) => provider.launch(spec, offer, { ...context, maxPricePerHour: null }),
    })),
    ["a machine that costs more"],
  ],
  [
    "a secret in the machine's variables",
    wrong((provider, _host, config) => ({
      launch: (spec, offer, context) =>
        provider.launch({ ...spec, env: { SETUP: btoa(`key ${config.api_key} for all`) } }, offer, context),
    })),
    ["no secret of the configuration"],
  ],
  [
    "launches that do not wait for each other",
    {
      ...container,
      create: (host, config) => container.create({ ...host, inTurn: (_name, work) => work() }, config),
    },
    ["five launches of one key"],
  ],
  [
    "a key of its own for each launch",
    wrong((provider) => ({
      launch: async (spec, offer, context) => ({
        ...(await provider.launch(spec, offer, { ...context, key: crypto.randomUUID() })),
        key: context.key,
      }),
    })),
    ["five launches of one key", "a create whose answer is lost", "a restarted server finds"],
  ],
  [
    "a refused key that is tried again and again",
    {
      ...container,
      create(host, config) {
        const often = async (input: string | URL | Request, init?: RequestInit) => {
          for (let i = 0; i < 9; i++) {
            const answer = await host.fetch(input as string, init);
            if (answer.status !== 401) return answer;
          }
          return host.fetch(input as string, init);
        };
        return container.create({ ...host, fetch: often as typeof fetch }, config);
      },
    },
    ["a refused key is said"],
  ],
  [
    "offers without a price",
    wrong((provider) => ({
      offers: async (need) => (await provider.offers(need)).map((offer) => ({ ...offer, pricePerHour: 0 })),
    })),
    ["offers of rented machines"],
  ],
  [
    "no deadline",
    wrong((provider) => ({
      launch: (spec, offer, context) => provider.launch(spec, offer, { ...context, deadline: 4_102_444_800_000 }),
    })),
    ["the machine or the vendor knows"],
  ],
  ["no report of the account", wrong(() => ({ inspect: undefined })), ["capability flags", "inspect() reports"]],
];

describe("a plugin fails with", () => {
  for (const [what, plugin, names] of MISTAKES)
    test(what, async () => {
      for (const name of names) {
        const one = casesFor(plugin).find((each) => each.name.startsWith(name));
        if (!one) throw new Error(`no case is called ${name}`);
        const { make, tools } = setup(plugin);
        const result = await runCase(one, make, { ...tools, patienceMs: 1000 });
        expect(`${result.outcome} ${name}`).toBe(`failed ${name}`);
        expect(result.detail.length).toBeGreaterThan(10);
      }
    });
});
