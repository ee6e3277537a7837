/**
 * The trainer image for tests, built by the program's own verb from the real Dockerfile on the base image: no network,
 * wheels from the cache.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { assetsHash } from "../../src/assets.ts";
import { buildImage, type FoundImage, listImages } from "../../src/cli/images/engine.ts";
import { cpuTorchArguments, TORCH_REQUIREMENTS, torchPin } from "../../src/compute/environment/torch.ts";
import { sha256Hex } from "../../src/lib/ids.ts";
import { BASE_IMAGE, DOCKER_CACHE, runProgram, type TestDocker } from "./docker.ts";
import { TRAINER_ENV } from "./live.ts";

const REQUIREMENTS = resolve(import.meta.dir, "../../trainer/requirements.txt");
const TORCH = resolve(import.meta.dir, "../../trainer", TORCH_REQUIREMENTS);
/** Python of the base image. */
const PYTHON = "3.11";
const WHEELS = join(DOCKER_CACHE, "wheels");

/** Wheels of everything the image needs, for the base's Python: downloaded once per set of pins. */
async function ensureWheels(): Promise<void> {
  const [pins, torchPins] = [readFileSync(REQUIREMENTS, "utf8"), readFileSync(TORCH, "utf8")];
  const mark = join(WHEELS, `${sha256Hex(`${pins}${torchPins}${PYTHON}`).slice(0, 16)}.whole`);
  if (existsSync(mark)) return;
  rmSync(WHEELS, { recursive: true, force: true });
  mkdirSync(WHEELS, { recursive: true });
  const python = join(TRAINER_ENV, "bin/python");
  const download = [python, "-m", "pip", "download", "--quiet", "--no-input", "--only-binary=:all:"];
  const target = ["--python-version", PYTHON, "--dest", WHEELS];
  const torch = await cpuTorchArguments(python, torchPin(torchPins), join(WHEELS, "report.json"));
  await runProgram([...download, "--no-deps", ...target, ...torch]);
  await runProgram([...download, "--no-deps", "--require-hashes", ...target, "-r", REQUIREMENTS]);
  writeFileSync(mark, "");
}

/**
 * The image of these very sources; built when the engine has none (about four minutes once, seconds when only sources
 * changed).
 */
export async function trainerImage({ engine }: TestDocker): Promise<FoundImage> {
  const version = assetsHash("trainer").slice(0, 16);
  const found = (await listImages(engine)).find((one) => one.role === "trainer" && one.version === version);
  if (found) return found;
  await ensureWheels();
  const options = {
    role: "trainer",
    torch: "cpu",
    base: BASE_IMAGE,
    wheels: WHEELS,
    index: null,
    network: "none",
  } as const;
  const built = await buildImage(engine, options, () => {});
  // What an older image had in common with this one stays; the rest would pile up.
  for (const old of await listImages(engine))
    if (old.role === "trainer" && old.id !== built.id && !old.tag)
      await engine.docker
        .getImage(old.id)
        .remove()
        .catch(() => {});
  return built;
}
