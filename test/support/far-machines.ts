/** Processes of this machine as machines elsewhere: real trainers that read nothing of the server's disk. */
import { join } from "node:path";
import { BUNDLED } from "../../plugins/index.ts";
import { createHost } from "../../src/compute/providers/host.ts";
import type { Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { TestApp } from "./app.ts";
import { TRAINER_ENV } from "./live.ts";

/** The interpreter of trainers: a fork of the preloaded one where the test command started that. */
export const FORKED_PYTHON = process.env.FTL_TEST_FORKED_PYTHON ?? join(TRAINER_ENV, "bin/python");

/**
 * The provider `process` with such machines.
 * @param given gets what each was started with
 * @param argvOf what they run; null = the trainer
 */
export async function farMachines(
  { ctx }: TestApp,
  given: Record<string, string>[],
  argvOf: () => string[] | null = () => null,
) {
  const local = await BUNDLED.process?.();
  if (!local) throw new Error("no provider for processes");
  const trainer = async () => ({
    python: join(TRAINER_ENV, "bin/python"),
    dir: join(import.meta.dir, "../../trainer"),
  });
  const tools = createHost("process", ctx.files.path("process"), { ...ctx, trainer });
  const inner = local.create(tools, { nice: 0, warm_s: 0 });
  const provider: Provider = Object.assign(Object.create(inner) as Provider, {
    hosts: undefined,
    offers: async (...need: Parameters<Provider["offers"]>) =>
      (await inner.offers(...need)).map((offer) => ({ ...offer, market: "on_demand", pricePerHour: 1, local: false })),
    launch(...[spec, offer, context]: Parameters<Provider["launch"]>) {
      const { url, token, fingerprint } = context.callHome;
      given.push({ url, token, fingerprint: fingerprint ?? "" });
      const env = { ...spec.env, FTL_HOME_FINGERPRINT: fingerprint ?? "" };
      return inner.launch({ ...spec, argv: argvOf(), env }, offer, context);
    },
  });
  const capabilities = { ...local.capabilities, local: false, priced: true };
  const plugin: ProviderPlugin = { ...local, kind: "machine", capabilities };
  return { get: (id: string) => (id === "process" ? { plugin, provider } : null), list: () => [{ plugin, provider }] };
}
