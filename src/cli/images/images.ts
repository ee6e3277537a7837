/**
 * `images build | pull | load | save | list | verify`: manages the images of trainers on all engines of this
 * installation, with and without network.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import * as v from "valibot";
import type { Engine } from "../../../plugins/docker/engines.ts";
import { pinBase, pinImage, pinnedBases, pinnedImages, ROLES, type Role } from "../../compute/images/service.ts";
import { type Config, loadConfig } from "../../config.ts";
import { AppError } from "../../errors.ts";
import { openFiles } from "../../lib/disk/files.ts";
import { sha256File } from "../../lib/disk/manifest.ts";
import { type Args, CONFIG_OPTIONS, configFlags, EXIT, type Option, UsageError, type Verb } from "../command.ts";
import { enginesOf } from "../engines.ts";
import { createProgress } from "../progress.ts";
import { type BuildOptions, SERVING_ENGINES } from "./plan.ts";

const OPTIONS = {
  host: {
    value: "NAME",
    help: "only this engine (default: every engine of the setting provider_settings.docker.hosts)",
  },
  data: CONFIG_OPTIONS.data,
} satisfies Record<string, Option>;
const ROLE: Option = { value: "trainer|inference", help: "which image (default trainer)" };

/** Stored next to a saved image, to verify its content before it is loaded. */
const Note = v.object({
  format: v.literal(1),
  role: v.picklist(ROLES),
  id: v.string(),
  tag: v.string(),
  variant: v.string(),
  version: v.string(),
  bytes: v.number(),
  sha256: v.string(),
});

function roleOf(args: Args): Role {
  const role = ROLES.find((one) => one === (args.text("role") ?? "trainer"));
  if (!role) throw new UsageError(`--role is one of ${ROLES.join(", ")}.`);
  return role;
}

function engineOf(args: Args): BuildOptions["engine"] {
  const engine = SERVING_ENGINES.find((one) => one === args.text("engine")) ?? null;
  if (args.text("engine") && !engine) throw new UsageError(`--engine is one of ${SERVING_ENGINES.join(", ")}.`);
  if (engine === "vllm" && args.text("torch") !== "cuda") throw new UsageError("vLLM is for GPUs: add --torch cuda.");
  return engine;
}

/** Tools of these verbs; errors of engines become AppErrors. */
async function withEngines(
  args: Args,
  work: (tools: { engines: Engine[]; config: Config; say: (line: string) => void; show: Show }) => Promise<number>,
): Promise<number> {
  const config = loadConfig(configFlags(args));
  const engines = await enginesOf(config, args.text("host"));
  const progress = createProgress(process.stderr);
  try {
    return await work({ engines, config, show: progress.show, say: (line) => process.stdout.write(`${line}\n`) });
  } catch (error) {
    const { code, statusCode, message } = error as { code?: string; statusCode?: number; message?: string };
    if (error instanceof AppError || error instanceof UsageError) throw error;
    if (statusCode === undefined && code === undefined) throw error;
    throw new AppError("unavailable", "engine_failed", `The engine reported: ${message ?? code}`, { cause: error });
  } finally {
    progress.end();
  }
}

type Show = (message: string, fraction: number | null) => void;
const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

