/**
 * Runs the source of Python graders in a sandbox: a container where a Docker engine is configured, else namespaces of
 * this machine, else not at all.
 */
import { readyTrainerEnvironment } from "../compute/environment/install.ts";
import { findPython } from "../compute/environment/python.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { runInContainer } from "./container.ts";
import sandboxSource from "./sandbox.py" with { type: "text" };
import {
  type NoSandbox,
  PYTHON_LIMITS,
  type PythonJob,
  type PythonLimits,
  requestOf,
  type Verdict,
  verdictOf,
} from "./sandbox.ts";

/** Runs a job. @throws AppError `sandbox_unavailable`, `graders_busy` */
export type RunPython = (job: PythonJob, signal: AbortSignal) => Promise<Verdict>;

/** The same for `actor`: the job waits for that person's turn. */
export type RunPythonAs = (actor: Actor, ...rest: Parameters<RunPython>) => ReturnType<RunPython>;

/** Seconds beyond the grader's own limit after which the sandbox is killed. */
const SLACK_S = 15;
const INTERPRETER_TTL_MS = 60_000;

async function runInNamespaces(
  ctx: Ctx,
  python: string,
  job: PythonJob,
  limits: PythonLimits,
  signal: AbortSignal,
): Promise<Verdict | NoSandbox> {
  if (process.platform !== "linux") return { sandbox: "this system has no Linux namespaces" };
  const child = Bun.spawn([python, "-I", "-B", "-c", sandboxSource], {
    cwd: "/",
    // Nothing from the server's own environment.
    env: { LANG: "C.UTF-8" },
    stdin: new Blob([requestOf(job, limits, "namespaces", [ctx.files.root])]),
    stdout: "pipe",
    stderr: "pipe",
    signal: AbortSignal.any([signal, ctx.signal]),
    killSignal: "SIGKILL",
    timeout: (limits.seconds + SLACK_S) * 1000,
  });
  const [printed, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  signal.throwIfAborted();
  return verdictOf(exitCode, printed, stderr);
}

function unavailable(reasons: string[]): AppError {
  return new AppError(
    "unprocessable",
    "sandbox_unavailable",
    `Python graders cannot run here, because there is no sandbox for their code: ${reasons.join("; ")}. Configure a Docker engine with the trainer image (FTL_PROVIDERS=docker), or allow the server's user to create user namespaces (Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0; Debian: sysctl kernel.unprivileged_userns_clone=1).`,
    { param: "grader" },
  );
}

/** A runner of Python graders: a few run at once in the whole server, the rest wait, and people take turns. */
export function pythonRunner(ctx: Ctx, limits: PythonLimits = PYTHON_LIMITS): RunPythonAs {
  let interpreter: { path: Promise<string>; until: number } | null = null;

  /**
   * The Python of the trainer environment, because graders may import its packages; else any Python of this machine.
   */
  function python(): Promise<string> {
    const now = ctx.clock.monotonic();
    if (interpreter && now < interpreter.until) return interpreter.path;
    const path = readyTrainerEnvironment(ctx.config, ctx.files)
      .catch(() => null)
      .then(async (ready) => ready?.python ?? (await findPython(ctx.config.python)).path);
    interpreter = { path, until: now + INTERPRETER_TTL_MS };
    path.catch(() => {
      interpreter = null;
    });
    return path;
  }

  async function run(job: PythonJob, signal: AbortSignal): Promise<Verdict> {
    const reasons: string[] = [];
    if (ctx.compute.get("docker")) {
      const verdict = await runInContainer(ctx, sandboxSource, job, limits, SLACK_S, signal);
      if (!("sandbox" in verdict)) return verdict;
      reasons.push(`Docker: ${verdict.sandbox}`);
    }
    const path = await python().catch((error: unknown) => {
      reasons.push(error instanceof Error ? error.message : String(error));
      return null;
    });
    if (path === null) throw unavailable(reasons);
    const verdict = await runInNamespaces(ctx, path, job, limits, signal);
    if (!("sandbox" in verdict)) return verdict;
    throw unavailable([...reasons, `namespaces: ${verdict.sandbox}`]);
  }

  return ({ org, userId }, job, signal) => ctx.turns.graders.run(`${org}/${userId}`, () => run(job, signal), signal);
}
