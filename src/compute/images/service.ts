/**
 * The images containers of this installation run: which one stands for each role, by id, so that jobs freeze exactly
 * it.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { AppError } from "../../errors.ts";
import type { Files } from "../../lib/disk/files.ts";

/** `trainer` trains, evaluates and exports; `inference` answers. */
export const ROLES = ["trainer", "inference"] as const;
export type Role = (typeof ROLES)[number];

const Pinned = v.object({
  /** As the engine names it: `sha256:` and 64 hex digits. */
  id: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)),
  tag: v.string(),
  variant: v.string(),
  /** What answers in an inference image: `transformers` or `vllm`. */
  engine: v.optional(v.nullable(v.string())),
  /** Hash of the trainer sources inside. */
  version: v.string(),
  created_at: v.number(),
});
export type PinnedImage = v.InferOutput<typeof Pinned>;
const Images = v.object({
  trainer: v.optional(Pinned),
  inference: v.optional(Pinned),
  /** Base images by name: the digest that the first build here found for it, and every later one uses. */
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
    const message = `${path} cannot be read as a list of images. Move it away and run \`finetune-lab images load\` again.`;
    throw new AppError("invalid", "images_file_broken", message, { cause });
  }
}

function writeImages(files: Pick<Files, "root">, images: ImagesFile): void {
  const path = pathOf(files);
  const temporary = `${path}.new`;
  writeFileSync(temporary, `${JSON.stringify(images, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, path);
}

/** What was pinned here; empty before the first image. @throws AppError `images_file_broken` */
export function pinnedImages(files: Pick<Files, "root">): PinnedImages {
  const { bases: _, ...images } = readImages(files);
  return images;
}

/** Makes `image` the one new jobs freeze for `role`. Jobs made before keep theirs. */
export function pinImage(files: Pick<Files, "root">, role: Role, image: PinnedImage): void {
  writeImages(files, { ...readImages(files), [role]: image });
}

/** Digests of the base images that were built on here, by name. @throws AppError `images_file_broken` */
export function pinnedBases(files: Pick<Files, "root">): Record<string, string> {
  return readImages(files).bases ?? {};
}

/** Later builds on `name` start from exactly this digest. */
export function pinBase(files: Pick<Files, "root">, name: string, digest: string): void {
  const images = readImages(files);
  writeImages(files, { ...images, bases: { ...images.bases, [name]: digest } });
}
