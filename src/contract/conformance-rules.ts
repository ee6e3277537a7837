/** Conformance cases about manifest, configuration, offers and errors. They launch no work that should succeed. */
import type { ConformanceCase } from "./conformance-case.ts";
import { expect, failureKind, launch } from "./conformance-tools.ts";
import { PROVIDER_CONTRACT } from "./provider.ts";

const IMPOSSIBLE = { gpus: 4096, gpu_memory_mb: 10_000_000, cpus: 100_000, memory_mb: 1_000_000_000 };

export const RULE_CASES: readonly ConformanceCase[] = [
  {
    name: "the manifest is complete and speaks this contract",
    async check(_make, { plugin }) {
      expect(
        plugin.contract === PROVIDER_CONTRACT,
        `contract is ${plugin.contract}, this host speaks ${PROVIDER_CONTRACT}`,
      );
      expect(/^[a-z][a-z0-9-]{0,31}$/.test(plugin.id), "id must be 1 to 32 of a-z, 0-9 and -, a letter first");
      expect(plugin.title.trim().length > 0, "title is empty");
      expect(["container", "machine", "process"].includes(plugin.kind), `kind "${plugin.kind}" is unknown`);
      const names = plugin.config.map((field) => field.name);
      expect(new Set(names).size === names.length, "two configuration fields have one name");
      for (const field of plugin.config) {
        expect(/^[a-z][a-z0-9_]*$/.test(field.name), `configuration field "${field.name}": use snake_case`);
        expect(field.label && field.help, `configuration field "${field.name}" needs a label and a help text`);
        expect(
          field.type !== "secret" || field.default === undefined,
          `secret "${field.name}" must not have a default`,
        );
      }
      return undefined;
    },
  },
  {
    name: "capability flags agree with the methods present",
    async check(make, { plugin }) {
      const provider = make();
      for (const method of ["validate", "offers", "launch", "describe", "terminate", "listOwned"] as const)
        expect(typeof provider[method] === "function", `${method}() is missing`);
      expect(
        plugin.capabilities.logs === (typeof provider.logs === "function"),
        `capabilities.logs is ${plugin.capabilities.logs}, logs() is ${provider.logs ? "there" : "missing"}`,
      );
      expect(
        !plugin.capabilities.priced || typeof provider.inspect === "function",
        "capabilities.priced is set, and inspect() is missing",
      );
      return undefined;
    },
  },
  {
    name: "a working configuration validates",
    async check(make) {
      const answer = await make().validate();
      expect(answer.ok, `validate() found: ${answer.ok ? "" : JSON.stringify(answer.problems)}`);
      return undefined;
    },
  },
  {
    name: "an invalid configuration is reported by field, not thrown",
    async check(make, { plugin }) {
      const breakable = plugin.config.filter((field) => field.type !== "boolean");
      if (breakable.length === 0) return { skipped: "no configuration field that could be wrong" };
      const broken = Object.fromEntries(
        breakable.map((field) => [field.name, field.type === "integer" ? -12345.5 : "\u0000 wrong"]),
      );
      const answer = await make(broken).validate();
      expect(!answer.ok, "validate() accepted an invalid configuration");
      for (const problem of answer.ok ? [] : answer.problems)
        expect(problem.field && problem.message && problem.remedy, "a problem needs field, message and remedy");
      return undefined;
    },
  },
  {
    name: "offers fit the need, best first, with honest numbers",
    async check(make, { need }) {
      const offers = await make().offers(need);
      expect(offers.length > 0, "offers() gave nothing for the need of the test");
      expect(new Set(offers.map((offer) => offer.id)).size === offers.length, "two offers have one id");
      for (const offer of offers) {
        expect(offer.gpus >= need.gpus, `offer ${offer.id} has ${offer.gpus} GPUs, ${need.gpus} are needed`);
        expect(offer.gpuMemoryMb >= need.gpu_memory_mb, `offer ${offer.id} has too little GPU memory`);
        expect(offer.cpus >= need.cpus && offer.memoryMb >= need.memory_mb, `offer ${offer.id} is too small`);
        expect(Number.isFinite(offer.pricePerHour) && offer.pricePerHour >= 0, `offer ${offer.id}: price`);
        expect(Number.isFinite(offer.startsInS) && offer.startsInS >= 0, `offer ${offer.id}: startsInS`);
        const ceiling = need.max_price_per_hour;
        expect(ceiling === null || offer.pricePerHour <= ceiling, `offer ${offer.id} is over the price ceiling`);
      }
      return undefined;
    },
  },
  {
    name: "a need that nothing can meet gets no offer",
    async check(make, { need }) {
      const offers = await make().offers({ ...need, ...IMPOSSIBLE });
      expect(offers.length === 0, `offers() gave ${offers.length} for 4096 GPUs`);
      return undefined;
    },
  },
  {
    name: "a malformed launch key is refused as invalid",
    async check(make, tools) {
      for (const key of ["", "UPPER", "a/b", "../up", "x".repeat(65)]) {
        try {
          await launch(make(), tools, { argv: tools.python("pass"), key });
        } catch (error) {
          expect(failureKind(error) === "invalid", `key "${key}": the error kind is not "invalid"`);
          continue;
        } finally {
          tools.cleanup.pop();
        }
        throw new Error(`key "${key}" was accepted`);
      }
      return undefined;
    },
  },
  {
    name: "unknown work is absent, and terminating it is success",
    async check(make, tools) {
      const handle = { provider: tools.plugin.id, key: tools.key() };
      const status = await make().describe(handle);
      expect(status.state === "absent", `describe() says "${status.state}"`);
      expect((await make().terminate(handle)).gone, "terminate() does not say gone");
      return undefined;
    },
  },
];
