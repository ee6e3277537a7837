/**
 * One Python grader in a container of its own on a local Docker engine: no network, a read-only root, no rights,
 * bounded in everything.
 */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import type Docker from "dockerode";
import { trainerIdentity } from "../compute/providers/registry.ts";
import type { Ctx } from "../ctx.ts";
import { randomChars } from "../lib/ids.ts";
import { type NoSandbox, type PythonJob, type PythonLimits, requestOf, type Verdict, verdictOf } from "./sandbox.ts";

const LABEL = "ft.grader";
const REQUEST = "/request.json";
const MIB = 2 ** 20;
/** Beside the grader there is the process that watches it. */
const WATCHER_BYTES = 128 * MIB;
const PIDS = 64;

interface Order {
  image: string;
  installation: string;
  id: string;
  /** Source of the sandbox program. */
  program: string;
  /** The file on this machine that holds the request. */
  request: string;
  limits: PythonLimits;
  /** `UID:GID`, neither of them 0. */
  user: string;
  /** Walls every container of this installation has. */
  walls: Docker.HostConfig;
}

/** The body of `POST /containers/create`. Pure: the same order always gives the same container. */
export function graderContainer(order: Order): Docker.ContainerCreateOptions {
  const { limits, user } = order;
  const [uid, gid] = user.split(":");
  const memory = limits.memoryBytes + limits.diskBytes + WATCHER_BYTES;
  const scratch = Math.ceil(limits.diskBytes / MIB);
  return {
    name: `ftl-${order.installation}-grader-${order.id}`,
    Image: order.image,
    Entrypoint: ["python3", "-I", "-B", "-c", order.program, REQUEST],
    Cmd: [],
    User: user,
    WorkingDir: "/tmp",
    Hostname: "grader",
    Env: ["LANG=C.UTF-8", "NVIDIA_VISIBLE_DEVICES=void"],
    Tty: false,
    OpenStdin: false,
    Labels: { "ft.managed": "true", [LABEL]: order.installation },
    HostConfig: {
      ...order.walls,
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
          Source: order.request,
          Target: REQUEST,
          ReadOnly: true,
          BindOptions: { Propagation: "rprivate" },
        },
      ],
    },
  };
}

/** Containers that a server which died in between left behind. Told once a server. */
const swept = new WeakSet<Ctx>();

async function sweep(ctx: Ctx, docker: Docker): Promise<void> {
  if (swept.has(ctx)) return;
  swept.add(ctx);
  const filters = { label: [`${LABEL}=${ctx.installation}`] };
  for (const { Id } of await docker.listContainers({ all: true, filters }))
    await docker
      .getContainer(Id)
      .remove({ force: true, v: true })
      .catch(() => {});
}

/**
 * Runs `job` in a container; `sandbox` tells why there can be none. `program` is the sandbox's source, `slackS` what
 * the container may take beyond the grader's own limit.
 */
export async function runInContainer(
  ctx: Ctx,
  program: string,
  job: PythonJob,
  limits: PythonLimits,
  slackS: number,
  signal: AbortSignal,
): Promise<Verdict | NoSandbox> {
  const [{ default: plugin }, { readSettings }, { isolation }, { unframe }] = await Promise.all([
    import("../../plugins/docker/index.ts"),
    import("../../plugins/docker/settings.ts"),
    import("../../plugins/docker/container.ts"),
    import("../../plugins/docker/status.ts"),
  ]);
  const defaults = Object.fromEntries(plugin.config.map((field) => [field.name, field.default]));
  const { settings } = readSettings({ ...defaults, ...ctx.config.provider_settings.docker });
  const engine = settings.engines.find(({ local }) => local);
  if (!engine) return { sandbox: "no engine of this machine is configured" };
  const { docker } = engine;
  const id = randomChars(12);
  const folder = ctx.files.path("run", "graders");
  const request = `${folder}/${id}.json`;
  let container: Docker.Container | null = null;
  let late = false;
  const kill = () => void container?.kill({ signal: "SIGKILL" }).catch(() => {});
  const timer = setTimeout(
    () => {
      late = true;
      kill();
    },
    (limits.seconds + slackS) * 1000,
  );
  const leaving = AbortSignal.any([signal, ctx.signal]);
  leaving.addEventListener("abort", kill, { once: true });
  try {
    await sweep(ctx, docker);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // The folder keeps other users out; inside the container another user than this one reads the file.
    writeFileSync(request, requestOf(job, limits, "container", []), { mode: 0o600 });
    chmodSync(request, 0o644);
    const image = (await trainerIdentity(ctx)).image ?? settings.image;
    const { installation } = ctx;
    container = await docker.createContainer(
      graderContainer({
        image,
        installation,
        id,
        program,
        request,
        limits,
        user: settings.user,
        walls: isolation(settings),
      }),
    );
    await container.start();
    if (leaving.aborted) kill();
    const { StatusCode } = (await container.wait()) as { StatusCode: number };
    signal.throwIfAborted();
    if (late) return { server: "The container did not end in time." };
    const framed = await container.logs({ follow: false, stdout: true, stderr: false, tail: 1 });
    return verdictOf(StatusCode, unframe(framed), "");
  } catch (error) {
    signal.throwIfAborted();
    const said = error instanceof Error ? error.message : String(error);
    ctx.log("warn", "a grader's container could not be run", { engine: engine.id, cause: error });
    // Before it began there is another way; what began is not begun again elsewhere.
    return container ? { server: `The Docker engine failed: ${said.slice(0, 300)}` } : { sandbox: said.slice(0, 300) };
  } finally {
    clearTimeout(timer);
    leaving.removeEventListener("abort", kill);
    await container?.remove({ force: true, v: true }).catch(() => {});
    rmSync(request, { force: true });
  }
}
