/**
 * An engine over SSH, against a real sshd: let in with the right keys, and nothing said to a host whose key is another.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import plugin from "../../plugins/docker/index.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { failureKind } from "../../src/contract/conformance-tools.ts";
import { runProgram, testDocker } from "../support/docker.ts";

const SSHD = "/usr/sbin/sshd";
const docker = await testDocker();
const skip =
  "skip" in docker
    ? docker.skip
    : !existsSync(SSHD)
      ? "sshd is not installed (Debian: apt-get install openssh-server)"
      : !Bun.which("docker")
        ? "the docker command is not installed"
        : process.getuid?.() !== 0
          ? "sshd needs root"
          : null;

describe.skipIf(skip !== null)(`an engine over SSH${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let dir: string;
  let port: number;
  let sshd: Bun.Subprocess;

  beforeAll(async () => {
    if ("skip" in docker) return;
    dir = mkdtempSync(join(tmpdir(), "ftl-ssh-"));
    const keygen = (name: string) =>
      runProgram(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", join(dir, name)]);
    await Promise.all(["host", "stranger", "client"].map(keygen));
    port = await new Promise<number>((resolve) => {
      const probe = createServer().listen(0, "127.0.0.1", () => {
        const { port: free } = probe.address() as { port: number };
        probe.close(() => resolve(free));
      });
    });
    const lines = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${join(dir, "host")}`,
      `AuthorizedKeysFile ${join(dir, "client.pub")}`,
      "StrictModes no",
      // Root's account is often locked: PAM lets keys in all the same.
      "UsePAM yes",
      "LogLevel VERBOSE",
      "PasswordAuthentication no",
      "PermitRootLogin prohibit-password",
      `PidFile ${join(dir, "pid")}`,
      `SetEnv DOCKER_HOST=${docker.address} PATH=${process.env.PATH}`,
    ];
    writeFileSync(join(dir, "config"), `${lines.join("\n")}\n`);
    mkdirSync("/run/sshd", { recursive: true });
    sshd = Bun.spawn([SSHD, "-D", "-e", "-f", join(dir, "config")], { stderr: Bun.file(join(dir, "log")) });
    const known = (name: string, key: string) =>
      writeFileSync(join(dir, name), `[127.0.0.1]:${port} ${readFileSync(join(dir, `${key}.pub`), "utf8")}`);
    known("known", "host");
    known("deceived", "stranger");
    await Bun.sleep(500);
  }, 30_000);
  afterAll(async () => {
    sshd?.kill();
    await sshd?.exited;
    if (!("skip" in docker)) await docker.close();
    rmSync(dir, { recursive: true, force: true });
  }, 30_000);

  const setup = (knownHosts: string, key = "client") => {
    const query = `key=${join(dir, key)}&known_hosts=${join(dir, knownHosts)}`;
    return conformanceSetup(plugin, { hosts: `far=ssh://root@127.0.0.1:${port}?${query}` }, dir);
  };
  const kindOf = (work: Promise<unknown>) =>
    work.then(
      () => "worked",
      (error) => failureKind(error),
    );

  test("with the host's key known, it makes offers and lists work", async () => {
    const { make, tools } = setup("known");
    expect((await make().offers(tools.need)).map(({ id, local }) => [id, local])).toEqual([["far", false]]);
    expect(await make().listOwned(tools.installation)).toEqual([]);
    expect((await make().describe({ provider: "docker", key: "nothing" })).state).toBe("absent");
  }, 30_000);

  test("the first connection was accepted by key", () => {
    expect(readFileSync(join(dir, "log"), "utf8")).toContain("Accepted publickey for root");
  });

  test("a host with another key is refused", async () => {
    const { make, tools } = setup("deceived");
    expect(await kindOf(make().offers(tools.need))).toBe("auth");
  }, 30_000);

  test("a host that does not know our key is an authentication error", async () => {
    const { make, tools } = setup("known", "stranger");
    expect(await kindOf(make().offers(tools.need))).toBe("auth");
  }, 30_000);
});
