/**
 * A base image is held to the digest its tag had at the first build: on an engine that answers like Docker's, and on a
 * real one with a registry of its own.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Docker from "dockerode";
import type { Engine } from "../../plugins/docker/engines.ts";
import { baseOf } from "../../src/cli/doctor/engines.ts";
import { repositoryOf, resolveBase } from "../../src/cli/images/base.ts";
import { buildImage } from "../../src/cli/images/engine.ts";
import type { BuildOptions } from "../../src/cli/images/plan.ts";
import { pinBase, pinImage, pinnedBases, pinnedImages } from "../../src/compute/images/service.ts";
import { runProgram, testDocker } from "../support/docker.ts";

const A = `sha256:${"a".repeat(64)}`;
const B = `sha256:${"b".repeat(64)}`;
const scratch = mkdtempSync(join(tmpdir(), "ftl-bases-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test.each([
  ["python:3.12-slim-bookworm", "python"],
  ["docker.io/library/debian:12-slim", "debian"],
  ["vllm/vllm-openai:v0.33.0", "vllm/vllm-openai"],
  ["registry.lab:5000/a/b", "registry.lab:5000/a/b"],
  [`registry.lab:5000/a/b:1@${A}`, "registry.lab:5000/a/b"],
])("the repository of %s is %s", (reference, repository) => {
  expect(repositoryOf(reference)).toBe(repository);
});

test("the digests of base images are stored with the pinned images, and pinning an image keeps them", () => {
  const files = { root: mkdtempSync(join(scratch, "pins-")) };
  pinBase(files, "debian:12-slim", A);
  pinImage(files, "trainer", { id: B, tag: "t", variant: "cpu", version: "1", created_at: 1 });
  pinBase(files, "other:1", B);
  expect(pinnedBases(files)).toEqual({ "debian:12-slim": A, "other:1": B });
  expect(Object.keys(pinnedImages(files))).toEqual(["trainer"]);
});

describe("on an engine with Docker's API", () => {
  /** What the registry says a name is, and what the engine already has. */
  const registry = new Map<string, string>();
  const has = new Map<string, { RepoDigests: string[] }>();
  let asked: string[] = [];
  const built = `sha256:${"c".repeat(64)}`;
  let labels: Record<string, string> = {};
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const url = new URL(request.url);
      const image = /^\/images\/(.+)\/json$/.exec(decodeURIComponent(url.pathname))?.[1];
      if (image) {
        const found = has.get(image);
        if (image === built)
          return Response.json({
            Id: built,
            RepoTags: ["t"],
            Size: 1,
            Created: "2026-01-01T00:00:00Z",
            Config: { Labels: labels },
          });
        return found ? Response.json(found) : Response.json({ message: "no such image" }, { status: 404 });
      }
      if (url.pathname === "/images/create") {
        const [from, tag] = [url.searchParams.get("fromImage") ?? "", url.searchParams.get("tag")];
        const name = tag ? (tag.startsWith("sha256:") ? `${from}@${tag}` : `${from}:${tag}`) : from;
        asked.push(name);
        const digest = registry.get(name);
        if (!digest) return Response.json({ message: `manifest for ${name} not found` }, { status: 404 });
        const RepoDigests = [`${repositoryOf(name)}@${digest}`];
        has.set(name, { RepoDigests }).set(RepoDigests[0] ?? "", { RepoDigests });
        return new Response('{"status":"done"}\n');
      }
      if (url.pathname === "/build") {
        await request.arrayBuffer();
        asked.push(`FROM ${JSON.parse(url.searchParams.get("buildargs") ?? "{}").BASE}`);
        labels = { ...JSON.parse(url.searchParams.get("labels") ?? "{}"), "ft.role": "trainer" };
        return new Response(`${JSON.stringify({ aux: { ID: built } })}\n`);
      }
      return new Response(null, { status: 404 });
    },
  });
  afterAll(() => server.stop(true));
  const engine: Engine = {
    id: "local",
    address: "test",
    local: true,
    docker: new Docker({ protocol: "http", host: "127.0.0.1", port: server.port }),
  };
  beforeEach(() => {
    registry.clear();
    has.clear();
    asked = [];
  });
  const first = { recorded: null, renew: false };
  const later = { recorded: A, renew: false };

  test("the first build resolves the tag and starts from its digest", async () => {
    registry.set("debian:12-slim", A);
    expect(await resolveBase(engine, "debian:12-slim", first, () => {})).toEqual({
      name: "debian:12-slim",
      digest: A,
      reference: `debian@${A}`,
    });
  });

  test("a later build uses the recorded digest even if the tag has moved", async () => {
    registry.set("debian:12-slim", B).set(`debian@${A}`, A);
    expect(await resolveBase(engine, "debian:12-slim", later, () => {})).toMatchObject({
      digest: A,
      reference: `debian@${A}`,
    });
    expect(asked).toEqual([`debian@${A}`]);
  });

  test("missing content fails the build, and renewing resolves the tag again", async () => {
    registry.set("debian:12-slim", B);
    await expect(resolveBase(engine, "debian:12-slim", later, () => {})).rejects.toMatchObject({
      code: "base_image_gone",
      message: expect.stringContaining("--renew-base"),
    });
    expect(asked).not.toContain("debian:12-slim");
    expect(await resolveBase(engine, "debian:12-slim", { recorded: A, renew: true }, () => {})).toMatchObject({
      digest: B,
    });
  });

  test("a base named by digest is used as it is, and a local one has no digest", async () => {
    registry.set(`mine/base@${A}`, A);
    expect(await resolveBase(engine, `mine/base@${A}`, first, () => {})).toMatchObject({
      digest: A,
      reference: `mine/base@${A}`,
    });
    has.set("base", { RepoDigests: [] });
    expect(await resolveBase(engine, "base", { recorded: null, renew: true }, () => {})).toEqual({
      name: "base",
      digest: null,
      reference: "base",
    });
    // Engines with containerd give local images a digest as well; ours change with every build.
    has.set("finetune-lab/trainer:cpu", { RepoDigests: [`finetune-lab/trainer@${A}`] });
    expect(await resolveBase(engine, "finetune-lab/trainer:cpu", first, () => {})).toMatchObject({ digest: null });
  });

  test("the digest of another repository with the same content is not used", async () => {
    has.set("debian:12-slim", { RepoDigests: [`evil.example/debian@${A}`] });
    expect(await resolveBase(engine, "debian:12-slim", first, () => {})).toMatchObject({ digest: null });
  });

  test("a build starts from the digest, and the image records its base", async () => {
    registry.set("python:3.12-slim-bookworm", A);
    const options: BuildOptions = {
      role: "trainer",
      torch: "cpu",
      base: null,
      wheels: null,
      index: null,
      network: "default",
    };
    const image = await buildImage(engine, options, () => {});
    expect(asked).toEqual(["python:3.12-slim-bookworm", `FROM python@${A}`]);
    expect(image.base).toEqual({ name: "python:3.12-slim-bookworm", digest: A });
    expect(baseOf(image)).toBe(`on python:3.12-slim-bookworm (${A})`);
    expect(baseOf({ base: { name: "base", digest: null } })).toBe("on base, which has no digest");
  });
});

