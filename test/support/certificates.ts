/** A private certificate authority with a server certificate of its own, made by openssl for one test file. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificates {
  /** PEM files: the server's certificate followed by the authority's, its key, and the authority alone. */
  chainFile: string;
  keyFile: string;
  caFile: string;
  /** SHA-256 of the certificates, 64 hexadecimal digits. */
  leaf: string;
  ca: string;
  remove(): void;
}

/** Certificates for `localhost` and 127.0.0.1, valid for two days. */
export function makeCertificates(names = "DNS:localhost,IP:127.0.0.1"): Certificates {
  const dir = mkdtempSync(join(tmpdir(), "ftl-certs-"));
  const at = (name: string) => join(dir, name);
  const openssl = (...args: string[]): string => {
    const run = Bun.spawnSync(["openssl", ...args], { stdout: "pipe", stderr: "pipe" });
    if (run.exitCode !== 0) throw new Error(`openssl ${args[0]}: ${run.stderr.toString()}`);
    return run.stdout.toString();
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const ca = ["-keyout", at("ca.key"), "-out", at("ca.pem"), "-subj", "/CN=Test authority"];
  openssl("req", "-x509", ...key, ...ca, "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE");
  openssl("req", "-new", ...key, "-keyout", at("key.pem"), "-out", at("leaf.csr"), "-subj", "/CN=lab");
  writeFileSync(at("extensions"), `subjectAltName=${names}\nbasicConstraints=CA:FALSE\n`);
  const signed = ["-in", at("leaf.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial"];
  openssl("x509", "-req", ...signed, "-days", "2", "-out", at("leaf.pem"), "-extfile", at("extensions"));
  writeFileSync(at("chain.pem"), readFileSync(at("leaf.pem"), "utf8") + readFileSync(at("ca.pem"), "utf8"));
  const fingerprint = (name: string) =>
    openssl("x509", "-in", at(name), "-noout", "-fingerprint", "-sha256")
      .split("=")[1]
      ?.trim()
      .replaceAll(":", "")
      .toLowerCase() ?? "";
  return {
    chainFile: at("chain.pem"),
    keyFile: at("key.pem"),
    caFile: at("ca.pem"),
    leaf: fingerprint("leaf.pem"),
    ca: fingerprint("ca.pem"),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}
