/**
 * Engines of other machines: TCP only with certificates both ways, SSH only with a known host key; against a real
 * engine with TLS.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, createHmac } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readEngines } from "../../plugins/docker/engines.ts";
import { hostKeyCheck } from "../../plugins/docker/host-keys.ts";
import plugin from "../../plugins/docker/index.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { failureKind } from "../../src/contract/conformance-tools.ts";
import { runProgram, startDockerd, testDocker } from "../support/docker.ts";

const KEY = Buffer.from("AAAAC3NzaC1lZDI1NTE5AAAAIGZsZWV0aW5nIGtleSBmb3IgdGVzdHMgYWxvbmUgISEh", "base64");
const OTHER = Buffer.from("AAAAC3NzaC1lZDI1NTE5AAAAIG90aGVyIGtleSBvZiBzb21lYm9keSBlbHNlICEhISEh", "base64");
const line = KEY.toString("base64");
const fingerprint = `SHA256:${createHash("sha256").update(KEY).digest("base64").replace(/=+$/, "")}`;

function hashed(name: string): string {
  const salt = Buffer.from("twenty bytes of salt");
  return `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(name).digest("base64")}`;
}

describe("addresses of engines", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "ftl-hosts-"));
    writeFileSync(join(dir, "key"), "a key");
    writeFileSync(join(dir, "known_hosts"), `other.example ssh-ed25519 ${line}\n`);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test.each([
    ["", "list of engines is empty"],
    ["http://engine:2375", "not a valid engine address"],
    ["tcp://engine:2375", "gives root access to everyone"],
    ["tcp://engine:2376?certs=/nowhere", "cannot be read"],
    ["ssh://lab@engine?key=KEY", "no host key"],
    ["ssh://engine?key=KEY&host_key=FINGERPRINT", "has no user"],
    ["ssh://lab@engine?host_key=FINGERPRINT", "no private key"],
    ["ssh://lab@engine?key=KEY&host_key=MD5:aa", "must have the form SHA256"],
    ["ssh://lab@engine?key=KEY&known_hosts=KNOWN", "has no key for engine"],
    ["unix:///a.sock unix:///b.sock", "Two engines have the name"],
  ])("%p is refused: %s", (address, words) => {
    const text = address
      .replace("KEY", join(dir, "key"))
      .replace("KNOWN", join(dir, "known_hosts"))
      .replace("FINGERPRINT", fingerprint);
    const { problems } = readEngines(text);
    expect(problems.map((one) => one.message).join()).toContain(words);
    expect(problems.every((one) => one.remedy.length > 10)).toBe(true);
  });

  test("several engines, with and without names; those of other machines are not local", () => {
    const ssh = `gpu1=ssh://lab@10.0.0.5:2222?key=${join(dir, "key")}&host_key=${fingerprint}`;
    const { engines, problems } = readEngines(`unix:///var/run/docker.sock,\n${ssh}`);
    expect(problems).toEqual([]);
    expect(engines.map(({ id, address, local }) => [id, address, local])).toEqual([
      ["local", "unix:///var/run/docker.sock", true],
      ["gpu1", "ssh://10.0.0.5:2222", false],
    ]);
  });

  test("a host key matches by fingerprint, name, name and port, or hashed name", () => {
    const check = (host: string, port: number, knownHosts: string) =>
      hostKeyCheck(host, port, { fingerprint: null, knownHosts });
    for (const [host, port, text] of [
      ["gpu1", 22, `gpu1,10.0.0.5 ssh-ed25519 ${line}`],
      ["gpu1", 2222, `# a comment\n[gpu1]:2222 ssh-ed25519 ${line} lab`],
      ["gpu1", 22, `${hashed("gpu1")} ssh-ed25519 ${line}`],
    ] as const) {
      expect(check(host, port, text)(KEY), text).toBe(true);
      expect(check(host, port, text)(OTHER), text).toBe(false);
    }
    const pinned = hostKeyCheck("gpu1", 22, { fingerprint, knownHosts: null });
    expect([pinned(KEY), pinned(OTHER)]).toEqual([true, false]);
    expect(() => check("gpu1", 2222, `gpu1 ssh-ed25519 ${line}`)).toThrow("no key for gpu1");
    expect(() => check("gpu1", 22, `@revoked gpu1 ssh-ed25519 ${line}`)).toThrow("no key for gpu1");
  });
});

const docker = await testDocker();
const skip = "skip" in docker ? docker.skip : process.getuid?.() === 0 ? null : "dockerd needs root";

describe.skipIf(skip !== null)(`an engine over TCP${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let dir: string;
  let port: number;
  let stop: () => Promise<void>;

  /** A certificate authority in `folder`, and certificates of it for the engine and for its callers. */
  async function authority(folder: string): Promise<void> {
    mkdirSync(join(folder, "client"), { recursive: true });
    mkdirSync(join(folder, "server"));
    const at = (...names: string[]) => join(folder, ...names);
    const openssl = (...words: string[]) => runProgram(["openssl", ...words]);
    await openssl(
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=test authority",
      "-keyout",
      at("ca.key"),
      "-out",
      at("ca.pem"),
    );
    for (const [role, usage] of [
      ["server", "serverAuth"],
      ["client", "clientAuth"],
    ] as const) {
      writeFileSync(at(`${role}.ext`), `extendedKeyUsage=${usage}\nsubjectAltName=IP:127.0.0.1\n`);
      await openssl(
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        `/CN=${role}`,
        "-keyout",
        at(role, "key.pem"),
        "-out",
        at(`${role}.csr`),
      );
      await openssl(
        "x509",
        "-req",
        "-in",
        at(`${role}.csr`),
        "-CA",
        at("ca.pem"),
        "-CAkey",
        at("ca.key"),
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        at(`${role}.ext`),
        "-out",
        at(role, "cert.pem"),
      );
      await Bun.write(at(role, "ca.pem"), Bun.file(at("ca.pem")));
    }
  }

  beforeAll(async () => {
    if ("skip" in docker) return;
    dir = mkdtempSync(join(tmpdir(), "ftl-tls-"));
    await Promise.all([authority(join(dir, "ours")), authority(join(dir, "theirs"))]);
    port = await new Promise<number>((resolve) => {
      const probe = createServer().listen(0, "127.0.0.1", () => {
        const { port: free } = probe.address() as { port: number };
        probe.close(() => resolve(free));
      });
    });
    const server = join(dir, "ours/server");
    const tls = [
      "--tlsverify",
      "--tlscacert",
      join(server, "ca.pem"),
      "--tlscert",
      join(server, "cert.pem"),
      "--tlskey",
      join(server, "key.pem"),
    ];
    ({ stop } = await startDockerd(join(dir, "data"), join(dir, "d.sock"), ["-H", `tcp://127.0.0.1:${port}`, ...tls]));
  }, 60_000);
  afterAll(async () => {
    await stop?.();
    if (!("skip" in docker)) await docker.close();
    rmSync(dir, { recursive: true, force: true });
  }, 30_000);

  const setup = (certs: string) =>
    conformanceSetup(plugin, { hosts: `far=tcp://127.0.0.1:${port}?certs=${join(dir, certs)}` }, dir);

  test("with certificates of one authority it makes offers as another machine", async () => {
    const { make, tools } = setup("ours/client");
    const offers = await make().offers(tools.need);
    expect(offers.map(({ id, local }) => [id, local])).toEqual([["far", false]]);
    expect(await make().listOwned(tools.installation)).toEqual([]);
  });

  test.each([["theirs/client"], ["ours/mixed"]])(
    "with the certificates %s it is not let in, and does not believe the engine",
    async (certs) => {
      if (certs === "ours/mixed") {
        // Our authority for the engine, somebody else's for ourselves.
        mkdirSync(join(dir, certs));
        await Bun.write(join(dir, certs, "ca.pem"), Bun.file(join(dir, "ours/ca.pem")));
        for (const name of ["cert.pem", "key.pem"])
          await Bun.write(join(dir, certs, name), Bun.file(join(dir, "theirs/client", name)));
      }
      const { make, tools } = setup(certs);
      const error = await make()
        .offers(tools.need)
        .then(
          () => null,
          (problem) => problem,
        );
      expect(error).not.toBeNull();
      expect(["auth", "transient"]).toContain(failureKind(error));
      expect(String(error)).not.toContain("PRIVATE KEY");
    },
  );

  test("work and endpoints that need a socket of this machine are refused", async () => {
    const { make, tools } = setup("ours/client");
    const [offer] = await make().offers(tools.need);
    const spec = { kind: "train" as const, need: tools.need, image: null, argv: ["true"], env: {} };
    const go = (kind: "train" | "serve", url: string) =>
      make()
        .launch({ ...spec, kind }, offer as NonNullable<typeof offer>, {
          key: tools.key(),
          labels: {},
          deadline: Date.now() + 1000,
          maxPricePerHour: null,
          callHome: { url, token: "fta-0123456789", fingerprint: null },
        })
        .then(
          () => null,
          (problem) => problem,
        );
    expect(String(await go("train", "unix:/run/trainer.sock"))).toContain("public_url");
    expect(String(await go("serve", "https://lab.example.com"))).toContain("own machine");
  });
});
