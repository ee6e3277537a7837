/** Starts the container of a launch with its image, GPUs, files and, on a remote host, its network. */
import type { Handle, LaunchContext, LaunchSpec, Offer, ProviderHost } from "../../src/contract/provider.ts";
import { containerFor, LABEL, type Order, tokenMark } from "./container.ts";
import type { Engine } from "./engines.ts";
import { engineFailure, statusOf as httpStatus } from "./errors.ts";
import { choose } from "./gpus.ts";
import { forget, localFiles } from "./local-files.ts";
import { within } from "./machines.ts";
import { handleOf, isKey, lookUp, on, type Parts, remove } from "./parts.ts";
import type { Settings } from "./settings.ts";

const PINNED = /^(sha256:[0-9a-f]{64}|[a-z0-9][A-Za-z0-9._/:-]{0,180}@sha256:[0-9a-f]{64})$/;
const GPU_UUID = /^(GPU|MIG)-[A-Za-z0-9/-]{8,80}$/;
const CREATE_MS = 60_000;

/** The id of the image on the engine. Jobs refer to images by digest or id, so that they cannot change. */
async function imageId({ host, settings }: Parts, engine: Engine, spec: LaunchSpec): Promise<string> {
  if (spec.image !== null && !PINNED.test(spec.image))
    throw host.error("invalid", "A job must refer to its image by id or digest.", { reason: "image_missing" });
  const name = spec.image ?? settings.image;
  try {
    return (await within(engine.docker.getImage(name).inspect())).Id;
  } catch (error) {
    if (httpStatus(error) !== 404) throw engineFailure(host, engine, error);
    const remedy = "Build it with `finetune-lab images build`, or load it with `finetune-lab images load`.";
    throw host.error("invalid", `The image ${name} is missing on ${engine.id}. ${remedy}`, {
      reason: "image_missing",
    });
  }
}

async function ensureNetwork(engine: Engine, settings: Settings): Promise<void> {
  const filters = { name: [settings.network] };
  const known = await within(engine.docker.listNetworks({ filters }));
  if (known.some(({ Name }) => Name === settings.network)) return;
  await within(
    engine.docker.createNetwork({
      Name: settings.network,
      Driver: "bridge",
      CheckDuplicate: true,
      // Jobs of different users must not reach each other.
      Options: { "com.docker.network.bridge.enable_icc": "false" },
      Labels: { [LABEL.managed]: "true" },
    }),
  );
}

/** Creates and starts the container, and removes it when the start fails. */
async function start(host: ProviderHost, engine: Engine, order: Order): Promise<void> {
  await on(host, engine, async () => {
    const container = await within(engine.docker.createContainer(containerFor(order)), CREATE_MS);
    try {
      await within(container.start(), CREATE_MS);
    } catch (error) {
      await container.remove({ force: true, v: true }).catch(() => {});
      throw error;
    }
  });
}

function namedGpus(host: ProviderHost, spec: LaunchSpec): string[] {
  const gpus = spec.need.gpus === 0 ? [] : (spec.gpus ?? []);
  if (gpus.length !== spec.need.gpus || !gpus.every((uuid) => GPU_UUID.test(uuid)))
    throw host.error("invalid", `The job needs ${spec.need.gpus} GPUs by UUID, but got: ${gpus.join(", ") || "none"}`);
  return gpus;
}

/** Starts with the GPUs that the server allocated, or with free GPUs of the engine. */
async function startWithGpus(parts: Parts, engine: Engine, order: Omit<Order, "gpus">): Promise<void> {
  const { host, machines } = parts;
  const { spec } = order;
  if (spec.need.gpus === 0 || spec.gpus) return start(host, engine, { ...order, gpus: namedGpus(host, spec) });
  await host.inTurn(`gpus ${engine.id}`, async () => {
    const free = await on(host, engine, () => machines.freeGpus(engine));
    const gpus = choose(free, spec.need);
    if (!gpus) throw host.error("no_capacity", `${engine.id} does not have ${spec.need.gpus} suitable free GPUs.`);
    await start(host, engine, { ...order, gpus: gpus.map(({ uuid }) => uuid) });
  });
}

/** Checks that the work can run on a remote host, and creates the network. */
async function prepareRemote({ host, settings }: Parts, engine: Engine, spec: LaunchSpec, context: LaunchContext) {
  if (context.callHome.url.startsWith("unix:"))
    throw host.error("invalid", "Containers on remote hosts connect to the server over HTTPS: set public_url.");
  if (spec.kind === "serve") throw host.error("invalid", "Endpoints can run only on the server's own machine.");
  await on(host, engine, () => ensureNetwork(engine, settings));
}

async function launchOn(parts: Parts, engine: Engine, spec: LaunchSpec, context: LaunchContext): Promise<Handle> {
  const { host, settings, machines } = parts;
  const { key } = context;
  if (!engine.local) await prepareRemote(parts, engine, spec, context);
  const order = {
    installation: host.installation,
    settings,
    spec,
    context,
    image: await imageId(parts, engine, spec),
    machine: await on(host, engine, () => machines.machine(engine)),
    local: engine.local ? await localFiles(host, spec, key, context.callHome.url) : null,
  };
  try {
    await startWithGpus(parts, engine, order);
  } catch (error) {
    await forget(host, key);
    throw error;
  }
  return handleOf(host, engine, key);
}

/**
 * Starts `spec` on the engine of `offer`, or finds the container that this key already has.
 * @throws ProviderFailure `invalid`, `no_capacity`, `transient`
 */
export async function launch(parts: Parts, spec: LaunchSpec, offer: Offer, context: LaunchContext): Promise<Handle> {
  const { host, settings } = parts;
  const { key } = context;
  if (!isKey(key)) throw host.error("invalid", "A launch key is 1 to 64 of a-z, 0-9 and -.");
  if (spec.argv?.length === 0) throw host.error("invalid", "argv must name a program.");
  return host.inTurn(`key ${key}`, async () => {
    const engine = settings.engines.find(({ id }) => id === offer.id);
    if (!engine) throw host.error("invalid", `There is no engine with the name "${offer.id}".`);
    const found = await lookUp(host, engine, key);
    const same = found?.info.Config.Labels[LABEL.token] === tokenMark(context.callHome.token);
    if (found && same && found.info.State.Status !== "created") return handleOf(host, engine, key);
    // Left by a server that was killed in between: never started, or with an expired token.
    if (found && (await remove(host, found)) === "later")
      throw host.error("transient", "A container of this key is still being removed.", { retryAfterS: 1 });
    return launchOn(parts, engine, spec, context);
  });
}