const build: Verb = {
  name: "images build",
  summary: "Builds an image from the embedded sources, on every engine, and pins it for new jobs.",
  options: {
    role: ROLE,
    torch: { value: "cpu|cuda", help: "PyTorch variant (default cpu)" },
    base: {
      value: "IMAGE",
      help: "image to start from (default python:3.12-slim-bookworm; for inference the trainer's, with vLLM vLLM's)",
    },
    engine: { value: "transformers|vllm", help: "engine of an inference image (default vllm with --torch cuda)" },
    "renew-base": { help: "pull the base's tag again and use its current content" },
    wheels: { value: "DIR", help: "wheels to install from (see docs/docker.md)" },
    index: { value: "URL", help: "your own package index" },
    network: { value: "NAME", help: "network of the build: default, host, or none when DIR has every wheel" },
    ...OPTIONS,
  },
  notes:
    "The base is pulled when the engine does not have it. The first build records its digest, and later builds use exactly that. With --wheels and --network none nothing else is downloaded.",
  run: (args) =>
    withEngines(args, async ({ engines, config, say, show }) => {
      const { buildImage } = await import("./engine.ts");
      const torch = args.text("torch") ?? "cpu";
      if (torch !== "cpu" && torch !== "cuda") throw new UsageError("--torch is cpu or cuda.");
      const wheels = args.text("wheels") ?? null;
      if (wheels && !existsSync(wheels)) throw new UsageError(`There is no directory ${wheels}.`);
      const network = args.text("network") ?? "default";
      const [base, index] = [args.text("base") ?? null, args.text("index") ?? null];
      const engine = engineOf(args);
      const options: BuildOptions = { role: roleOf(args), torch, wheels, network, base, index, engine };
      const ids = new Set<string>();
      for (const engine of engines) {
        const files = openFiles(config.data_dir);
        const bases = pinnedBases(files);
        // The first engine resolves the tag; the others use the same digest.
        const image = await buildImage(engine, options, show, {
          bases,
          renew: args.on("renew-base") && ids.size === 0,
        });
        if (image.base?.digest && bases[image.base.name] !== image.base.digest)
          pinBase(files, image.base.name, image.base.digest);
        pinImage(files, image.role, image);
        say(
          `${engine.id}  base  ${image.base?.name ?? "unknown"}  ${image.base?.digest ?? "built here, without a digest"}`,
        );
        ids.add(image.id);
        say(`${engine.id}  ${image.tag}  ${image.id}  ${megabytes(image.bytes)}`);
      }
      if (ids.size > 1)
        say("The engines built different images. Build on one engine, then save the image and load it on the others.");
      return EXIT.ok;
    }),
};

const pull: Verb = {
  name: "images pull",
  summary: "Pulls an image of Fine-Tune Lab by digest, on every engine, and pins it for new jobs.",
  words: "NAME@sha256:DIGEST",
  options: OPTIONS,
  run: (args) =>
    withEngines(args, async ({ engines, config, say, show }) => {
      const { pullImage } = await import("./engine.ts");
      const [reference] = args.words;
      if (!reference || !/^[a-z0-9][A-Za-z0-9._/:-]*@sha256:[0-9a-f]{64}$/.test(reference))
        throw new UsageError("Give the image by digest: NAME@sha256:DIGEST. The image of a tag can change.");
      for (const engine of engines) {
        const image = await pullImage(engine, reference, show);
        pinImage(openFiles(config.data_dir), image.role, { ...image, tag: image.tag || reference });
        say(`${engine.id}  ${reference}  ${image.id}  ${megabytes(image.bytes)}`);
      }
      return EXIT.ok;
    }),
};

const save: Verb = {
  name: "images save",
  summary: "Writes the pinned image and a note with its hashes to files, for a machine without network.",
  words: "FILE",
  options: { role: ROLE, ...OPTIONS },
  run: (args) =>
    withEngines(args, async ({ engines, config, say, show }) => {
      const { findImage, saveImage } = await import("./engine.ts");
      const [file] = args.words;
      if (!file) throw new UsageError("Give the file to write.");
      const role = roleOf(args);
      const pinned = pinnedImages(openFiles(config.data_dir))[role];
      const image = pinned && (await findImage(engines[0] as Engine, pinned.id));
      if (!image)
        throw new AppError("not_found", "image_missing", `There is no ${role} image yet: run images build first.`);
      await saveImage(engines[0] as Engine, image, file, show);
      const { id, tag, variant, version } = image;
      const sha256 = await sha256File(file);
      const note = { format: 1, role, id, tag, variant, version, bytes: statSync(file).size, sha256 };
      writeFileSync(`${file}.json`, `${JSON.stringify(note, null, 2)}\n`);
      say(`${file}  ${megabytes(note.bytes)}  sha256 ${sha256}`);
      say(`${file}.json`);
      return EXIT.ok;
    }),
};

/**
 * Reads the note of a saved image and verifies the file.
 * @throws AppError `image_file_damaged`
 */
