/**
 * Keeps a launcher with the trainer's libraries loaded, so that the next job takes its first step seconds earlier.
 */
import { freemem } from "node:os";
import { dirname, join } from "node:path";
import type { Subprocess } from "bun";
import type { ProviderHost } from "../../src/contract/provider.ts";

/** Memory for the launcher and the work; the launcher uses half of it. */
const MEMORY_BYTES = 2 ** 30;
const ANSWER_MS = 10_000;
/** A launcher that has not loaded the libraries by then is given up. */
const LOAD_MS = 60_000;
/** Delay after a failed start. */
const RETRY_MS = 60_000;

interface Trainer {
  python: string;
  dir: string;
}

export interface Warm {
  /** Call when work is likely soon: starts a launcher in the background, or keeps the current one longer. */
  expect(): void;
  /**
   * Starts `directory` with `env` in the launcher, and waits for one that is still loading: a second process would load
   * the same libraries no sooner. False without a launcher for this trainer, or on failure.
   */
  launch(trainer: Trainer, directory: string, env: Record<string, string>): Promise<boolean>;
  /** Ends the launcher when work with `bytes` of memory needs its memory. */
  freeMemory(bytes: number): void;
}

interface Launcher extends Trainer {
  child: Subprocess<"pipe", "pipe", "ignore">;
  /** Whether it loaded the libraries, once that is known. */
  loaded: Promise<boolean>;
  /** Reports the outcome of loading; the first report counts. */
  report(ready: boolean): void;
  /** Requested launches without an answer so far. */
  asked: Map<string, (ok: boolean) => void>;
}

/**
 * @param seconds how long a launcher is kept without work; 0 disables it
 * @param launcherPath path of the launcher's Python source
 */
export function keepWarm(host: ProviderHost, seconds: number, launcherPath: () => Promise<string>): Warm {
  let current: Launcher | null = null;
  let making: Promise<void> | null = null;
  let notBefore = 0;
  let idle: Timer | null = null;

  function end(launcher: Launcher): void {
    if (current === launcher) current = null;
    for (const answer of launcher.asked.values()) answer(false);
    launcher.asked.clear();
    launcher.report(false);
    // Its launches continue, because they are separate processes.
    launcher.child.kill("SIGKILL");
  }

  function stayLonger(launcher: Launcher): void {
    if (idle) clearTimeout(idle);
    idle = setTimeout(() => end(launcher), seconds * 1000);
    idle.unref();
  }

  async function listen(launcher: Launcher): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    let ready = false;
    const late = setTimeout(() => end(launcher), LOAD_MS);
    for await (const part of launcher.child.stdout) {
      const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "ready") {
          ready = true;
          clearTimeout(late);
          launcher.report(true);
        } else {
          const { directory, ok } = JSON.parse(line) as { directory: string; ok: boolean };
          launcher.asked.get(directory)?.(ok);
          launcher.asked.delete(directory);
        }
      }
    }
    clearTimeout(late);
    if (!ready) notBefore = host.clock.now() + RETRY_MS;
    end(launcher);
  }

  async function make(): Promise<void> {
    const trainer = await host.readyTrainer();
    if (!trainer || host.signal.aborted) {
      notBefore = host.clock.now() + RETRY_MS;
      return;
    }
    const child = Bun.spawn([trainer.python, "-IuB", await launcherPath(), "--warm", trainer.dir], {
      cwd: host.dataDir,
      env: { PATH: dirname(trainer.python), LANG: "C.UTF-8", HF_HOME: join(host.dataDir, "warm") },
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    child.unref();
    const { promise: loaded, resolve: report } = Promise.withResolvers<boolean>();
    const launcher: Launcher = { ...trainer, child, loaded, report, asked: new Map() };
    current = launcher;
    stayLonger(launcher);
    host.signal.addEventListener("abort", () => end(launcher), { once: true });
    listen(launcher).catch(() => end(launcher));
  }

  return {
    expect() {
      if (seconds === 0 || making || host.signal.aborted) return;
      if (current) {
        stayLonger(current);
        return;
      }
      if (host.clock.now() < notBefore || freemem() < 2 * MEMORY_BYTES) return;
      making = make()
        .catch((cause) => {
          notBefore = host.clock.now() + RETRY_MS;
          host.log("warn", "the warm launcher could not be started", { cause });
        })
        .finally(() => {
          making = null;
        });
    },

    async launch(trainer, directory, env) {
      await making;
      const launcher = current;
      if (!launcher || launcher.python !== trainer.python || launcher.dir !== trainer.dir) return false;
      stayLonger(launcher);
      if (!(await launcher.loaded)) return false;
      const answer = new Promise<boolean>((resolve) => launcher.asked.set(directory, resolve));
      const late = setTimeout(() => end(launcher), ANSWER_MS);
      try {
        launcher.child.stdin.write(`${JSON.stringify({ directory, env })}\n`);
        await launcher.child.stdin.flush();
        return await answer;
      } catch {
        end(launcher);
        return false;
      } finally {
        clearTimeout(late);
      }
    },

    freeMemory(bytes) {
      if (current && freemem() < bytes + MEMORY_BYTES) end(current);
    },
  };
}
