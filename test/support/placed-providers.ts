/** Providers here and elsewhere that launch nothing and remember where they would have. */
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { Offer, Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { Ctx } from "../../src/ctx.ts";

/** A provider with these offers; counts what it launches elsewhere. */
export function providerOf(id: string, local: boolean, offers: (boolean | undefined)[]) {
  const launched: { jobId: string; elsewhere: boolean }[] = [];
  const shelf = offers.map(
    (here, n): Offer => ({
      ...OWN_MACHINE,
      id: `${id}${n}`,
      location: id,
      gpus: 0,
      gpuName: null,
      gpuMemoryMb: 0,
      cpus: 64,
      memoryMb: 500_000,
      startsInS: 0,
      available: true,
      ...(here === undefined ? {} : { local: here }),
    }),
  );
  const provider = {
    validate: async () => ({ ok: true as const }),
    offers: async () => shelf,
    async launch(_spec: unknown, offer: Offer, context: { key: string; labels: Record<string, string> }) {
      launched.push({ jobId: context.labels.job ?? "", elsewhere: !(offer.local ?? local) });
      return { provider: id, key: context.key };
    },
    describe: async () => ({ state: "running", exitCode: null, reason: null, startedAt: null, endedAt: null }),
    terminate: async () => ({ gone: true as const }),
    listOwned: async () => [],
  } as unknown as Provider;
  const capabilities = {
    logs: false,
    gpus: false,
    survivesServer: true,
    local,
    priced: !local,
    spot: false,
    vendorDeadline: false,
    multiNode: false,
  };
  const plugin: ProviderPlugin = {
    id,
    title: id,
    contract: 2,
    kind: "machine",
    capabilities,
    config: [],
    create: () => provider,
  };
  return { plugin, provider, launched };
}
export type FakeProvider = ReturnType<typeof providerOf>;

/** Makes them the providers of an installation. */
export function useProviders(ctx: Ctx, all: FakeProvider[]): void {
  ctx.compute = {
    get: (id: string) => all.find(({ plugin }) => plugin.id === id) ?? null,
    list: () => all,
  };
}
