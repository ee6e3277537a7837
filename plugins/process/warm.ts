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
/** Delay after a failed start. */
const RETRY_MS = 60_000;

interface Trainer {
  python: string;
  dir: string;
}

export interface Warm {
  /** Call when work is likely soon: starts a launcher in the background, or keeps the current one longer. */
  expect(): void;
  /** Starts `directory` with `env` in the ready launcher; false without a launcher for this trainer, or on failure. */
  launch(trainer: Trainer, directory: string, env: Record<string, string>): Promise<boolean>;
  /** Ends the launcher when work with `bytes` of memory needs its memory. */
  freeMemory(bytes: number): void;
}

interface Launcher extends Trainer {
  child: Subprocess<"pipe", "pipe", "ignore">;
  ready: boolean;
  /** Requested launches without an answer so far. */
  asked: Map<string, (ok: boolean) => void>;
}

/**
 * @param seconds how long a launcher is kept without work; 0 disables it
 * @param launcherPath path of the launcher's Python source
 */
export function keepWarm(host: ProviderHost, seconds: number, launcherPath: () => Promise<string>): Warm {
  let current: Launcher | null = null;
  let making = false;
  let notBefore = 0;
  let idle: Timer | null = null;

  function end(launcher: Launcher): void {
    if (current === launcher) current = null;
    for (const answer of launcher.asked.values()) answer(false);
    launcher.asked.clear();
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
    for await (const part of launcher.child.stdout) {
      const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "ready") launcher.ready = true;
        else {
          const { directory, ok } = JSON.parse(line) as { directory: string; ok: boolean };
          launcher.asked.get(directory)?.(ok);
          launcher.asked.delete(directory);
        }
      }
    }
    if (!launcher.ready) notBefore = host.clock.now() + RETRY_MS;
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
    const launcher: Launcher = { ...trainer, child, ready: false, asked: new Map() };
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
      making = true;
      make()
        .catch((cause) => {
          notBefore = host.clock.now() + RETRY_MS;
          host.log("warn", "the warm launcher could not be started", { cause });
        })
        .finally(() => {
          making = false;
        });
    },

    async launch(trainer, directory, env) {
      const launcher = current;
      if (!launcher?.ready || launcher.python !== trainer.python || launcher.dir !== trainer.dir) return false;
      stayLonger(launcher);
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
