/** Operations of the `images` verbs on an engine: build, pull, save, load, inspect, and a check without network. */
import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Engine } from "../../../plugins/docker/engines.ts";
import { assetsHash } from "../../assets.ts";
import { imageContext } from "../../compute/images/context.ts";
import { type PinnedImage, ROLES, type Role } from "../../compute/images/service.ts";
import { AppError } from "../../errors.ts";
import { tarOf } from "../../lib/disk/tar.ts";
import { resolveBase } from "./base.ts";
import { type BuildOptions, baseName, lookInsideProgram, planBuild } from "./plan.ts";
import { followImage, type Show } from "./stream.ts";

/** Labels of the images, set by the Dockerfiles. */
const LABELS = { role: "ft.role", variant: "ft.variant", version: "ft.version", engine: "ft.engine" };
/** Set by the build; names of the Open Container Initiative. */
const BASE_NAME = "org.opencontainers.image.base.name";
const BASE_DIGEST = "org.opencontainers.image.base.digest";

export interface FoundImage extends PinnedImage {
  role: Role;
  /** The engine of an inference image; null for others. */
  engine: string | null;
  /** Its base image and the digest of the base; null when unknown, or when no registry has it. */
  base: { name: string; digest: string | null } | null;
  bytes: number;
}

interface Inspected {
  Id: string;
  RepoTags?: string[] | null;
  Size: number;
  Created: string;
  Config?: { Labels?: Record<string, string> | null };
}

/**
 * Returns null for a 404 of an engine.
 * @throws any other error
 */
function missing(error: unknown): null {
  if ((error as { statusCode?: number }).statusCode === 404) return null;
  throw error;
}

function foundOf(info: Inspected): FoundImage | null {
  const labels = info.Config?.Labels ?? {};
  const role = ROLES.find((one) => one === labels[LABELS.role]);
  if (!role) return null;
  return {
    role,
    id: info.Id,
    tag: info.RepoTags?.[0] ?? "",
    variant: labels[LABELS.variant] ?? "unknown",
    engine: labels[LABELS.engine] ?? null,
    version: labels[LABELS.version] ?? "unknown",
    base: labels[BASE_NAME] ? { name: labels[BASE_NAME], digest: labels[BASE_DIGEST] || null } : null,
    created_at: Math.floor(Date.parse(info.Created) / 1000),
    bytes: info.Size,
  };
}

/** An image of Fine-Tune Lab by id or tag; null when the engine does not have it. */
export async function findImage({ docker }: Engine, name: string): Promise<FoundImage | null> {
  const info = (await docker.getImage(name).inspect().catch(missing)) as Inspected | null;
  return info && foundOf(info);
}

/** All images of Fine-Tune Lab on the engine, newest first. */
export async function listImages(engine: Engine): Promise<FoundImage[]> {
  const rows = await engine.docker.listImages({ filters: { label: [LABELS.role] } });
  const found = await Promise.all(rows.map(({ Id }) => findImage(engine, Id)));
  return found.filter((one) => one !== null).sort((a, b) => b.created_at - a.created_at);
}

/**
 * Builds from the embedded sources, on a base pinned by digest.
 * @param bases digests of earlier builds, by name of the base; with `renew` the tag is pulled again
 * @throws AppError `image_failed`, `base_image_gone`
 */
export async function buildImage(
  engine: Engine,
  options: BuildOptions,
  show: Show,
  { bases, renew }: { bases: Record<string, string>; renew: boolean } = { bases: {}, renew: false },
): Promise<FoundImage> {
  const name = baseName(options);
  const base = await resolveBase(engine, name, { recorded: bases[name] ?? null, renew }, show);
  const { folders, entries, bytes } = imageContext(options.wheels);
  const { tag, dockerfile, buildargs } = planBuild(
    { ...options, base: base.reference },
    assetsHash("trainer").slice(0, 16),
  );
  let sent = 0;
  async function* counted() {
    for await (const chunk of tarOf(folders, entries)) {
      sent += chunk.length;
      show(`Sending sources and wheels to ${engine.id} (${Math.round(bytes / 1e6)} MB)`, Math.min(1, sent / bytes));
      yield chunk;
    }
  }
  const stream = await engine.docker.buildImage(Readable.from(counted()), {
    t: tag,
    dockerfile,
    networkmode: options.network,
    forcerm: true,
    buildargs,
    // An empty label hides the one of the base.
    labels: { [BASE_NAME]: base.name, [BASE_DIGEST]: base.digest ?? "" },
  });
  const { id } = await followImage(stream as Readable, show);
  const found = await findImage(engine, id ?? tag);
  if (!found) throw new AppError("internal", "image_failed", `${engine.id} built an image that cannot be found.`);
  return found;
}

/** Pulls by digest. @throws AppError `image_failed`, `image_foreign` */
export async function pullImage(engine: Engine, reference: string, show: Show): Promise<FoundImage> {
  const stream = await engine.docker.pull(reference);
  await followImage(stream as Readable, show);
  return ours(await findImage(engine, reference), reference);
}

function ours(found: FoundImage | null, name: string): FoundImage {
  if (found) return found;
  const message = `${name} is not an image of Fine-Tune Lab: it does not have the label ${LABELS.role}.`;
  throw new AppError("invalid", "image_foreign", message);
}

/** Writes an image to a file, as `docker save` does. Returns the bytes written. */
export async function saveImage(engine: Engine, image: FoundImage, file: string, show: Show): Promise<number> {
  // By tag when there is one, so that the loaded image has the same name.
  const stream = (await engine.docker.getImage(image.tag || image.id).get()) as Readable;
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    show(`Writing ${file} (${Math.round(bytes / 1e6)} MB)`, Math.min(1, bytes / image.bytes));
  });
  await pipeline(stream, createWriteStream(file, { mode: 0o600 }));
  return bytes;
}

/** Loads a file that `saveImage` wrote. @throws AppError `image_failed` */
export async function loadImage(engine: Engine, file: string, id: string, show: Show): Promise<FoundImage> {
  const stream = await engine.docker.loadImage(createReadStream(file), { quiet: false });
  await followImage(stream as unknown as Readable, show);
  return ours(await findImage(engine, id), id);
}

/**
 * Starts the image without network and privileges, and imports the packages that trainers need. Returns the printed
 * versions.
 * @throws AppError `image_broken`
 */
export async function lookInside({ docker }: Engine, image: FoundImage): Promise<Record<string, string>> {
  const container = await docker.createContainer({
    Image: image.id,
    Entrypoint: ["python3", "-c", lookInsideProgram(image.engine)],
    Cmd: [],
    User: "1000:1000",
    Tty: true,
    HostConfig: {
      NetworkMode: "none",
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges:true"],
      Tmpfs: { "/tmp": "rw,size=256m,mode=1777", "/scratch": "rw,size=64m,mode=1777" },
    },
  });
  try {
    await container.start();
    const { StatusCode } = (await container.wait()) as { StatusCode: number };
    const output = (await container.logs({ follow: false, stdout: true, stderr: true })).toString("utf8").trim();
    const line = output.split("\n").findLast((one) => one.startsWith("{"));
    if (StatusCode === 0 && line) return JSON.parse(line) as Record<string, string>;
    throw new AppError("invalid", "image_broken", `${image.tag || image.id} does not work: ${output.slice(-1500)}`);
  } finally {
    await container.remove({ force: true, v: true });
  }
}
