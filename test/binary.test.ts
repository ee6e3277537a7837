/**
 * The compiled program, alone: copied to an empty directory it sets up, signs in, takes data and refuses a second
 * server, with no source near it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "../scripts/build.ts";
import type { CookieBrowser } from "./support/cookies.ts";
import { peakMemory, startPeak, until } from "./support/live.ts";
import { addPasskey, SoftPasskey, sendPasskey } from "./support/passkey.ts";
import { startSamlProvider } from "./support/saml-provider.ts";

const EMAIL = "first@example.test";
const PASSWORD = "a long enough phrase 41";

let place: string;
let program: string;
let data: string;
let server: ReturnType<typeof Bun.spawn> | null = null;
let output = "";
let url = "";
let cookie = "";

/** Runs a verb from the empty directory, with nothing of this machine's environment but PATH. */
function run(...args: string[]) {
  const child = Bun.spawnSync([program, ...args], { cwd: place, env: { PATH: process.env.PATH ?? "", HOME: place } });
  return { code: child.exitCode, out: child.stdout.toString(), err: child.stderr.toString() };
}

async function start(): Promise<void> {
  output = "";
  const child = Bun.spawn([program, "serve", "--data", data, "--listen", "127.0.0.1:0"], {
    cwd: place,
    env: { PATH: process.env.PATH ?? "", HOME: place, FTL_SSO_HOSTS: "127.0.0.1 localhost" },
    stdout: "pipe",
    stderr: Bun.file(join(place, "server.log")),
  });
  server = child;
  void (async () => {
    for await (const chunk of child.stdout) output += new TextDecoder().decode(chunk);
  })();
  url = await until("the address", async () => /listens on (http:\S+)/.exec(output)?.[1]);
}

/** A form sent as a page of the site sends it. */
const post = (path: string, fields: Record<string, string>) =>
  fetch(url + path, {
    method: "POST",
    redirect: "manual",
    headers: { origin: url, "sec-fetch-site": "same-origin", ...(cookie ? { cookie } : {}) },
    body: new URLSearchParams(fields),
  });

beforeAll(async () => {
  place = mkdtempSync(join(tmpdir(), "ftl-binary-"));
  const built = mkdtempSync(join(tmpdir(), "ftl-built-"));
  const given = process.env.FTL_TEST_PROGRAM;
  if (!given) await build(join(built, "finetune-lab"));
  program = join(place, "finetune-lab");
  copyFileSync(given ?? join(built, "finetune-lab"), program);
  rmSync(built, { recursive: true });
  data = join(place, "data");
}, 120_000);

afterAll(async () => {
  server?.kill("SIGTERM");
  await server?.exited;
  rmSync(place, { recursive: true, force: true });
}, 30_000);

