/** Pods: how they are created, read and deleted. They have no tags, so name and environment say whose they are. */
import type { LaunchContext, LaunchSpec, Offer, ProviderHost, WorkStatus } from "../../src/contract/provider.ts";
import type { Rented, Vendor } from "../shared/fleet.ts";
import { readLabels, rentedEnv, rentedName } from "../shared/rented.ts";
import type { Api } from "./api.ts";
import { bidFor, type Catalog } from "./offers.ts";
import type { Settings } from "./settings.ts";

interface Pod {
  id: string;
  name: string;
  status: "PROVISIONING" | "STARTING" | "RUNNING" | "EXITED" | "ERROR" | "TERMINATED";
  env: Record<string, string>;
  dataCenterId: string | null;
  cost: number;
  createdAt: string;
  startedAt: string | null;
}

const STATES: Record<Pod["status"], WorkStatus["state"]> = {
  PROVISIONING: "starting",
  STARTING: "starting",
  RUNNING: "running",
  EXITED: "exited",
  ERROR: "exited",
  TERMINATED: "absent",
};

const RENT = `mutation Rent($input: PodRentInterruptableInput!) {
  podRentInterruptable(input: $input) { id costPerHr desiredStatus }
}`;

/** Set in spot pods, because the API does not say later what a pod is. */
const MARKET = "FTL_MARKET";

const at = (text: string | null) => (text === null ? null : Date.parse(text) || null);

/** @param skewMs how far RunPod's clock is ahead of ours */
function statusOf(pod: Pod, skewMs: number): WorkStatus {
  const state = STATES[pod.status] ?? "running";
  const ended = state === "exited";
  const spot = pod.env[MARKET] === "spot";
  const createdAt = at(pod.createdAt);
  const why = spot
    ? "RunPod took the spot pod back"
    : "RunPod stopped the pod (balance used up, or stopped in its console)";
  return {
    state,
    // RunPod knows no exit codes: it restarts a container that exits. The trainer reports its own end.
    exitCode: null,
    reason: ended ? (pod.status === "ERROR" ? "RunPod reports an error of the pod" : why) : null,
    // A stopped pod was up before, even where the API forgot when.
    startedAt: at(pod.startedAt) ?? (state === "running" || ended ? at(pod.createdAt) : null),
    endedAt: null,
    ...(ended ? { preempted: true } : {}),
    ...(pod.cost > 0 ? { pricePerHour: pod.cost } : {}),
    ...(createdAt === null ? {} : { chargedFrom: createdAt - skewMs }),
    charged: !ended,
  };
}

/** The pod as one of ours; null for any other. */
function rentedOf(pod: Pod, skewMs: number): Rented | null {
  // Fields that a later version of the API leaves out must not hide a pod that costs money.
  const env = pod.env ?? {};
  const { FTL_INSTALLATION: installation, FTL_KEY: key } = env;
  const named = /^ftl-([a-z0-9]+)-([a-z0-9-]{1,64})$/.exec(pod.name ?? "");
  const owner = installation ?? named?.[1];
  const launchKey = key ?? named?.[2];
  if (!owner || !launchKey || !(pod.name ?? "").startsWith("ftl-")) return null;
  return {
    id: pod.id,
    installation: owner,
    key: launchKey,
    labels: readLabels(env.FTL_LABELS),
    status: statusOf({ ...pod, env }, skewMs),
    region: pod.dataCenterId ?? null,
  };
}

export function createPods(
  host: ProviderHost,
  settings: Settings,
  api: Api,
  catalog: Catalog,
): Omit<Vendor, "regions"> {
  async function rentSpot(offer: Offer, context: LaunchContext, env: Record<string, string>): Promise<Rented> {
    const onDemand = await catalog.price(offer.machineType ?? "", offer.gpus);
    const input = {
      name: rentedName(host.installation, context.key),
      imageName: settings.image,
      gpuTypeId: offer.machineType,
      gpuCount: offer.gpus,
      bidPerGpu: bidFor(offer, context.maxPricePerHour, onDemand),
      cloudType: settings.cloud,
      ...(offer.region ? { dataCenterId: offer.region } : {}),
      minVcpuCount: offer.cpus,
      minMemoryInGb: Math.floor(offer.memoryMb / 1024),
      containerDiskInGb: settings.diskGb,
      volumeInGb: 0,
      dockerArgs: "",
      // An absolute time on RunPod's clock, which may differ from ours.
      terminateAfter: new Date(context.deadline + api.skewMs()).toISOString(),
      env: Object.entries({ ...env, [MARKET]: "spot" }).map(([key, value]) => ({ key, value })),
    };
    type Answer = { podRentInterruptable: { id: string; costPerHr: number | null } | null };
    const { podRentInterruptable: pod } = await api.graphql<Answer>(RENT, { input });
    if (!pod)
      throw host.error("no_capacity", "RunPod has no such spot pod now.", { vendorCode: "podRentInterruptable" });
    return fresh(pod.id, context, pod.costPerHr ?? offer.pricePerHour, offer.region);
  }

  const fresh = (id: string, context: LaunchContext, pricePerHour: number, region: string | null): Rented => ({
    id,
    installation: host.installation,
    key: context.key,
    labels: context.labels,
    status: {
      state: "starting",
      exitCode: null,
      reason: null,
      startedAt: null,
      endedAt: null,
      pricePerHour,
      chargedFrom: host.clock.now(),
    },
    region,
  });

  return {
    id: "runpod",

    async list() {
      const { pods } = await api.rest<{ pods: Pod[] }>("GET", "/v2/pods");
      if (!Array.isArray(pods)) throw host.error("transient", "RunPod's list of pods is not a list.");
      return pods.flatMap((pod) => rentedOf(pod, api.skewMs()) ?? []).filter(({ status }) => status.state !== "absent");
    },

    async get(id) {
      const pod = await api.rest<Pod | null>("GET", `/v2/pods/${encodeURIComponent(id)}`, undefined, null);
      const rented = pod && rentedOf(pod, api.skewMs());
      return rented && rented.status.state !== "absent" ? rented : null;
    },

    async remove(id) {
      await api.rest<null>("DELETE", `/v2/pods/${encodeURIComponent(id)}`, undefined, null);
    },

    async create(spec: LaunchSpec, offer: Offer, context: LaunchContext) {
      const env = rentedEnv(host, spec, context);
      if (offer.market === "spot") return rentSpot(offer, context, env);
      const price = await catalog.price(offer.machineType ?? "", offer.gpus);
      if (price !== null && context.maxPricePerHour !== null && price > context.maxPricePerHour * 1.0001)
        throw host.error("no_capacity", `RunPod asks ${price} USD per hour now.`, { reason: "price_raised" });
      const pod = await api.rest<Pod>("POST", "/v2/pods", {
        name: rentedName(host.installation, context.key),
        image: settings.image,
        gpu: { id: offer.machineType, count: offer.gpus },
        cloud: settings.cloud,
        ...(offer.region ? { dataCenterIds: [offer.region] } : {}),
        disk: settings.diskGb,
        env,
      });
      return fresh(pod.id, context, pod.cost || offer.pricePerHour, pod.dataCenterId ?? offer.region);
    },
  };
}
