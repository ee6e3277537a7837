/** The AWS plugin in front of moto, with a need, an offer and a launch. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import aws from "../../plugins/aws/index.ts";
import { createHost } from "../../src/compute/providers/host.ts";
import type { Handle, LaunchContext, LaunchSpec, Market, Offer, Provider } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { createInTurn } from "../../src/lib/in-turn.ts";
import { type AwsWorld, awsWorld } from "./aws-world.ts";

/** An image that moto has in every region. */
export const AMI = "ami-03cf127a";
export const IMAGE = `registry.example/trainer@sha256:${"ab".repeat(32)}`;
export const SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";
export const NEED: Need = {
  gpus: 1,
  gpu_memory_mb: 8000,
  cpus: 1,
  memory_mb: 128,
  disk_mb: 100,
  max_price_per_hour: null,
  provider: "aws",
};
export const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: null, env: {} };

/** Settings of the plugin for a server at `url`. */
export const awsSettings = (url: string): Record<string, unknown> => ({
  ...Object.fromEntries(aws.config.map((field) => [field.name, field.default])),
  access_key_id: "AKIAIOSFODNN7EXAMPLE",
  secret_access_key: SECRET,
  image: IMAGE,
  endpoint: url,
  instance_types: "g4dn.xlarge, g5.xlarge, g6.xlarge",
});

export interface AwsLab {
  world: AwsWorld;
  /** Milliseconds that the plugin's clock is ahead. */
  ahead: number;
  /** A plugin as a restarted server would create it. */
  make(config?: Record<string, unknown>): Provider;
  offer(market?: Market, type?: string): Promise<Offer>;
  launch(
    key: string,
    options?: { provider?: Provider; offer?: Offer; context?: Partial<LaunchContext> },
  ): Promise<Handle>;
}

/** The offer of most tests, by server: it takes moto a moment. */
const kept = new Map<string, Offer>();

/** A lab of one installation; its inventory is moto's. */
export function awsLab(url: string, installation: string): AwsLab {
  const world = awsWorld();
  const inTurn = createInTurn();
  const dir = mkdtempSync(join(tmpdir(), "ftl-aws-"));
  const clock = { ...systemClock, now: () => systemClock.now() + lab.ahead };
  world.parameters.set(String(awsSettings(url).ami), AMI);
  const lab: AwsLab = {
    world,
    ahead: 0,
    make(config) {
      const signal = new AbortController().signal;
      const trainer = async () => Promise.reject(new Error("not for rented machines"));
      const host = createHost("aws", dir, { installation, clock, log: () => {}, signal, trainer, inTurn });
      return aws.create({ ...host, fetch: world.fetch }, { ...awsSettings(url), ...config });
    },
    async offer(market = "on_demand", type = "g5.xlarge") {
      const usual = market === "on_demand" && type === "g5.xlarge" ? kept.get(url) : undefined;
      if (usual) return usual;
      const offers = await lab.make().offers(NEED);
      const found = offers.find((one) => one.market === market && one.machineType === type);
      if (!found) throw new Error(`no offer of ${type}`);
      if (market === "on_demand" && type === "g5.xlarge") kept.set(url, found);
      return found;
    },
    async launch(key, { provider = lab.make(), offer, context } = {}) {
      return provider.launch(SPEC, offer ?? (await lab.offer()), {
        key,
        labels: { job: "job_1" },
        deadline: clock.now() + 3_600_000,
        maxPricePerHour: null,
        callHome: { url: "https://lab.example", token: `ftb-${key}`, fingerprint: null },
        ...context,
      });
    },
  };
  return lab;
}