/** A registry with one repository `base` of one tag, as the distribution specification asks. */
function serveRegistry(layer: Uint8Array<ArrayBuffer>) {
  const hash = (bytes: Uint8Array<ArrayBuffer> | string) =>
    `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
  const blobs = new Map<string, { type: string; bytes: Uint8Array<ArrayBuffer> }>();
  const put = (bytes: Uint8Array<ArrayBuffer>, type: string) => {
    const digest = hash(bytes);
    blobs.set(digest, { type, bytes });
    return { mediaType: type, digest, size: bytes.length };
  };
  let tag = "";
  const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const { pathname } = new URL(request.url);
      if (/^\/v2\/?$/.test(pathname)) return Response.json({});
      const name = /^\/v2\/base\/(?:manifests|blobs)\/(.+)$/.exec(pathname)?.[1];
      const digest = name === "1" ? tag : (name ?? "");
      const found = blobs.get(digest);
      if (!found) return Response.json({ errors: [{ code: "MANIFEST_UNKNOWN" }] }, { status: 404 });
      const headers = {
        "content-type": found.type,
        "docker-content-digest": digest,
        "content-length": String(found.bytes.length),
      };
      return new Response(request.method === "HEAD" ? null : found.bytes, { headers });
    },
  });
  return {
    name: `127.0.0.1:${server.port}/base:1`,
    /** Lets the tag mean an image that only differs by `word`; returns its digest. */
    publish(word: string): string {
      const architecture = { x64: "amd64" }[process.arch as string] ?? process.arch;
      const config = {
        architecture,
        os: "linux",
        config: { Labels: { word } },
        rootfs: { type: "layers", diff_ids: [hash(layer)] },
      };
      const manifest = {
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: put(new TextEncoder().encode(JSON.stringify(config)), "application/vnd.docker.container.image.v1+json"),
        layers: [put(layer, "application/vnd.docker.image.rootfs.diff.tar")],
      };
      tag = put(new TextEncoder().encode(JSON.stringify(manifest)), MANIFEST).digest;
      return tag;
    },
    forget: (digest: string) => blobs.delete(digest),
    close: () => server.stop(true),
  };
}

const docker = await testDocker();
const skip = "skip" in docker ? docker.skip : null;
describe.skipIf(skip !== null)(`on a real engine${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let registry: ReturnType<typeof serveRegistry>;
  beforeAll(async () => {
    mkdirSync(join(scratch, "layer"));
    writeFileSync(join(scratch, "layer/hello"), "hello");
    await runProgram(["tar", "-C", join(scratch, "layer"), "-cf", join(scratch, "layer.tar"), "hello"]);
    registry = serveRegistry(new Uint8Array(readFileSync(join(scratch, "layer.tar"))));
  });
  afterAll(async () => {
    registry?.close();
    if (!("skip" in docker)) await docker.close();
  }, 30_000);

  test("after the tag moves, the second build uses the base of the first", async () => {
    if ("skip" in docker) return;
    const { engine } = docker;
    const drop = (name: string) =>
      engine.docker
        .getImage(name)
        .remove({ force: true })
        .then(
          () => {},
          () => {},
        );
    const options: BuildOptions = {
      role: "inference",
      torch: "cuda",
      engine: "vllm",
      base: registry.name,
      wheels: null,
      index: null,
      network: "none",
    };
    const before = registry.publish("before");
    const first = await buildImage(engine, options, () => {});
    expect(first.base).toEqual({ name: registry.name, digest: before });
    const after = registry.publish("after");
    expect(after).not.toBe(before);
    for (const name of [first.id, registry.name, `${repositoryOf(registry.name)}@${before}`]) await drop(name);
    const known = { bases: { [registry.name]: before }, renew: false };
    const second = await buildImage(engine, options, () => {}, known);
    expect(second.base).toEqual({ name: registry.name, digest: before });
    const renewed = await buildImage(engine, options, () => {}, { ...known, renew: true });
    expect(renewed.base).toEqual({ name: registry.name, digest: after });
    // Content that the engine never had and the registry has no more.
    const lost = registry.publish("lost");
    registry.forget(lost);
    await expect(
      buildImage(engine, options, () => {}, { bases: { [registry.name]: lost }, renew: false }),
    ).rejects.toMatchObject({ code: "base_image_gone" });
    for (const name of [second.id, renewed.id, registry.name]) await drop(name);
  }, 120_000);
});
