/**
 * Runs one Python grader in its own container on a local Docker engine: no network, a read-only root, no capabilities,
 * and limits on every resource.
 */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import type Docker from "dockerode";
import { trainerIdentity } from "../compute/providers/registry.ts";
import { type Ctx, perContext } from "../ctx.ts";
import { randomChars } from "../lib/ids.ts";
import { type NoSandbox, type PythonJob, type PythonLimits, requestOf, type Verdict, verdictOf } from "./sandbox.ts";

const LABEL = "ft.grader";
const REQUEST = "/request.json";
const MIB = 2 ** 20;
/** Memory of the process that watches the grader. */
const WATCHER_BYTES = 128 * MIB;
const PIDS = 64;

interface ContainerRequest {
  image: string;
  installation: string;
  id: string;
  /** Source of the sandbox program. */
  program: string;
  /** Path on this machine of the file with the request. */
  request: string;
  limits: PythonLimits;
  /** `UID:GID`, neither of them 0. */
  user: string;
  /** The isolation settings of every container of this installation. */
  isolation: Docker.HostConfig;
}

/** The body of `POST /containers/create`. Pure: the same input always gives the same container. */
export function graderContainer(request: ContainerRequest): Docker.ContainerCreateOptions {
  const { limits, user } = request;
  const [uid, gid] = user.split(":");
  const memory = limits.memoryBytes + limits.diskBytes + WATCHER_BYTES;
  const scratch = Math.ceil(limits.diskBytes / MIB);
  return {
    name: `ftl-${request.installation}-grader-${request.id}`,
    Image: request.image,
    Entrypoint: ["python3", "-I", "-B", "-c", request.program, REQUEST],
    Cmd: [],
    User: user,
    WorkingDir: "/tmp",
    Hostname: "grader",
    Env: ["LANG=C.UTF-8", "NVIDIA_VISIBLE_DEVICES=void"],
    Tty: false,
    OpenStdin: false,
    Labels: { "ft.managed": "true", [LABEL]: request.installation },
    HostConfig: {
      ...request.isolation,
      // The watcher is process 1 itself: no signal from inside ends it, and its output cannot be opened by the grader.
      Init: false,
      NetworkMode: "none",
      Memory: memory,
      MemorySwap: memory,
      NanoCpus: 1e9,
      PidsLimit: PIDS,
      ShmSize: MIB,
      Ulimits: [{ Name: "core", Soft: 0, Hard: 0 }],
      Tmpfs: { "/tmp": `rw,nosuid,nodev,noexec,size=${scratch}m,mode=0700,uid=${uid},gid=${gid}` },
      Mounts: [
        {
          Type: "bind",
          Source: request.request,
          Target: REQUEST,
          ReadOnly: true,
          BindOptions: { Propagation: "rprivate" },
        },
      ],
    },
  };
}

/** Whether leftover containers were removed since the server started. */
const sweepState = perContext(() => ({ done: false }));

/** Removes the containers that a server which was killed left behind, once per start. */
async function removeLeftovers(ctx: Ctx, docker: Docker): Promise<void> {
  const state = sweepState(ctx);
  if (state.done) return;
  state.done = true;
  const filters = { label: [`${LABEL}=${ctx.installation}`] };
  for (const { Id } of await docker.listContainers({ all: true, filters }))
    await docker
      .getContainer(Id)
      .remove({ force: true, v: true })
      .catch(() => {});
}

/** The parts of the docker provider that graders use; null when no local engine is configured. Loaded on first use. */
async function localDocker(ctx: Ctx) {
  const [{ default: plugin }, { readSettings }, { isolation }, { unframe }] = await Promise.all([
    import("../../plugins/docker/index.ts"),
    import("../../plugins/docker/settings.ts"),
    import("../../plugins/docker/container.ts"),
    import("../../plugins/docker/status.ts"),
  ]);
  const defaults = Object.fromEntries(plugin.config.map((field) => [field.name, field.default]));
  const { settings } = readSettings({ ...defaults, ...ctx.config.provider_settings.docker });
  const engine = settings.engines.find(({ local }) => local);
  return engine ? { engine, settings, isolation: isolation(settings), unframe } : null;
}

/** Writes the request where the container's user can read it. @returns the id of the run and the path of the file */
function writeRequest(ctx: Ctx, job: PythonJob, limits: PythonLimits): { id: string; path: string } {
  const id = randomChars(12);
  const folder = ctx.files.path("run", "graders");
  const path = `${folder}/${id}.json`;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Other users cannot enter the folder. The container's user, who is another one, has to read the file.
  writeFileSync(path, requestOf(job, limits, "container", []), { mode: 0o600 });
  chmodSync(path, 0o644);
  return { id, path };
}

/**
 * Runs `job` in a container.
 * @param program source of the sandbox program
 * @param slackS seconds that the container may take beyond the grader's own limit
 * @returns the verdict, or `sandbox` with the reason why no container could be started
 */
export async function runInContainer(
  ctx: Ctx,
  program: string,
  job: PythonJob,
  limits: PythonLimits,
  slackS: number,
  signal: AbortSignal,
): Promise<Verdict | NoSandbox> {
  const local = await localDocker(ctx);
  if (!local) return { sandbox: "no Docker engine on this machine is configured" };
  const { engine, settings, isolation, unframe } = local;
  let request: ReturnType<typeof writeRequest> | null = null;
  let container: Docker.Container | null = null;
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), (limits.seconds + slackS) * 1000);
  const stopped = AbortSignal.any([signal, ctx.signal, deadline.signal]);
  const kill = () => void container?.kill({ signal: "SIGKILL" }).catch(() => {});
  stopped.addEventListener("abort", kill, { once: true });
  try {
    await removeLeftovers(ctx, engine.docker);
    request = writeRequest(ctx, job, limits);
    const image = (await trainerIdentity(ctx)).image ?? settings.image;
    container = await engine.docker.createContainer(
      graderContainer({
        image,
        installation: ctx.installation,
        id: request.id,
        program,
        request: request.path,
        limits,
        user: settings.user,
        isolation,
      }),
    );
    await container.start();
    if (stopped.aborted) kill();
    const { StatusCode } = (await container.wait()) as { StatusCode: number };
    signal.throwIfAborted();
    if (deadline.signal.aborted) return { server: "The container did not end in time." };
    const framed = await container.logs({ follow: false, stdout: true, stderr: false, tail: 1 });
    return verdictOf(StatusCode, unframe(framed), "");
  } catch (error) {
    signal.throwIfAborted();
    const reason = (error instanceof Error ? error.message : String(error)).slice(0, 300);
    ctx.log("warn", "a grader's container could not be run", { engine: engine.id, cause: error });
    // Only a container that was never created falls back to another sandbox: code that may have run is not run again.
    return container ? { server: `The Docker engine failed: ${reason}` } : { sandbox: reason };
  } finally {
    clearTimeout(timer);
    stopped.removeEventListener("abort", kill);
    await container?.remove({ force: true, v: true }).catch(() => {});
    if (request) rmSync(request.path, { force: true });
  }
}