describe("the binary in an empty directory", () => {
  test("serves on an empty data directory within seconds and prints a one-time link", async () => {
    await start();
    const health = await fetch(`${url}/healthz`);
    expect(await health.json()).toEqual({ status: "ok" });
    expect(output).toContain(`${url}/setup?token=`);
  }, 30_000);

  test("the link makes the first administrator, who is signed in; the link is spent", async () => {
    const link = /\S+\/setup\?token=\S+/.exec(output)?.[0] ?? "";
    const page = await fetch(link);
    expect(page.status).toBe(200);
    const token = new URL(link).searchParams.get("token") ?? "";
    expect(await page.text()).toContain(token);
    const answer = await post("/setup", { token, email: EMAIL, name: "First", password: PASSWORD });
    expect(answer.status, await answer.clone().text()).toBe(303);
    expect(answer.headers.getSetCookie().length).toBeGreaterThan(0);
    expect((await fetch(link)).status).toBe(410);
    expect((await post("/setup", { token, email: "second@example.test", password: PASSWORD })).status).toBe(410);
  });

  test("signs in with a password, not with a wrong one", async () => {
    expect((await post("/login", { email: EMAIL, password: "wrong phrase 4141" })).status).toBe(401);
    const answer = await post("/login", { email: EMAIL, password: PASSWORD });
    expect(answer.status).toBe(303);
    cookie = answer.headers
      .getSetCookie()
      .map((line) => line.split(";")[0])
      .join("; ");
    const home = await fetch(url, { headers: { cookie } });
    expect(home.status).toBe(200);
    expect(await home.text()).not.toContain('action="/login"');
  });

  test("every stylesheet and script of the page is inside", async () => {
    const page = await (await fetch(`${url}/login`)).text();
    const addresses = [...page.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)].map((match) => match[1] as string);
    expect(addresses.length).toBeGreaterThan(2);
    for (const address of addresses) expect((await fetch(url + address)).status, address).toBe(200);
  });

  test("opens every page that its pages link to, and its code is never in its output", async () => {
    const seen = new Set(["/"]);
    for (const path of seen) {
      const answer = await fetch(url + path, { headers: { cookie } });
      expect(answer.status, path).toBeLessThan(400);
      const linked = (await answer.text()).matchAll(/href="(\/(?!assets\/|v1\/|logout)[^"#?.]*)"/g);
      for (const [, next] of linked) if (next && seen.size < 100) seen.add(next);
    }
    expect(seen.size).toBeGreaterThan(40);
    // Elysia reads handlers as texts at their first request, and prints those that it cannot read.
    for (const path of ["/deployments", "/evaluations", "/sweeps", "/jobs", "/datasets"])
      await post(path, { model: "x" });
    expect(output).not.toContain("[Sucrose]");
  });

  test("takes a dataset, validates it in its worker and holds rows out", async () => {
    const key = run("key", "create", "--email", EMAIL, "--name", "binary", "--data", data).out.trim();
    const headers = { authorization: `Bearer ${key}` };
    const form = new FormData();
    form.append("file", Bun.file(join(import.meta.dir, "../examples/support-messages.jsonl")));
    const made = await fetch(`${url}/v1/datasets`, { method: "POST", headers, body: form });
    expect(made.status, await made.clone().text()).toBe(200);
    const { id } = (await made.json()) as { id: string };
    const version = await until("validation", async () => {
      const found = (await (await fetch(`${url}/v1/datasets/${id}`, { headers })).json()) as {
        version: { status: string; rows: number; holdout_rows: number; error: string | null };
      };
      return found.version.status === "validating" ? null : found.version;
    });
    expect(version).toMatchObject({ status: "ready", rows: 400, holdout_rows: 40, error: null });
  }, 60_000);

  test("its worker reads archives and tables, whose codecs are inside", async () => {
    const key = run("key", "create", "--email", EMAIL, "--name", "tables", "--data", data).out.trim();
    const headers = { authorization: `Bearer ${key}` };
    const names = ["chat.jsonl.xz", "chat.parquet", "zstd.feather", "lz4.feather", "book.xlsx", "packed.zip"];
    const folder = join(import.meta.dir, "cases/containers");
    const rows = await Promise.all(
      names.map(async (name) => {
        const body = Bun.file(join(folder, name));
        const made = await fetch(`${url}/v1/datasets?filename=${name}`, {
          method: "POST",
          headers: { ...headers, "content-type": "application/octet-stream" },
          body,
        });
        const { id } = (await made.json()) as { id: string };
        return until(name, async () => {
          const found = (await (await fetch(`${url}/v1/datasets/${id}`, { headers })).json()) as {
            version: { status: string; rows: number };
          };
          return found.version.status === "validating" ? null : found.version.rows;
        });
      }),
    );
    expect(rows).toEqual(names.map(() => 12));
  }, 60_000);

  test("sends a browser to an identity provider: the client library is inside", async () => {
    const key = run("key", "create", "--email", EMAIL, "--name", "sso", "--data", data).out.trim();
    const idp = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: ({ url }) => {
        const issuer = new URL(url).origin;
        return Response.json({
          issuer,
          authorization_endpoint: `${issuer}/auth`,
          token_endpoint: `${issuer}/token`,
          jwks_uri: `${issuer}/jwks`,
        });
      },
    });
    try {
      const issuer = `http://127.0.0.1:${idp.port}`;
      const made = await fetch(`${url}/v1/admin/sso`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        body: JSON.stringify({ name: "Acme", issuer, client_id: "lab", domains: ["acme.test"] }),
      });
      const { id } = (await made.json()) as { id: string };
      const begun = await fetch(`${url}/sso/${id}/start`, { redirect: "manual" });
      const to = new URL(begun.headers.get("location") ?? "");
      expect([to.origin, to.searchParams.get("code_challenge_method")]).toEqual([issuer, "S256"]);
    } finally {
      await idp.stop(true);
    }
  });

  test("signs a SAML request and checks the signature of an answer", async () => {
    const key = run("key", "create", "--email", EMAIL, "--name", "saml", "--data", data).out.trim();
    const saml = await startSamlProvider(Date.now);
    try {
      const made = await fetch(`${url}/v1/admin/sso`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        body: JSON.stringify({
          type: "saml",
          name: "Acme",
          metadata_url: saml.metadataUrl,
          domains: ["saml.test"],
        }),
      });
      const { id } = (await made.json()) as { id: string };
      saml.trust(await (await fetch(`${url}/sso/${id}/metadata`)).text());
      const begun = await fetch(`${url}/sso/${id}/start`, { redirect: "manual" });
      const answers = async () => {
        const { form } = await saml.answer(begun.headers.get("location") ?? "", "ann");
        const body = new URLSearchParams(form);
        return fetch(`${url}/sso/${id}/acs`, { method: "POST", body, redirect: "manual" });
      };
      expect((await answers()).headers.get("location")).toStartWith(`/sso/${id}/arrive?answer=`);
      saml.tampering = { key: "other" };
      expect((await answers()).status).toBe(403);
    } finally {
      await saml.close();
    }
  });

  test("runs in production mode: a large refused value is neither formatted, nor answered, nor logged", async () => {
    const key = run("key", "create", "--email", EMAIL, "--name", "wide", "--data", data).out.trim();
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const ask = (body: string) => fetch(`${url}/v1/keys`, { method: "POST", headers, body });
    // What formatting costs, it costs each time; when memory is collected depends on the moment.
    const grown: number[] = [];
    for (let n = 0; n < 3; n++) {
      const before = startPeak(server?.pid ?? 0);
      const answer = await ask(`{"name":${"[".repeat(60)}${"7,".repeat(500_000)}7${"]".repeat(60)}}`);
      expect(answer.status).toBe(400);
      expect(await answer.text()).not.toContain("7,7");
      grown.push(peakMemory(server?.pid ?? 0) - before);
    }
    expect(Math.min(...grown)).toBeLessThan(50e6);
    expect(readFileSync(join(place, "server.log"), "utf8")).not.toContain("7,7");
  });

  test("adds a passkey and signs in with it: the library that checks it is inside", async () => {
    // Browsers bind no passkey to an IP address.
    const site = url.replace("127.0.0.1", "localhost");
    const browser = (session: string): Pick<CookieBrowser, "send" | "json"> => {
      let jar = session;
      const send: CookieBrowser["send"] = async (method, path, given = {}) => {
        const answer = await fetch(site + path, {
          method,
          redirect: "manual",
          headers: { origin: site, "sec-fetch-site": "same-origin", cookie: jar },
          body: given.form ? new URLSearchParams(given.form) : undefined,
        });
        jar = [jar, ...answer.headers.getSetCookie().map((line) => line.split(";")[0])].filter(Boolean).join("; ");
        return answer;
      };
      return { send, json: async (method, path) => (await send(method, path)).json() };
    };
    const own = browser(cookie);
    const key = new SoftPasskey(site);
    expect(await (await addPasskey(own, "Laptop", key)).text()).toContain("Your recovery codes");
    const { answer } = await sendPasskey(browser(""), "/login/passkey", "sign_in", key);
    expect([answer.status, answer.headers.get("location")]).toEqual([303, "/jobs"]);
    const { data } = await own.json<{ data: { id: string }[] }>("GET", "/v1/passkeys");
    expect((await own.send("DELETE", `/v1/passkeys/${data[0]?.id}`)).status).toBe(200);
  });

  test("the commands of the plugin author's guide end in two green checks", () => {
    const guide = readFileSync(join(import.meta.dir, "../docs/plugin-authors.md"), "utf8");
    const [, commands = ""] = /```sh\n([\s\S]*?)```/.exec(guide) ?? [];
    expect(commands.match(/finetune-lab plugin/g)?.length).toBe(4);
    const empty = join(place, "author");
    mkdirSync(empty);
    const env = { PATH: `${place}:${process.env.PATH}`, HOME: place };
    const child = Bun.spawnSync(["sh", "-ec", commands], { cwd: empty, env });
    expect([child.exitCode, child.stderr.toString()]).toEqual([0, ""]);
    expect(child.stdout.toString().match(/^all passed$/gm)?.length).toBe(2);
  }, 60_000);

  test("the client of AWS is inside", () => {
    const settings = {
      access_key_id: "AKIAIOSFODNN7EXAMPLE",
      secret_access_key: "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
      image: `registry.example/trainer@sha256:${"ab".repeat(32)}`,
      endpoint: "http://127.0.0.1:1",
    };
    const { out } = run("plugin", "check", "aws", "--config", JSON.stringify(settings));
    expect(out).toContain("ok    a working configuration validates");
    expect(out).toContain("AWS did not answer in us-east-1");
  }, 60_000);

  test("a second server on the same data directory is refused with exit code 3", () => {
    const second = run("serve", "--data", data, "--listen", "127.0.0.1:0");
    expect(second.code).toBe(3);
    expect(second.err).toContain("in use");
  });

  test("stops on SIGTERM, starts again on the same data, and prints no link any more", async () => {
    server?.kill("SIGTERM");
    expect(await server?.exited).toBe(0);
    await start();
    expect(await fetch(`${url}/healthz`).then((answer) => answer.status)).toBe(200);
    await Bun.sleep(200);
    expect(output).not.toContain("/setup?token=");
    expect((await fetch(url, { headers: { cookie } })).status).toBe(200);
  }, 30_000);

  test("unpacks the trainer's sources as they are in the repository", () => {
    // Any program will do as interpreter: the sources are unpacked before it is asked for its packages.
    const env = join(place, "env");
    // On the data of the running server, doctor would ask that server.
    const empty = join(place, "empty");
    mkdirSync(join(env, "bin"), { recursive: true });
    symlinkSync("/bin/sh", join(env, "bin", "python"));
    const child = Bun.spawnSync([program, "doctor", "--data", empty], { cwd: place, env: { FTL_TRAINER_ENV: env } });
    expect(child.exitCode).toBe(1);
    const unpacked = [...new Bun.Glob("trainer/*/finetune_trainer/__main__.py").scanSync(empty)];
    expect(unpacked.length).toBe(1);
    const ours = readFileSync(join(import.meta.dir, "../trainer/finetune_trainer/__main__.py"), "utf8");
    expect(readFileSync(join(empty, unpacked[0] as string), "utf8")).toBe(ours);
  });
});
