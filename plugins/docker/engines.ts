/**
 * The Docker engines work may run on: reads the list of hosts, and connects over a local socket, TCP with mutual TLS,
 * or SSH with a known host key.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Docker from "dockerode";
import { hostKeyCheck, KnownHostsError } from "./host-keys.ts";

/** One engine. */
export interface Engine {
  /** `[a-zA-Z0-9._-]{1,64}`: the name given in the list, else made of the address. */
  id: string;
  /** As shown to people: the address without anything secret. */
  address: string;
  /** On this machine: its containers can be shown local directories and the server's socket. */
  local: boolean;
  docker: Docker;
}

interface HostProblem {
  message: string;
  remedy: string;
}

const ENTRY = /^(?:([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})=)?((unix|tcp|ssh):\/\/\S+)$/;
const SSH_READY_MS = 15_000;
/** Said on its own, every part of a connection: what DOCKER_HOST and its kin hold must not leak in. */
const NOTHING = {
  host: undefined,
  port: undefined,
  socketPath: undefined,
  username: undefined,
  ca: undefined,
  cert: undefined,
  key: undefined,
  protocol: undefined,
};

class Refused extends Error {
  constructor(
    message: string,
    readonly remedy: string,
  ) {
    super(message);
  }
}

function read(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    throw new Refused(`${what} ${path} cannot be read.`, "Name a file that the server's user can read.");
  }
}

function overTls(url: URL): Docker {
  const folder = url.searchParams.get("certs");
  if (!folder)
    throw new Refused(
      `${url.host} has no certificates: an engine on plain TCP gives root to everybody who reaches it.`,
      "Add ?certs=DIR, a directory with ca.pem, cert.pem and key.pem.",
    );
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((name) => read(join(folder, name), "The certificate"));
  return new Docker({
    ...NOTHING,
    protocol: "https",
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port || 2376),
    ca,
    cert,
    key,
  });
}

function overSsh(url: URL): Docker {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port || 22);
  const fingerprint = url.searchParams.get("host_key");
  const knownHosts = url.searchParams.get("known_hosts");
  if (!fingerprint && !knownHosts)
    throw new Refused(
      `${host} has no host key: without one anybody in between could pretend to be it.`,
      "Add &host_key=SHA256:… (ssh-keygen -lf) or &known_hosts=FILE.",
    );
  if (!url.username) throw new Refused(`${host} has no user.`, "Write ssh://USER@HOST.");
  const key = url.searchParams.get("key");
  if (!key) throw new Refused(`${host} has no private key.`, "Add ?key=FILE, a private key without a passphrase.");
  return new Docker({
    ...NOTHING,
    protocol: "ssh",
    host,
    port,
    username: decodeURIComponent(url.username),
    sshOptions: {
      privateKey: read(key, "The private key"),
      readyTimeout: SSH_READY_MS,
      hostVerifier: hostKeyCheck(host, port, {
        // A plus in a query means a space; fingerprints are full of them.
        fingerprint: fingerprint?.replaceAll(" ", "+") ?? null,
        knownHosts: knownHosts ? read(knownHosts, "The file of known hosts").toString("utf8") : null,
      }),
    },
  });
}

function engineOf(entry: string): Engine {
  const [, name, address, scheme] = ENTRY.exec(entry) ?? [];
  if (!address || !URL.canParse(address))
    throw new Refused(
      `"${entry.slice(0, 100)}" is no address of an engine.`,
      "Write [NAME=]unix:///var/run/docker.sock, [NAME=]tcp://HOST:2376?certs=DIR or [NAME=]ssh://USER@HOST?key=FILE&known_hosts=FILE.",
    );
  const url = new URL(address);
  if (scheme === "unix") {
    const socketPath = decodeURIComponent(url.pathname);
    return {
      id: name ?? "local",
      address: `unix://${socketPath}`,
      local: true,
      docker: new Docker({ ...NOTHING, socketPath }),
    };
  }
  const id = name ?? url.hostname.replace(/[^a-zA-Z0-9._-]/g, "-").slice(0, 64);
  const docker = scheme === "tcp" ? overTls(url) : overSsh(url);
  return { id, address: `${scheme}://${url.host}`, local: false, docker };
}

/** Reads the list of hosts: entries parted by white space or commas. Nothing is connected yet. */
export function readEngines(text: string): { engines: Engine[]; problems: HostProblem[] } {
  const engines: Engine[] = [];
  const problems: HostProblem[] = [];
  const entries = text.split(/[\s,]+/).filter(Boolean);
  if (entries.length === 0)
    problems.push({ message: "No engine is named.", remedy: "Write unix:///var/run/docker.sock for the local one." });
  for (const entry of entries) {
    try {
      const engine = engineOf(entry);
      if (engines.some((one) => one.id === engine.id))
        throw new Refused(`Two engines are called "${engine.id}".`, "Write NAME= before one of the addresses.");
      engines.push(engine);
    } catch (error) {
      if (error instanceof Refused) problems.push({ message: error.message, remedy: error.remedy });
      else if (error instanceof KnownHostsError)
        problems.push({ message: error.message, remedy: "Add the line that ssh-keyscan prints, once it was checked." });
      else throw error;
    }
  }
  return { engines, problems };
}
