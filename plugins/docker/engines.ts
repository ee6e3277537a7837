/**
 * The Docker engines: parses the list of hosts, and connects over a local socket, TCP with mutual TLS, or SSH with a
 * known host key.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Docker from "dockerode";
import { hostKeyCheck, KnownHostsError } from "./host-keys.ts";

/** One engine. */
export interface Engine {
  /** `[a-zA-Z0-9._-]{1,64}`: the name from the list, or derived from the address. */
  id: string;
  /** The address without secrets, for display. */
  address: string;
  /** On this machine, so that containers can mount local directories and the server's socket. */
  local: boolean;
  docker: Docker;
}

interface HostProblem {
  message: string;
  remedy: string;
}

const ENTRY = /^(?:([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})=)?((unix|tcp|ssh):\/\/\S+)$/;
const SSH_READY_MS = 15_000;
/** Unsets every part of a connection, so that DOCKER_HOST and similar variables have no effect. */
const NO_DEFAULTS = {
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
    throw new Refused(`${what} ${path} cannot be read.`, "Use a file that the server's user can read.");
  }
}

function overTls(url: URL): Docker {
  const folder = url.searchParams.get("certs");
  if (!folder)
    throw new Refused(
      `${url.host} has no certificates. An engine on plain TCP gives root access to everyone who can reach it.`,
      "Add ?certs=DIR, a directory with ca.pem, cert.pem and key.pem.",
    );
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((name) => read(join(folder, name), "The certificate"));
  return new Docker({
    ...NO_DEFAULTS,
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
      `${host} has no host key, which is needed against man-in-the-middle attacks.`,
      "Add &host_key=SHA256:… (ssh-keygen -lf) or &known_hosts=FILE.",
    );
  if (!url.username) throw new Refused(`${host} has no user.`, "Use ssh://USER@HOST.");
  const key = url.searchParams.get("key");
  if (!key) throw new Refused(`${host} has no private key.`, "Add ?key=FILE, a private key without a passphrase.");
  return new Docker({
    ...NO_DEFAULTS,
    protocol: "ssh",
    host,
    port,
    username: decodeURIComponent(url.username),
    sshOptions: {
      privateKey: read(key, "The private key"),
      readyTimeout: SSH_READY_MS,
      hostVerifier: hostKeyCheck(host, port, {
        // Query parsing turns the plus signs of a fingerprint into spaces.
        fingerprint: fingerprint?.replaceAll(" ", "+") ?? null,
        knownHosts: knownHosts ? read(knownHosts, "The known_hosts file").toString("utf8") : null,
      }),
    },
  });
}

function engineOf(entry: string): Engine {
  const [, name, address, scheme] = ENTRY.exec(entry) ?? [];
  if (!address || !URL.canParse(address))
    throw new Refused(
      `"${entry.slice(0, 100)}" is not a valid engine address.`,
      "Use [NAME=]unix:///var/run/docker.sock, [NAME=]tcp://HOST:2376?certs=DIR or [NAME=]ssh://USER@HOST?key=FILE&known_hosts=FILE.",
    );
  const url = new URL(address);
  if (scheme === "unix") {
    const socketPath = decodeURIComponent(url.pathname);
    return {
      id: name ?? "local",
      address: `unix://${socketPath}`,
      local: true,
      docker: new Docker({ ...NO_DEFAULTS, socketPath }),
    };
  }
  const id = name ?? url.hostname.replace(/[^a-zA-Z0-9._-]/g, "-").slice(0, 64);
  const docker = scheme === "tcp" ? overTls(url) : overSsh(url);
  return { id, address: `${scheme}://${url.host}`, local: false, docker };
}

/** Parses the list of hosts: entries separated by white space or commas. It does not connect. */
export function readEngines(text: string): { engines: Engine[]; problems: HostProblem[] } {
  const engines: Engine[] = [];
  const problems: HostProblem[] = [];
  const entries = text.split(/[\s,]+/).filter(Boolean);
  if (entries.length === 0)
    problems.push({
      message: "The list of engines is empty.",
      remedy: "Use unix:///var/run/docker.sock for the local engine.",
    });
  for (const entry of entries) {
    try {
      const engine = engineOf(entry);
      if (engines.some((one) => one.id === engine.id))
        throw new Refused(`Two engines have the name "${engine.id}".`, "Put NAME= before one of the addresses.");
      engines.push(engine);
    } catch (error) {
      if (error instanceof Refused) problems.push({ message: error.message, remedy: error.remedy });
      else if (error instanceof KnownHostsError)
        problems.push({ message: error.message, remedy: "Verify the output of ssh-keyscan, then add it." });
      else throw error;
    }
  }
  return { engines, problems };
}
