/** The `images` verbs on a real engine: the air-gapped road from save to verify, and what goes wrong on it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type BuildOptions,
  lookInsideProgram,
  planBuild,
  TRAINER_BASE,
  VLLM_IMAGE,
} from "../../src/cli/images/plan.ts";
import { followImage, imageProgress } from "../../src/cli/images/stream.ts";
import { imageContext } from "../../src/compute/images/context.ts";
import { pinImage, pinnedImages } from "../../src/compute/images/service.ts";
import { tarOf } from "../../src/lib/disk/tar.ts";
import { BASE_IMAGE, runProgram, testDocker } from "../support/docker.ts";
import { PROGRAM } from "../support/program.ts";

const docker = await testDocker();
const skip = "skip" in docker ? docker.skip : null;
const TAG = "ftl-test/carried:cpu";

describe("the engine's stream", () => {
  const shown: [string, number | null][] = [];
  const read = () => {
    shown.length = 0;
    return imageProgress((message, fraction) => shown.push([message, fraction]));
  };

  test("build steps and layer bytes become progress", () => {
    const build = read();
    build.line('{"stream":"Step 3/12 : COPY wheels/ /wheels/\\n"}');
    build.line('{"stream":" ---> 0123456789ab\\n"}');
    build.line('{"aux":{"ID":"sha256:1"}}');
    expect(shown).toEqual([["Step 3 of 12: COPY wheels/ /wheels/", 2 / 12]]);
    expect(build.outcome.id).toBe("sha256:1");
    const pull = read();
    const layer = (id: string, current: number) =>
      pull.line(JSON.stringify({ status: "Downloading", id, progressDetail: { current, total: 100 } }));
    layer("aaaaaaaaaaaa", 50);
    layer("bbbbbbbbbbbb", 0);
    pull.line('{"status":"Download complete","id":"aaaaaaaaaaaa","progressDetail":{}}');
    expect(shown.map(([, fraction]) => fraction)).toEqual([0.5, 0.25, 0.5]);
  });

  test("split lines are joined, and an error includes the lines before it", async () => {
    const text =
      '{"stream":"one\\n"}\r\n{"stream":"two\\n"}\r\n{"errorDetail":{"message":"no space left"},"error":"x"}\r\n';
    const bytes = new TextEncoder().encode(text);
    async function* pieces() {
      for (let i = 0; i < bytes.length; i += 7) yield bytes.subarray(i, i + 7);
    }
    await expect(followImage(pieces(), () => {})).rejects.toThrow("no space left\none\ntwo");
  });
});

describe("the build context of an image", () => {
  const plain: BuildOptions = {
    role: "trainer",
    torch: "cpu",
    base: null,
    wheels: null,
    index: null,
    network: "default",
  };
  const by = (more: Partial<BuildOptions>) => planBuild({ ...plain, ...more }, "0011");
  const trainer = { tag: "finetune-lab/trainer:cpu", dockerfile: "compose/Dockerfile.trainer" };
  const inference = { tag: "finetune-lab/inference:cpu", dockerfile: "compose/Dockerfile.inference" };
  const own = "registry.lab/vllm@sha256:1";

  test.each([
    ["a trainer", {}, { ...trainer, buildargs: { TORCH: "cpu", VERSION: "0011", BASE: TRAINER_BASE } }],
    [
      "a trainer without a network",
      { network: "none", base: "mine", index: "https://i" },
      { ...trainer, buildargs: { TORCH: "cpu", VERSION: "0011", BASE: "mine", INDEX: "none" } },
    ],
    [
      "inference on processors: the trainer's image, transformers",
      { role: "inference", network: "none" },
      { ...inference, buildargs: { TORCH: "cpu", VERSION: "0011", ENGINE: "transformers", BASE: trainer.tag } },
    ],
    [
      "inference on GPUs: vLLM's own image",
      { role: "inference", torch: "cuda" },
      {
        tag: "finetune-lab/inference:cuda",
        dockerfile: inference.dockerfile,
        buildargs: { TORCH: "cuda", VERSION: "0011", ENGINE: "vllm", BASE: VLLM_IMAGE },
      },
    ],
    [
      "the same by digest from a registry of one's own",
      { role: "inference", torch: "cuda", base: own },
      {
        tag: "finetune-lab/inference:cuda",
        dockerfile: inference.dockerfile,
        buildargs: { TORCH: "cuda", VERSION: "0011", ENGINE: "vllm", BASE: own },
      },
    ],
    [
      "transformers on GPUs, when asked for",
      { role: "inference", torch: "cuda", engine: "transformers" },
      {
        tag: "finetune-lab/inference:cuda",
        dockerfile: inference.dockerfile,
        buildargs: { TORCH: "cuda", VERSION: "0011", ENGINE: "transformers", BASE: "finetune-lab/trainer:cuda" },
      },
    ],
  ] as [string, Partial<BuildOptions>, object][])("%s", (_, options, plan) => {
    expect(by(options) as object).toEqual(plan);
  });

  test("the Dockerfile declares every build argument, and vLLM's version is the one of its command line", () => {
    for (const more of [
      {},
      { index: "https://i" },
      { role: "inference" },
      { role: "inference", torch: "cuda" },
    ] as const) {
      const { dockerfile, buildargs } = by(more);
      const text = readFileSync(join(import.meta.dir, "../..", dockerfile), "utf8");
      for (const name of Object.keys(buildargs))
        expect(text, `${dockerfile} ${name}`).toMatch(new RegExp(`^ARG ${name}\\b`, "m"));
    }
    const command = readFileSync(
      join(import.meta.dir, "../../trainer/finetune_trainer/serving/vllm_command.py"),
      "utf8",
    );
    expect(command).toContain(`(${VLLM_IMAGE.split(":v")[1]})`);
    expect(readFileSync(join(import.meta.dir, "../../compose/Dockerfile.inference"), "utf8")).toContain(VLLM_IMAGE);
    const trainer = readFileSync(join(import.meta.dir, "../../compose/Dockerfile.trainer"), "utf8");
    expect(trainer).toContain(`ARG BASE=${TRAINER_BASE}\n`);
  });

  test("the verification imports what the image's engine needs", () => {
    expect(lookInsideProgram("vllm")).toContain(
      "import vllm, torch, transformers, finetune_trainer.serving.vllm_engine\n",
    );
    for (const engine of [null, "transformers"]) {
      expect(lookInsideProgram(engine)).toContain("import finetune_trainer, torch, transformers, peft, trl\n");
      expect(lookInsideProgram(engine)).not.toContain("vllm");
    }
  });
});

test("tar reads the sources and wheels from the build context, including long names", async () => {
  const dir = mkdtempSync(join(tmpdir(), "ftl-context-"));
  try {
    const long = `${"a_long_name_of_a_wheel-".repeat(6)}1.0-py3-none-any.whl`;
    writeFileSync(join(dir, long), "wheel");
    writeFileSync(join(dir, "notes.txt"), "not a wheel");
    const { folders, entries } = imageContext(dir);
    const tar = join(dir, "context.tar");
    for await (const chunk of tarOf(folders, entries)) appendFileSync(tar, chunk);
    const out = join(dir, "out");
    mkdirSync(out);
    await runProgram(["tar", "-C", out, "-xf", tar]);
    expect(readFileSync(join(out, "wheels", long), "utf8")).toBe("wheel");
    expect(existsSync(join(out, "wheels/notes.txt"))).toBe(false);
    for (const name of [
      "compose/Dockerfile.trainer",
      "compose/Dockerfile.inference",
      "compose/install.py",
      "trainer/requirements.txt",
      "trainer/requirements-torch.txt",
    ])
      expect(existsSync(join(out, name)), name).toBe(true);
    expect(existsSync(join(out, "trainer/finetune_trainer/__main__.py"))).toBe(true);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

describe.skipIf(skip !== null)(`images on an engine${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let dir: string;
  let id: string;
  beforeAll(async () => {
    if ("skip" in docker) return;
    dir = mkdtempSync(join(tmpdir(), "ftl-images-"));
    // A small image with our label takes the same code path as the large one.
    const tar = join(dir, "small.tar");
    writeFileSync(join(dir, "hello"), "hello");
    await runProgram(["tar", "-C", dir, "-cf", tar, "hello"]);
    const options = {
      fromSrc: "-",
      repo: TAG.split(":")[0],
      tag: "cpu",
      changes: "LABEL ft.role=trainer ft.variant=cpu ft.version=0011",
    };
    const stream = await docker.engine.docker.importImage(tar, options);
    await new Response(stream as unknown as ReadableStream).text();
    id = (await docker.engine.docker.getImage(TAG).inspect()).Id;
    pinImage({ root: dir }, "trainer", { id, tag: TAG, variant: "cpu", version: "0011", created_at: 1 });
  }, 60_000);
  afterAll(async () => {
    if ("skip" in docker) return;
    await docker.engine.docker
      .getImage(TAG)
      .remove({ force: true })
      .catch(() => {});
    await docker.close();
    rmSync(dir, { recursive: true, force: true });
  }, 30_000);

  function run(...words: string[]): { code: number; out: string; err: string } {
    const hosts = "skip" in docker ? "" : docker.address;
    const env = {
      PATH: process.env.PATH ?? "",
      HOME: dir,
      FTL_PROVIDER_SETTINGS: JSON.stringify({ docker: { hosts } }),
    };
    const done = Bun.spawnSync([...PROGRAM, "images", ...words], { env, cwd: dir });
    return { code: done.exitCode, out: done.stdout.toString(), err: done.stderr.toString() };
  }

  test("a saved image is verified, loaded and listed elsewhere with the same id, and pinned there", async () => {
    if ("skip" in docker) return;
    const file = join(dir, "trainer.tar");
    expect(run("save", file, "--data", dir)).toMatchObject({ code: 0 });
    await docker.engine.docker.getImage(TAG).remove({ force: true });
    expect(run("list", "--data", dir).out).not.toContain(id);
    expect(run("verify", "--data", dir)).toMatchObject({ code: 1, out: expect.stringContaining("MISSING") });
    expect(run("verify", file)).toMatchObject({ code: 0, out: expect.stringContaining(id) });
    const far = join(dir, "far");
    const loaded = run("load", file, "--data", far);
    expect(loaded.err + loaded.out).toContain(id);
    expect(loaded.code).toBe(0);
    expect(pinnedImages({ root: far }).trainer).toMatchObject({ id, tag: TAG, variant: "cpu", version: "0011" });
    expect(run("list", "--data", far).out).toContain(`* local  trainer  cpu  ${TAG}  ${id}`);
  }, 60_000);

  test("a damaged file, or one without its manifest, is not loaded", () => {
    const file = join(dir, "damaged.tar");
    expect(run("save", file, "--data", dir).code).toBe(0);
    const bytes = readFileSync(file);
    bytes[600] = (bytes[600] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    expect(run("load", file, "--data", dir)).toMatchObject({
      code: 1,
      err: expect.stringContaining("its hash differs"),
    });
    writeFileSync(file, bytes.subarray(0, 1000));
    expect(run("verify", file)).toMatchObject({ code: 1, err: expect.stringContaining("bytes long") });
    rmSync(`${file}.json`);
    expect(run("load", file, "--data", dir)).toMatchObject({
      code: 1,
      err: expect.stringContaining("missing or damaged"),
    });
  }, 60_000);

  test("an image that lacks what trainers need fails verification with its output", () => {
    const said = run("verify", "--data", dir);
    expect(said.code).toBe(1);
    expect(said.err).toContain("python3");
  }, 60_000);

  test("an inference image for vLLM is built and recognized; one whose base lacks vLLM fails verification", async () => {
    const fresh = join(dir, "vllm");
    mkdirSync(fresh);
    const words = [
      "--role",
      "inference",
      "--torch",
      "cuda",
      "--base",
      BASE_IMAGE,
      "--network",
      "none",
      "--data",
      fresh,
    ];
    expect(run("build", ...words)).toMatchObject({
      code: 0,
      out: expect.stringContaining("finetune-lab/inference:cuda"),
    });
    expect(pinnedImages({ root: fresh }).inference).toMatchObject({ variant: "cuda", engine: "vllm" });
    expect(run("list", "--data", fresh).out).toContain("inference  cuda (vllm)  finetune-lab/inference:cuda");
    const said = run("verify", "--data", fresh);
    expect(said.code).toBe(1);
    expect(said.err).toContain("No module named 'vllm'");
    expect(run("build", "--role", "inference", "--engine", "vllm", "--data", fresh)).toMatchObject({ code: 2 });
    if (!("skip" in docker)) await docker.engine.docker.getImage("finetune-lab/inference:cuda").remove({ force: true });
  }, 120_000);

  test("a failed build step is reported with the lines before it", () => {
    const said = run("build", "--base", BASE_IMAGE, "--network", "none", "--data", dir);
    expect(said.code).toBe(1);
    expect(said.err).toMatch(/returned a non-zero code|No matching distribution|install\.py/);
    expect(pinnedImages({ root: dir }).trainer?.id).toBe(id);
  }, 180_000);

  test("a tag is never pulled, and an unreachable registry is an error", () => {
    expect(run("pull", "finetune-lab/trainer:latest", "--data", dir)).toMatchObject({ code: 2 });
    const gone = run("pull", `127.0.0.1:1/x@sha256:${"0".repeat(64)}`, "--data", dir);
    expect(gone.code).toBe(1);
    expect(gone.err).toContain("127.0.0.1:1");
  }, 60_000);
});
