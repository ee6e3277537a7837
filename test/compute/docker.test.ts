/**
 * Real training in a real container: a server as an administrator starts it, the trainer image as the program builds
 * it, and nothing between them but a socket.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { followImage } from "../../src/cli/images/stream.ts";
import { pinImage } from "../../src/compute/images/service.ts";
import { tarOf } from "../../src/lib/disk/tar.ts";
import { testDocker } from "../support/docker.ts";
import { trainerImage } from "../support/docker-image.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, TINY_MODEL, trainingLines } from "../support/tiny.ts";

const docker = await testDocker();
const skip =
  "skip" in docker
    ? docker.skip
    : (trainerMissing ?? (existsSync(join(TINY_MODEL, "config.json")) ? null : `no tiny model at ${TINY_MODEL}`));

interface Job {
  id: string;
  state: string;
  error: { code: string; message: string } | null;
  model: string | null;
  spec: { trainer: { image?: string } };
  progress: { step?: number };
}

interface Attempt {
  number: number;
  state: string;
  outcome: string | null;
}

describe.skipIf(skip !== null)(`training in a container${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let live: Live;
  let image: string;
  let fileId: string;

  beforeAll(async () => {
    if ("skip" in docker) return;
    const found = await trainerImage(docker);
    image = found.id;
    const settings = { docker: { hosts: docker.address, shm_mb: 64 } };
    live = await startLive({
      env: { FTL_PROVIDERS: "docker", FTL_PROVIDER_SETTINGS: JSON.stringify(settings) },
    });
    for (const role of ["trainer", "inference"] as const) pinImage({ root: live.dir }, role, found);
    await importTinyModel(live);
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(40)], "rows.jsonl"));
    const headers = { authorization: `Bearer ${live.key}` };
    const answer = await fetch(`${live.url}/v1/files`, { method: "POST", headers, body: form });
    fileId = ((await answer.json()) as { id: string }).id;
  }, 900_000);

  afterAll(async () => {
    if ("skip" in docker) return;
    await live?.close();
    for (const { Id } of await containers())
      await docker.engine.docker.getContainer(Id).remove({ force: true, v: true });
    await docker.close();
  }, 60_000);

  const train = (given: Record<string, unknown>) =>
    live.call<Job>("POST", "/v1/jobs", { model: "tiny", training_file: fileId, max_length: 128, ...given });
  const reached = (id: string, state: string, ms = 240_000) =>
    until(
      `the job to be ${state}`,
      async () => {
        const job = await live.call<Job>("GET", `/v1/jobs/${id}`);
        if (job.state !== state && ["failed", "succeeded", "cancelled"].includes(job.state))
          throw new Error(`the job is ${job.state}: ${JSON.stringify(job.error)}\n${live.log().slice(-3000)}`);
        return job.state === state ? job : null;
      },
      ms,
      200,
    );
  /** Containers of this server: another may use the same engine. One that goes meanwhile is left out. */
  const containers = async () => {
    if ("skip" in docker || !live) return [];
    const all = await docker.engine.docker.listContainers({ all: true, filters: { label: ["ft.label.job"] } });
    const found = await Promise.all(
      all.map(({ Id }) =>
        docker.engine.docker
          .getContainer(Id)
          .inspect()
          .catch(() => null),
      ),
    );
    return found.flatMap((one) => (one?.Mounts.some(({ Source }) => Source?.startsWith(`${live.dir}/`)) ? [one] : []));
  };
  const step = async (id: string) => (await live.call<Job>("GET", `/v1/jobs/${id}`)).progress.step ?? 0;
  const stepOver = (id: string, n: number) => until(`step ${n}`, async () => (await step(id)) > n, 120_000, 50);
  const attempts = async (id: string) => (await live.call<{ data: Attempt[] }>("GET", `/v1/jobs/${id}/attempts`)).data;
  const checkpoints = async (id: string) =>
    (await live.call<{ data: { step_number: number }[] }>("GET", `/v1/jobs/${id}/checkpoints`)).data.map(
      (one) => one.step_number,
    );
  const noContainer = () => until("the container to be gone", async () => (await containers()).length === 0);

  test("a job trains in a container without a network, hands over metrics, checkpoints and adapter, and the container is removed", async () => {
    const { id, spec } = await train({ max_steps: 12, save_every: 6, evaluate_after: false });
    expect(spec.trainer.image).toBe(image);
    const [container] = await until("its container", async () => {
      const found = await containers();
      return found.length > 0 ? found : null;
    });
    expect(container?.Image).toBe(image);
    expect(container?.HostConfig.NetworkMode).toBe("none");
    expect(container?.Config.User).toBe("1000:1000");
    // What of this machine it sees: the socket's directory and the base model, both read-only.
    const mounts = (container?.Mounts ?? []).filter(({ Type }) => Type === "bind");
    expect(mounts.map(({ Source, RW }) => [Source, RW]).sort()).toEqual([
      [join(live.dir, "models/tiny"), false],
      [join(live.dir, "run/trainers"), false],
    ]);
    const done = await reached(id, "succeeded");
    expect(done.model).toStartWith("ft:tiny:");
    const csv = await fetch(`${live.url}/v1/jobs/${id}/metrics.csv`, {
      headers: { authorization: `Bearer ${live.key}` },
    });
    expect(await csv.text()).toContain("train/loss");
    expect((await checkpoints(id)).sort((a, b) => a - b)).toEqual([6, 12]);
    // Two checkpoints, and the adapter alone.
    const files = [...new Bun.Glob("artifacts/*/adapter_model.safetensors").scanSync(live.dir)];
    expect(files.length).toBe(3);
    await noContainer();
    expect((await attempts(id)).map((one) => one.outcome)).toEqual(["succeeded"]);
  }, 300_000);

  test("a paused job resumes from its checkpoint in another container", async () => {
    const { id } = await train({ max_steps: 600, save_every: 200, evaluate_after: false });
    await stepOver(id, 2);
    await live.call("POST", `/v1/jobs/${id}/pause`);
    await reached(id, "paused");
    const [saved = 0] = await checkpoints(id);
    expect(saved).toBeGreaterThan(2);
    await live.call("POST", `/v1/jobs/${id}/resume`);
    await stepOver(id, saved);
    expect((await attempts(id)).map((one) => one.outcome)).toEqual(["paused", null]);
    await live.call("POST", `/v1/jobs/${id}/cancel`);
    await reached(id, "cancelled");
    await noContainer();
  }, 400_000);

  test("a killed server finds the running container again", async () => {
    const { id } = await train({ max_steps: 40, save_every: 20, evaluate_after: false });
    await stepOver(id, 2);
    const before = (await containers()).map(({ Id, State }) => [Id, State.StartedAt]);
    expect(before.length).toBe(1);
    await live.kill9();
    await Bun.sleep(1000);
    await live.start();
    await reached(id, "succeeded");
    expect((await attempts(id)).map((one) => one.outcome)).toEqual(["succeeded"]);
    expect((await checkpoints(id)).sort((a, b) => a - b)).toEqual([20, 40]);
    await noContainer();
  }, 400_000);

  test("an endpoint answers from a container, over a socket in its only writable directory", async () => {
    const ask = () =>
      fetch(`${live.url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${live.key}`, "content-type": "application/json" },
        body: JSON.stringify({ model: "tiny", max_tokens: 4, messages: [{ role: "user", content: "hello" }] }),
      });
    const answer = await until(
      "an answer",
      async () => {
        const reply = await ask();
        if (reply.ok) return (await reply.json()) as { choices: { message: { role: string } }[] };
        if (reply.status !== 503) throw new Error(`${reply.status}: ${await reply.text()}\n${live.log().slice(-2000)}`);
        return null;
      },
      120_000,
    );
    expect(answer.choices[0]?.message.role).toBe("assistant");
    const [container] = await containers();
    expect(container?.HostConfig.NetworkMode).toBe("none");
    const writable = (container?.Mounts ?? []).filter(({ Type, RW }) => Type === "bind" && RW);
    expect(writable.map(({ Source }) => Source.startsWith(join(live.dir, "plugins/.data-docker/")))).toEqual([true]);
  }, 300_000);

  test("vLLM's process starts, answers and ends with the same isolation", async () => {
    if ("skip" in docker) return;
    // A stand-in answers for vLLM: what is tested is its socket, its scratch and its end in a closed container.
    const STAND_IN = join(import.meta.dir, "../../trainer/tests/stand_in/vllm");
    const context = mkdtempSync(join(tmpdir(), "ftl-stand-in-"));
    const lines = [
      `FROM ${image}`,
      "COPY vllm /opt/trainer/src/vllm",
      "ENV FTL_ENGINE=vllm STAND_IN_FILE=/tmp/received",
    ];
    writeFileSync(join(context, "Dockerfile"), [...lines, "LABEL ft.role=inference"].join("\n"));
    const files = readdirSync(STAND_IN, { recursive: true })
      .map(String)
      .filter((name) => name.endsWith(".py"));
    const entry = (name: string, path: string) => ({ name, path, size: statSync(path).size });
    const entries = files.map((name) => entry(`vllm/${name}`, join(STAND_IN, name)));
    entries.push(entry("Dockerfile", join(context, "Dockerfile")));
    const built = await docker.engine.docker.buildImage(Readable.from(tarOf([], entries)), { t: "ftl-test/stand-in" });
    await followImage(built as Readable, () => {});
    rmSync(context, { recursive: true, force: true });
    const { Id: id } = await docker.engine.docker.getImage("ftl-test/stand-in").inspect();
    const [old] = (await live.call<{ data: { id: string }[] }>("GET", "/v1/deployments")).data;
    const change = (verb: string) => live.call("POST", `/v1/deployments/${old?.id}/${verb}`);
    const state = async (wanted: string) => {
      const found = await live.call<{ state: string; error: string | null }>("GET", `/v1/deployments/${old?.id}`);
      if (found.error) throw new Error(found.error);
      return found.state === wanted;
    };
    await change("stop");
    await until("the endpoint to stop", () => state("stopped"), 60_000);
    pinImage({ root: live.dir }, "inference", { id, tag: "", variant: "cpu", version: "1", created_at: 1 });
    await change("start");
    await until("the endpoint to be ready", () => state("ready"), 60_000);
    const [container] = await containers();
    expect(container?.Image).toBe(id);
    const programs = (await docker.engine.docker.getContainer(container?.Id ?? "").top()).Processes.map(
      (row: string[]) => row.join(" "),
    );
    for (const part of ["finetune_trainer.serving.tether", "-m vllm.entrypoints.cli.main serve", "time.sleep(600)"])
      expect(programs.filter((line: string) => line.includes(part)).length, part).toBeGreaterThan(0);
    await change("stop");
    await until("the endpoint to stop", () => state("stopped"), 60_000);
    await noContainer();
    await docker.engine.docker.getImage(id).remove({ force: true });
  }, 300_000);
});
