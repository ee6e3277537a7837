/** Import from the hub, against a small hub on this machine that breaks connections, sends wrong data and redirects. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { redirectAllowed } from "../../src/models/base/hub.ts";
import { installEnded } from "../../src/models/base/install.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { MODEL_FILES, safetensors } from "../support/models.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const big = safetensors({ weight: { dtype: "F32", shape: [100_000], data_offsets: [0, 400_000] } }, 400_000);
const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const gitBlob = (text: string) => new Bun.CryptoHasher("sha1").update(`blob ${text.length}\0${text}`).digest("hex");

let seen: { path: string; range: string | null; authorization: string | null }[] = [];
/** The misbehavior of this hub: a response for the path, or null for the correct one. */
let trick: (path: string, request: Request) => Response | null = () => null;
let extra: string[] = [];
let license: unknown = "apache-2.0";

const hub = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  error: () => new Response("broken", { status: 500 }),
  fetch(request) {
    const path = new URL(request.url).pathname;
    seen.push({ path, range: request.headers.get("range"), authorization: request.headers.get("authorization") });
    const own = trick(path, request);
    if (own) return own;
    if (path === "/api/models/acme/small/revision/main" || path === `/api/models/acme/small/revision/${COMMIT}`)
      return Response.json({
        sha: COMMIT,
        cardData: { license },
        siblings: [
          ...["config.json", "tokenizer.json", "tokenizer_config.json", "README.md"].map((rfilename) => {
            const text = String(MODEL_FILES[rfilename]);
            return { rfilename, size: text.length, blobId: gitBlob(text) };
          }),
          { rfilename: "model.safetensors", size: big.length, lfs: { sha256: sha256(big), size: big.length } },
          ...extra.map((rfilename) => ({ rfilename, size: 10 })),
        ],
      });
    const file = /^\/acme\/small\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(path);
    if (file?.[2] === "model.safetensors") return Response.redirect(`/store/${file[1]}`, 302);
    if (path.startsWith("/store/")) {
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
      return new Response(big.slice(from), { status: from > 0 ? 206 : 200 });
    }
    const content = MODEL_FILES[file?.[2] ?? ""];
    return content === undefined ? new Response("no", { status: 404 }) : new Response(content);
  },
});
const apps: TestApp[] = [];
afterAll(async () => {
  await hub.stop(true);
  for (const app of apps) await app.close();
});
beforeEach(() => {
  seen = [];
  extra = [];
  license = "apache-2.0";
  trick = () => null;
});

const app = async (config = {}) => {
  const t = await createTestApp({ config: { hub_url: `http://127.0.0.1:${hub.port}`, ...config } });
  apps.push(t);
  return t;
};
type View = {
  id: string;
  status: string;
  error: string | null;
  source: { revision: string };
  license: { accepted: boolean };
};
const fetchModel = async (t: TestApp, body = {}) => {
  await t.json("POST", "/v1/base_models/import", { body: { source: "hub", repo: "acme/small", ...body } });
  await installEnded(t.ctx, "small");
  return t.json<View>("GET", "/v1/base_models/small");
};

