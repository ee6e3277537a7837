/**
 * A server for quickstart: the running one of the data directory, or a new one in this process; with an account and a
 * key.
 */
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../config.ts";
import { readOwner } from "../../db/lock.ts";
import { AppError } from "../../errors.ts";
import type { Files } from "../../lib/disk/files.ts";
import { randomChars } from "../../lib/ids.ts";
import { splitListen } from "../../lib/listen.ts";
import { createLog } from "../../lib/log.ts";
import { callServer } from "../admin-socket.ts";
import { runServer } from "../run-server.ts";

interface LabServer {
  url: string;
  /** True when it ran before and keeps running afterwards. */
  foreign: boolean;
  /** File of its log; null for a server that was already running. */
  logPath: string | null;
  stop(): Promise<void>;
}

/** The account that quickstart creates on a new installation. */
interface Person {
  email: string;
  /** Null when the account already existed and its password is unknown. */
  password: string | null;
  key: string;
}

function portIsFree(listen: string): boolean {
  const { hostname, port } = splitListen(listen);
  try {
    Bun.listen({ hostname, port, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
}

/**
 * Uses the server of the data directory, else starts one. When the default port is in use, the system chooses another.
 */
export async function openLab(config: Config, files: Files, listenGiven: boolean): Promise<LabServer> {
  const running = await callServer(files.root, "status", {});
  const owner = readOwner(files.root);
  if (running && owner?.url) return { url: owner.url, foreign: true, logPath: null, stop: async () => {} };

  const listen = listenGiven || portIsFree(config.listen) ? config.listen : "127.0.0.1:0";
  const logPath = files.path("run", "quickstart.log");
  const handle = openSync(logPath, "a", 0o600);
  const log = createLog(config.log_level, { write: (text) => writeSync(handle, text) });
  const server = await runServer({ ...config, listen }, { log });
  return {
    url: server.url,
    foreign: false,
    logPath,
    async stop() {
      await server.stop();
      closeSync(handle);
    },
  };
}

/**
 * An administrator account and a new key. The password is random, shown to the user, and stored only in the data
 * directory.
 */
export async function openAccount(files: Files, email: string): Promise<Person> {
  const path = join(files.root, "quickstart-password");
  const command = async (name: string, args: Record<string, unknown>) => {
    const answer = await callServer(files.root, name, args);
    if (!answer)
      throw new AppError("unavailable", "server_gone", "The server stopped answering. Run quickstart again.");
    return answer;
  };
  const fresh = `${randomChars(6)}-${randomChars(6)}-${randomChars(6)}`;
  let password: string | null = existsSync(path) ? readFileSync(path, "utf8").trim() : null;
  try {
    await command("user.create", { email, password: fresh, role: "admin", name: "Quickstart" });
    writeFileSync(path, `${fresh}\n`, { mode: 0o600 });
    password = fresh;
  } catch (error) {
    if (!(error instanceof AppError) || error.kind !== "conflict") throw error;
  }
  const { key } = await command("key.create", { email, name: `quickstart ${new Date().toISOString().slice(0, 16)}` });
  return { email, password, key: String(key) };
}
