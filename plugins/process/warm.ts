/**
 * A launcher with the trainer's libraries loaded before there is work: a job that finds it ready takes its first step
 * seconds earlier.
 */
import { freemem } from "node:os";
import { dirname, join } from "node:path";
import type { Subprocess } from "bun";
import type { ProviderHost } from "../../src/contract/provider.ts";

/** What it takes while it waits is half of this; the rest is for the work. */
const MEMORY_BYTES = 2 ** 30;
const ANSWER_MS = 10_000;
/** After one that failed or could not be had. */
const AGAIN_MS = 60_000;

interface Trainer {
  python: string;
  dir: string;
}

export interface Warm {
  /** Work is likely soon: has a launcher made ready in the background, or keeps the one there is. */
  expect(): void;
  /**
   * Lets the ready launcher start `directory` with `env`; false when there is none for this trainer, or it could not.
   */
  launch(trainer: Trainer, directory: string, env: Record<string, string>): Promise<boolean>;
  /** Ends the ready launcher when work of `bytes` leaves no memory for it. */
  freeMemory(bytes: number): void;
}

interface Launcher extends Trainer {
  child: Subprocess<"pipe", "pipe", "ignore">;
  ready: boolean;
  /** Launches it was asked for and has not answered. */
  asked: Map<string, (ok: boolean) => void>;
}

/**
 * @param seconds how long one is kept without work; 0 = there is never one
 * @param launcherPath the launcher's Python source on the disk
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
    // The launches of it go on: they are processes of their own.
    launcher.child.kill("SIGKILL");
  }

  function stayLonger(launcher: Launcher): void {
    if (idle) clearTimeout(idle);
    idle = setTimeout(() => end(launcher), seconds * 1000);
    idle.unref();
  }

  async function listen(launcher: Launcher): Promise<void> {
    const words = new TextDecoder();
    let rest = "";
    for await (const part of launcher.child.stdout) {
      const lines = (rest + words.decode(part, { stream: true })).split("\n");
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
    if (!launcher.ready) notBefore = host.clock.now() + AGAIN_MS;
    end(launcher);
  }

  async function make(): Promise<void> {
    const trainer = await host.readyTrainer();
    if (!trainer || host.signal.aborted) {
      notBefore = host.clock.now() + AGAIN_MS;
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
          notBefore = host.clock.now() + AGAIN_MS;
          host.log("warn", "no launcher was made ready", { cause });
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