test("pins the commit behind a branch, downloads the files that a model needs, checks their hashes", async () => {
  extra = ["pytorch_model.bin", "modeling_small.py", "onnx/model.onnx"];
  const t = await app();
  const model = await fetchModel(t);
  expect(model).toMatchObject({
    status: "ready",
    error: null,
    source: { kind: "hub", reference: "acme/small", revision: COMMIT },
  });
  const fetched = seen.map((one) => one.path).filter((path) => path.includes("/resolve/"));
  expect(fetched.map((path) => path.split("/").at(-1)).sort()).toEqual([
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  expect(fetched.every((path) => path.includes(COMMIT))).toBe(true);
  expect(await t.json("GET", "/v1/base_models/acme%2Fsmall")).toMatchObject({ id: "small" });
});

test("resumes after a broken connection", async () => {
  let broken = 0;
  trick = (path, request) => {
    if (!path.startsWith("/store/") || request.headers.has("range")) return null;
    broken++;
    const half = new ReadableStream({
      async start(controller) {
        controller.enqueue(big.slice(0, 150_000));
        await Bun.sleep(20);
        controller.error(new Error("cut"));
      },
    });
    return new Response(half, { headers: { "content-length": String(big.length) } });
  };
  const t = await app();
  expect(await fetchModel(t)).toMatchObject({ status: "ready" });
  expect(broken).toBe(1);
  const ranges = seen.flatMap((one) => one.range ?? []);
  expect(ranges.length).toBeGreaterThan(0);
  expect(Number(/\d+/.exec(ranges[0] ?? "")?.[0])).toBeGreaterThan(0);
});

const lies: [string, (path: string) => Response | null, string][] = [
  [
    "a file with another hash",
    (path) => (path.startsWith("/store/") ? new Response(new Uint8Array(big.length)) : null),
    "does not match the size or hash that the hub lists",
  ],
  [
    "a small file with another hash",
    (path) =>
      path.endsWith("/config.json")
        ? new Response('{"model_type":"llamb","num_hidden_layers":1,"hidden_size":8,"num_attention_heads":2}')
        : null,
    "does not match the size or hash",
  ],
  [
    "more bytes than listed",
    (path) => (path.startsWith("/store/") ? new Response(new Uint8Array(big.length + 1)) : null),
    "longer than the hub lists",
  ],
  [
    "a redirect into this network",
    (path) =>
      path.endsWith("/model.safetensors") ? Response.redirect("http://169.254.169.254/latest/meta-data", 302) : null,
    "not one of its own addresses",
  ],
  [
    "a redirect to another port of this machine",
    (path) => (path.endsWith("/model.safetensors") ? Response.redirect("http://127.0.0.1:1/x", 302) : null),
    "not one of its own addresses",
  ],
  [
    "endless redirects",
    (path) => (path.startsWith("/store/") ? Response.redirect(path, 302) : null),
    "redirected more than 5 times",
  ],
];
test.each(lies)("refuses %s", async (_, wrong, says) => {
  trick = wrong;
  const model = await fetchModel(await app());
  expect(model.status).toBe("failed");
  expect(model.error).toContain(says);
});

test("redirects are allowed only to the hub itself and, over HTTPS, to its file hosts", () => {
  const home = new URL("https://huggingface.co");
  const cases: [string, boolean][] = [
    ["https://huggingface.co/x", true],
    ["https://cdn-lfs-us-1.hf.co/x", true],
    ["https://cas-bridge.xethub.hf.co/x", true],
    ["http://cdn-lfs.hf.co/x", false],
    ["https://hf.co.evil.test/x", false],
    ["https://evilhf.co/x", false],
    ["https://cdn-lfs.hf.co:8443/x", false],
    ["https://169.254.169.254/x", false],
    ["file:///etc/passwd", false],
  ];
  for (const [url, allowed] of cases) expect([url, redirectAllowed(home, new URL(url))]).toEqual([url, allowed]);
});

test("the access token is sent to the hub", async () => {
  const t = await app({ hub_token: "hf_secret" });
  expect(await fetchModel(t)).toMatchObject({ status: "ready" });
  expect(new Set(seen.map((one) => one.authorization))).toEqual(new Set(["Bearer hf_secret"]));
});

const refusals: [string, number, number, string][] = [
  ["a gated model", 403, 403, "hub_access"],
  ["an unknown model", 404, 404, "hub_not_found"],
  ["a hub that fails", 500, 503, "hub_unreachable"],
];
test.each(refusals)("says what to do about %s", async (_, answers, status, code) => {
  trick = () => new Response("{}", { status: answers });
  const t = await app();
  const reply = await t.request("POST", "/v1/base_models/import", { body: { source: "hub", repo: "acme/small" } });
  expect([reply.status, (await reply.json()).error.code]).toEqual([status, code]);
});

test("a repository with only pickles is refused before any download", async () => {
  trick = (path) =>
    path.startsWith("/api/")
      ? Response.json({ sha: COMMIT, siblings: [{ rfilename: "pytorch_model.bin" }, { rfilename: "config.json" }] })
      : null;
  const t = await app();
  const reply = await t.request("POST", "/v1/base_models/import", { body: { source: "hub", repo: "acme/small" } });
  expect([reply.status, (await reply.json()).error.message]).toEqual([400, expect.stringContaining("pickled")]);
});

test("a license that is not permissive has to be accepted by a person", async () => {
  license = "llama3.2";
  const t = await app();
  expect(await fetchModel(t)).toMatchObject({
    status: "ready",
    license: { name: "llama3.2", requires_acceptance: true, accepted: false },
  });
});

test("with an empty hub_url the hub is never contacted, and the error says so", async () => {
  const t = await app({ hub_url: "" });
  const reply = await t.request("POST", "/v1/base_models/import", { body: { source: "hub", repo: "acme/small" } });
  expect([reply.status, (await reply.json()).error.code, seen.length]).toEqual([503, "hub_disabled", 0]);
});
