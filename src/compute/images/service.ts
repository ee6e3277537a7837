/** The pinned container images of this installation: one per role, by id, so that jobs can freeze the exact image. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { AppError } from "../../errors.ts";
import type { Files } from "../../lib/disk/files.ts";

/** `trainer` runs training, evaluations and exports; `inference` runs endpoints. */
export const ROLES = ["trainer", "inference"] as const;
export type Role = (typeof ROLES)[number];

const Pinned = v.object({
  /** The image id of the engine: `sha256:` and 64 hex digits. */
  id: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)),
  tag: v.string(),
  variant: v.string(),
  /** The engine of an inference image: `transformers` or `vllm`. */
  engine: v.optional(v.nullable(v.string())),
  /** Hash of the trainer sources in the image. */
  version: v.string(),
  created_at: v.number(),
});
export type PinnedImage = v.InferOutput<typeof Pinned>;
const Images = v.object({
  trainer: v.optional(Pinned),
  inference: v.optional(Pinned),
  /** Digests of base images by name, from the first build; later builds use the same digests. */
  bases: v.optional(v.record(v.string(), v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)))),
});
type ImagesFile = v.InferOutput<typeof Images>;
type PinnedImages = Omit<ImagesFile, "bases">;

const pathOf = (files: Pick<Files, "root">) => join(files.root, "images.json");

function readImages(files: Pick<Files, "root">): ImagesFile {
  const path = pathOf(files);
  if (!existsSync(path)) return {};
  try {
    return v.parse(Images, JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    const message = `${path} is not a valid list of images. Move it away and run \`finetune-lab images load\` again.`;
    throw new AppError("invalid", "images_file_broken", message, { cause });
  }
}

function writeImages(files: Pick<Files, "root">, images: ImagesFile): void {
  const path = pathOf(files);
  const temporary = `${path}.new`;
  writeFileSync(temporary, `${JSON.stringify(images, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, path);
}

/** The pinned images by role. @throws AppError `images_file_broken` */
export function pinnedImages(files: Pick<Files, "root">): PinnedImages {
  const { bases: _, ...images } = readImages(files);
  return images;
}

/** Pins `image` for `role`: new jobs use it. Existing jobs keep their image. */
export function pinImage(files: Pick<Files, "root">, role: Role, image: PinnedImage): void {
  writeImages(files, { ...readImages(files), [role]: image });
}

/** The pinned digests of base images by name. @throws AppError `images_file_broken` */
export function pinnedBases(files: Pick<Files, "root">): Record<string, string> {
  return readImages(files).bases ?? {};
}

/** Pins the digest of the base image `name` for later builds. */
export function pinBase(files: Pick<Files, "root">, name: string, digest: string): void {
  const images = readImages(files);
  writeImages(files, { ...images, bases: { ...images.bases, [name]: digest } });
}