async function checkFile(file: string) {
  const bad = (what: string) =>
    new AppError("invalid", "image_file_damaged", `${what} Carry ${basename(file)} and ${basename(file)}.json again.`);
  let note: v.InferOutput<typeof Note>;
  try {
    note = v.parse(Note, JSON.parse(readFileSync(`${file}.json`, "utf8")));
  } catch {
    throw bad(`${file}.json, written by images save, is missing or damaged.`);
  }
  if (!existsSync(file) || statSync(file).size !== note.bytes) throw bad(`${file} is not ${note.bytes} bytes long.`);
  if ((await sha256File(file)) !== note.sha256) throw bad(`${file} was changed after it was saved: its hash differs.`);
  return note;
}

const load: Verb = {
  name: "images load",
  summary: "Verifies files of images save, loads them into every engine, and pins them for new jobs.",
  words: "FILE…",
  options: OPTIONS,
  run: (args) =>
    withEngines(args, async ({ engines, config, say, show }) => {
      const { loadImage } = await import("./engine.ts");
      if (args.words.length === 0) throw new UsageError("Give the files to load.");
      for (const file of args.words) {
        show(`Checking ${file}`, null);
        const note = await checkFile(file);
        for (const engine of engines) {
          const image = await loadImage(engine, file, note.id, show);
          pinImage(openFiles(config.data_dir), image.role, image);
          say(`${engine.id}  ${image.tag}  ${image.id}  ${megabytes(image.bytes)}`);
        }
      }
      return EXIT.ok;
    }),
};

const list: Verb = {
  name: "images list",
  summary: "Lists the images of Fine-Tune Lab on every engine; * marks the images of new jobs.",
  options: { json: { help: "one JSON object per line" }, ...OPTIONS },
  run: (args) =>
    withEngines(args, async ({ engines, config, say }) => {
      const { listImages } = await import("./engine.ts");
      const pinned = pinnedImages(openFiles(config.data_dir));
      for (const engine of engines)
        for (const image of await listImages(engine)) {
          const current = pinned[image.role]?.id === image.id;
          const { role, variant, engine: serves, tag, id, version, bytes, base } = image;
          say(
            args.on("json")
              ? JSON.stringify({
                  host: engine.id,
                  role,
                  variant,
                  engine: serves,
                  tag,
                  id,
                  version,
                  bytes,
                  base,
                  current,
                })
              : `${current ? "*" : " "} ${engine.id}  ${role}  ${variant}${serves ? ` (${serves})` : ""}  ${tag || "-"}  ${id}  ${megabytes(bytes)}`,
          );
        }
      return EXIT.ok;
    }),
};

const verify: Verb = {
  name: "images verify",
  summary: "Verifies saved files; without files, checks that every engine has the pinned images and that they work.",
  words: "[FILE…]",
  options: OPTIONS,
  notes:
    "Each image is started once without network and privileges, and imports the packages that trainers need. Exit code 1 when one is missing or broken.",
  async run(args) {
    if (args.words.length > 0) {
      for (const file of args.words) {
        const { id, role } = await checkFile(file);
        process.stdout.write(`ok  ${file}  ${role}  ${id}\n`);
      }
      return EXIT.ok;
    }
    return withEngines(args, async ({ engines, config, say }) => {
      const { findImage, lookInside } = await import("./engine.ts");
      const pinned = Object.entries(pinnedImages(openFiles(config.data_dir)));
      if (pinned.length === 0)
        throw new AppError("not_found", "image_missing", "No image is pinned: run images build.");
      let missing = 0;
      for (const engine of engines)
        for (const [role, { id }] of pinned) {
          const image = await findImage(engine, id);
          if (!image) missing++;
          const said = image ? JSON.stringify(await lookInside(engine, image)) : "missing: run images load";
          say(`${image ? "ok     " : "MISSING"}  ${engine.id}  ${role}  ${id}  ${said}`);
        }
      return missing > 0 ? EXIT.failed : EXIT.ok;
    });
  },
};

/** In the order of help. */
export const IMAGE_VERBS: readonly Verb[] = [build, pull, save, load, list, verify];
