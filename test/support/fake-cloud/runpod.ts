/** RunPod as the fake cloud speaks it: REST v2, and the three GraphQL operations of spot pods. */
import type { Answer, Dialect, FakeCloud, Machine, MachineType, Order, Refusal, Request } from "./core.ts";

const TYPES: MachineType[] = [
  ["NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34],
  ["NVIDIA L40S", "L40S", 48, 0.86, 0.43],
  ["NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 1.64, 0.82],
  ["NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, 1.5],
].map(([id, gpuName, gpuMemoryGb, price, spotPrice]) => ({
  id: String(id),
  gpuName: String(gpuName),
  gpuMemoryGb: Number(gpuMemoryGb),
  price: Number(price),
  spotPrice: Number(spotPrice),
  gpus: 1,
  vcpus: 8,
  memoryGb: 32,
  diskGb: 200,
}));

const REGIONS = [
  { id: "EU-RO-1", name: "EU Romania 1", country: "RO" },
  { id: "US-KS-2", name: "US Kansas 2", country: "US" },
  { id: "US-CA-2", name: "US California 2", country: "US" },
];

const REFUSALS: Record<Refusal, [status: number, title: string, detail: string]> = {
  unauthorized: [401, "Unauthorized", "The API key is invalid or expired."],
  forbidden: [403, "Forbidden", "This API key has no permission for this action."],
  no_capacity: [
    400,
    "Bad Request",
    "There are no longer any instances available with the requested specifications. Please refresh and try again.",
  ],
  quota: [400, "Bad Request", "Your account has reached its spend limit."],
  balance: [402, "Payment Required", "Your balance is too low to create a pod."],
  rate_limited: [429, "Too Many Requests", "Rate limit exceeded for window minute."],
  server_error: [500, "Internal Server Error", "Something went wrong."],
  not_found: [404, "Not Found", "Pod not found."],
  invalid: [400, "Bad Request", "gpu.id is not a known GPU type."],
};

function refuse(why: Refusal): Answer {
  const [status, title, detail] = REFUSALS[why];
  return { status, body: { title, status, detail }, headers: { "content-type": "application/problem+json" } };
}

const iso = (at: number) => new Date(at).toISOString();

function podView(cloud: FakeCloud, pod: Machine): unknown {
  const state = cloud.stateOf(pod);
  const running = state === "running";
  const [first, last] = [pod.createdAt + 3000, pod.bootsAt];
  const booting = cloud.now() < first ? "PROVISIONING" : "STARTING";
  const ended = pod.ended !== null && (pod.endedAt ?? 0) <= cloud.now();
  return {
    id: pod.id,
    name: pod.name,
    status: ended ? "EXITED" : state === "booting" ? booting : "RUNNING",
    actions: ended ? ["start", "terminate"] : ["stop", "restart", "terminate"],
    image: pod.image ?? "",
    args: "",
    disk: 50,
    mounts: {},
    ports: [],
    env: pod.env,
    registry: null,
    gpu: { id: pod.type, count: pod.count },
    cloud: "SECURE",
    dataCenterId: pod.region,
    cudaVersion: "12.8",
    ssh: { proxy: null, direct: null },
    template: null,
    cost: ended ? 0 : pod.pricePerHour,
    locked: false,
    globalNetworking: { enabled: false },
    runtime: running ? { uptime: Math.floor((cloud.now() - last) / 1000), gpus: [], ports: [] } : null,
    createdAt: iso(pod.createdAt),
    startedAt: cloud.now() < last ? null : iso(last),
  };
}

const level = (free: number) => (free <= 0 ? "NONE" : free < 3 ? "LOW" : "HIGH");

function catalog(cloud: FakeCloud, query: URLSearchParams): Answer {
  const countries = query.get("countryCodes")?.split(",") ?? null;
  const places = cloud.dialect.regions.filter(({ country }) => !countries || countries.includes(country));
  const free = Math.max(0, ...places.map(({ id }) => cloud.capacity(id)));
  const gpus = cloud.dialect.types.map(({ id }) => {
    const type = cloud.typeOf(id) as MachineType;
    return {
      id,
      name: type.gpuName,
      pool: null,
      manufacturer: "NVIDIA",
      memory: type.gpuMemoryGb,
      secure: true,
      community: true,
      price: { secure: type.price, community: type.price },
      maxCount: { secure: 8, community: 4 },
      availability: level(free),
      dataCenters: places.map((place) => ({
        ...place,
        country: undefined,
        availability: level(cloud.capacity(place.id)),
      })),
      cudaVersions: [{ version: "12.8", available: true }],
    };
  });
  return { status: 200, body: { gpus } };
}

interface PodBody {
  name: string;
  image: string;
  env?: Record<string, string>;
  gpu?: { id: string; count?: number };
  dataCenterIds?: string[];
}

function place(cloud: FakeCloud, order: Order): Answer {
  const made = cloud.create(order);
  return typeof made === "string" ? refuse(made) : { status: 201, body: podView(cloud, made) };
}

/** What GraphQL answers: HTTP 200, and `errors` when something went wrong. */
function graphql(cloud: FakeCloud, body: unknown): Answer {
  const { query = "", variables = {} } = body as { query?: string; variables?: { input?: Record<string, unknown> } };
  const data = (value: unknown): Answer => ({ status: 200, body: { data: value } });
  const fail = (message: string, code = "RUNPOD"): Answer => ({
    status: 200,
    body: { errors: [{ message, extensions: { code } }], data: null },
  });
  if (query.includes("myself")) return data({ myself: { clientBalance: cloud.account.balance } });
  if (query.includes("gpuTypes")) {
    const count = Number(variables.input?.gpuCount ?? 1);
    const gpuTypes = cloud.dialect.types.map(({ id }) => {
      const type = cloud.typeOf(id);
      return { id, lowestPrice: { minimumBidPrice: type?.spotPrice, minVcpu: 8 * count, minMemory: 32 * count } };
    });
    return data({ gpuTypes });
  }
  if (!query.includes("podRentInterruptable"))
    return fail(`Cannot query this field: ${query.slice(0, 60)}`, "GRAPHQL_VALIDATION_FAILED");
  const input = variables.input ?? {};
  const type = cloud.typeOf(String(input.gpuTypeId));
  if (Number(input.bidPerGpu) < (type?.spotPrice ?? Number.POSITIVE_INFINITY))
    return fail("Your bid is below the current minimum bid.");
  const made = cloud.create({
    name: String(input.name),
    type: String(input.gpuTypeId),
    count: Number(input.gpuCount),
    regions: input.dataCenterId ? [String(input.dataCenterId)] : [],
    spot: true,
    image: String(input.imageName),
    env: Object.fromEntries((input.env as { key: string; value: string }[]).map(({ key, value }) => [key, value])),
    endsAt: input.terminateAfter ? Date.parse(String(input.terminateAfter)) : null,
  });
  if (typeof made === "string") return fail(REFUSALS[made][2]);
  return data({ podRentInterruptable: { id: made.id, costPerHr: made.pricePerHour, desiredStatus: "RUNNING" } });
}

const PER_MINUTE = 60;

/** Requests left in the last minute, and seconds until there is one again. */
function secondsLeft(cloud: FakeCloud): { left: number; seconds: number } {
  const recent = [...cloud.recent(60_000)];
  const left = Math.max(0, PER_MINUTE - recent.length);
  const oldest = recent.at(PER_MINUTE - 1) ?? recent.at(-1);
  return { left, seconds: left > 0 || !oldest ? 0 : Math.max(1, Math.ceil((oldest.at + 60_000 - cloud.now()) / 1000)) };
}

export const RUNPOD: Dialect = {
  types: TYPES,
  regions: REGIONS,
  bootMs: 40_000,
  newId: (random) => Array.from({ length: 14 }, () => Math.floor(random() * 36).toString(36)).join(""),
  refuse,

  overLimit: (cloud) => secondsLeft(cloud).seconds,
  headers(cloud): Record<string, string> {
    if (!cloud.limited) return {};
    const { left, seconds } = secondsLeft(cloud);
    return {
      ratelimit: `"minute";r=${left};t=${Math.max(1, seconds)}`,
      "ratelimit-policy": `"minute";q=${PER_MINUTE};w=60`,
    };
  },

  operation({ method, path, body }) {
    if (path === "/graphql") {
      const query = (body as { query?: string } | null)?.query ?? "";
      return query.includes("podRentInterruptable") ? "create" : query.includes("gpuTypes") ? "types" : "account";
    }
    if (path === "/v2/pods") return method === "POST" ? "create" : "list";
    if (path.startsWith("/v2/pods/")) return method === "DELETE" ? "delete" : "get";
    return path === "/v2/catalog/gpus" ? "types" : "other";
  },

  answer(cloud: FakeCloud, { method, path, query, body }: Request): Answer {
    if (path === "/graphql") return graphql(cloud, body);
    if (path === "/v2/catalog/gpus") return catalog(cloud, query);
    if (path === "/v2/pods" && method === "GET")
      return { status: 200, body: { pods: cloud.listed().map((pod) => podView(cloud, pod)) } };
    if (path === "/v2/pods" && method === "POST") {
      const given = body as PodBody;
      if (!given.name || !given.image || !given.gpu)
        return {
          ...refuse("invalid"),
          status: 422,
          body: { title: "Unprocessable Entity", status: 422, detail: "name" },
        };
      const { name, image, env, gpu, dataCenterIds } = given;
      return place(cloud, { name, image, env, type: gpu.id, count: gpu.count, regions: dataCenterIds ?? [] });
    }
    const pod = cloud.get(path.split("/").at(-1) ?? "");
    if (!path.startsWith("/v2/pods/") || !pod) return refuse("not_found");
    if (method === "GET") return { status: 200, body: podView(cloud, pod) };
    if (method !== "DELETE") return refuse("not_found");
    cloud.remove(pod.id);
    return { status: 204 };
  },
};
