/**
 * A hub for tests of pushes: repositories, branches, large files in a storage at another address, and commits, as the
 * HTTP API of the Hugging Face hub has them. Everything that arrives is checked. Python's client is held to it as well.
 */
import { createHash } from "node:crypto";

export const WRITE_TOKEN = "hf_write_41_tokentokentoken";
export const READ_TOKEN = "hf_read_41_tokentokentoken";
const OWNERS = ["acme", "grace"];

interface Entry {
  bytes: Buffer;
  large: boolean;
}
interface Repository {
  private: boolean;
  branches: Map<string, string>;
  commits: Map<string, Map<string, Entry>>;
  messages: string[];
}
/** An answer in place of the real one, `times` times. */
export interface Fault {
  on: RegExp;
  times: number;
  status: number;
  headers?: Record<string, string>;
  body?: string;
  /** The request is carried out before it is answered this way. */
  after?: boolean;
  /** The connection breaks in place of an answer. */
  breaks?: boolean;
}

export interface Hub {
  url: string;
  storageHost: string;
  repos: Map<string, Repository>;
  objects: Map<string, Buffer>;
  /** Requests as `METHOD path`, and whether the token came along. */
  log: { line: string; secret: boolean }[];
  faults: Fault[];
  /** Holds uploads to the storage until it is resolved. */
  hold: Promise<void> | null;
  /** Files above this go to the storage in parts of this size. */
  chunk: number;
  /** The content of a branch, by path. */
  files(repo: string, branch?: string): Record<string, Buffer>;
  stop(): void;
}

const hash = (kind: string, ...parts: (string | Uint8Array)[]) => {
  const hasher = createHash(kind);
  for (const part of parts) hasher.update(part);
  return hasher.digest("hex");
};
const refuse = (status: number, error: string, code = "") =>
  Response.json(
    { error },
    { status, headers: { "x-error-message": error, ...(code ? { "x-error-code": code } : {}) } },
  );

export function startHub(): Hub {
  const repos: Hub["repos"] = new Map();
  const objects: Hub["objects"] = new Map();
  const partsOf = new Map<string, Map<number, Buffer>>();
  const sizes = new Map<string, number>();

  const created = (isPrivate: boolean): Repository => {
    const first = hash("sha1", String(Math.random()));
    const attributes: Entry = { bytes: Buffer.from("*.safetensors filter=lfs\n"), large: false };
    return {
      private: isPrivate,
      branches: new Map([["main", first]]),
      commits: new Map([[first, new Map([[".gitattributes", attributes]])]]),
      messages: [],
    };
  };

  function create(body: { name: string; organization: string; private?: boolean; visibility?: string }): Response {
    if (!OWNERS.includes(body.organization))
      return refuse(403, `You don't have the rights to create a model under the namespace "${body.organization}".`);
    const name = `${body.organization}/${body.name}`;
    if (repos.has(name)) return refuse(409, "You already created this model repo");
    repos.set(name, created(body.private ?? body.visibility === "private"));
    return Response.json({ url: `${hub.url}/${name}`, name, id: name });
  }

  function tree(repo: Repository, revision: string, url: URL): Response {
    const files = repo.commits.get(repo.branches.get(revision) ?? revision);
    if (!files) return refuse(404, `Invalid rev id: ${revision}`, "RevisionNotFound");
    const all = [...files].map(([path, { bytes, large }]) => {
      const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${hash("sha256", bytes)}\nsize ${bytes.length}\n`;
      const text = large ? Buffer.from(pointer) : bytes;
      return {
        type: "file",
        path,
        size: bytes.length,
        oid: hash("sha1", `blob ${text.length}\0`, text),
        ...(large ? { lfs: { oid: hash("sha256", bytes), size: bytes.length, pointerSize: text.length } } : {}),
      };
    });
    // Short pages, so that a client has to follow them.
    const at = Number(url.searchParams.get("cursor") ?? 0);
    const next = new URL(url);
    next.searchParams.set("cursor", String(at + 3));
    const link: Record<string, string> = at + 3 < all.length ? { link: `<${next.href}>; rel="next"` } : {};
    return Response.json(all.slice(at, at + 3), { headers: link });
  }

  function batch(
    name: string,
    body: { operation: string; transfers: string[]; objects: { oid: string; size: number }[] },
  ) {
    if (body.operation !== "upload" || !body.transfers.includes("multipart")) return refuse(400, "not an upload");
    return Response.json({
      transfer: "basic",
      objects: body.objects.map(({ oid, size }) => {
        if (objects.has(oid)) return { oid, size, authenticated: true };
        sizes.set(oid, size);
        const base = `http://${hub.storageHost}/${oid}`;
        const verify = { href: `${hub.url}/${name}.git/info/lfs/objects/verify`, header: {} };
        if (size <= hub.chunk) return { oid, size, actions: { upload: { href: `${base}?signature=basic` }, verify } };
        const parts = Array.from({ length: Math.ceil(size / hub.chunk) }, (_, n) => [
          String(n + 1).padStart(5, "0"),
          `${base}/${n + 1}?signature=part`,
        ]);
        const header = { chunk_size: String(hub.chunk), ...Object.fromEntries(parts) };
        return {
          oid,
          size,
          actions: { upload: { href: `${hub.url}/api/complete_multipart?id=${oid}`, header }, verify },
        };
      }),
    });
  }

  function complete(body: { oid: string; parts: { partNumber: number; etag: string }[] }): Response {
    const parts = partsOf.get(body.oid) ?? new Map<number, Buffer>();
    const good = body.parts.every(({ partNumber, etag }) => etag === `"${hash("md5", parts.get(partNumber) ?? "")}"`);
    const bytes = Buffer.concat(body.parts.map(({ partNumber }) => parts.get(partNumber) ?? Buffer.alloc(0)));
    if (!good || hash("sha256", bytes) !== body.oid) return refuse(400, "parts do not match");
    objects.set(body.oid, bytes);
    return Response.json({ success: true });
  }

  function commit(repo: Repository, name: string, branch: string, text: string): Response {
    const head = repo.branches.get(branch);
    if (!head) return refuse(404, "Invalid rev id", "RevisionNotFound");
    const files = new Map(repo.commits.get(head));
    let summary = "";
    for (const line of text.split("\n").filter(Boolean)) {
      const { key, value } = JSON.parse(line) as { key: string; value: Record<string, string> & { size: number } };
      const { path = "", content = "", encoding, oid = "", size, algo } = value;
      if (key === "header") summary = value.summary ?? "";
      else if (key === "file") files.set(path, { bytes: Buffer.from(content, encoding as "base64"), large: false });
      else if (key === "lfsFile") {
        const bytes = objects.get(oid);
        if (bytes?.length !== size || algo !== "sha256") return refuse(400, `${path} has no object`);
        files.set(path, { bytes, large: true });
      } else return refuse(400, `unknown operation ${key}`);
    }
    if (!summary) return refuse(400, "a commit needs a summary");
    const oid = hash("sha1", head, text, String(repo.messages.length));
    repo.commits.set(oid, files);
    repo.branches.set(branch, oid);
    repo.messages.push(summary);
    const commitUrl = `${hub.url}/${name}/commit/${oid}`;
    return Response.json({ success: true, commitOid: oid, commitUrl, hookOutput: "", pullRequestUrl: null });
  }

  async function preupload(request: Request): Promise<Response> {
    const { files } = (await request.json()) as { files: { path: string; size: number; sample: string }[] };
    return Response.json({
      files: files.map(({ path, size, sample }) => {
        if (Buffer.from(sample, "base64").length !== Math.min(size, 512)) throw new Error(`bad sample of ${path}`);
        const uploadMode = /\.(safetensors|gguf|bin)$/.test(path) ? "lfs" : "regular";
        return { path, uploadMode, shouldIgnore: false, oid: null };
      }),
    });
  }

  async function api(request: Request, url: URL): Promise<Response> {
    const { method } = request;
    const path = decodeURIComponent(url.pathname);
    const token = request.headers.get("authorization")?.replace("Bearer ", "");
    if (path === "/api/complete_multipart") return complete((await request.json()) as Parameters<typeof complete>[0]);
    if (token !== WRITE_TOKEN && token !== READ_TOKEN) return refuse(401, "Invalid username or password.");
    const may = token === WRITE_TOKEN;
    if (path === "/api/validate-yaml") return Response.json({ errors: [], warnings: [] });
    if (path === "/api/repos/create")
      return may
        ? create((await request.json()) as Parameters<typeof create>[0])
        : refuse(403, "The token cannot write.");
    const [, name = "", act = "", rest = ""] =
      /^\/(?:api\/models\/)?([^/]+\/[^/]+?)(?:\.git)?(?:\/(tree|preupload|commit|branch|revision|info\/lfs\/objects)(?:\/(.+))?)?$/.exec(
        path,
      ) ?? [];
    const repo = repos.get(name);
    if (!repo) return refuse(404, "Repository not found", "RepoNotFound");
    if (method === "GET" && act === "tree") return tree(repo, rest, url);
    if (method === "GET") {
      const sha = repo.branches.get(rest || "main");
      return sha
        ? Response.json({ id: name, private: repo.private, sha })
        : refuse(404, "Invalid rev id", "RevisionNotFound");
    }
    if (!may) return refuse(403, "Forbidden: pass a token with write access.");
    if (act === "preupload") return preupload(request);
    if (act === "commit") return commit(repo, name, rest, await request.text());
    if (act === "branch") {
      if (repo.branches.has(rest)) return refuse(409, "Reference already exists");
      repo.branches.set(rest, repo.branches.get("main") ?? "");
      return Response.json({});
    }
    if (rest === "batch") return batch(name, (await request.json()) as Parameters<typeof batch>[1]);
    if (rest === "verify") {
      const { oid, size } = (await request.json()) as { oid: string; size: number };
      return objects.get(oid)?.length === size ? Response.json({}) : refuse(404, "no such object");
    }
    return refuse(404, "no such route");
  }

  async function store(request: Request, url: URL): Promise<Response> {
    await hub.hold;
    const [, oid = "", part] = /^\/(\w{64})(?:\/(\d+))?$/.exec(url.pathname) ?? [];
    const size = sizes.get(oid);
    if (request.method !== "PUT" || size === undefined || !url.searchParams.has("signature"))
      return new Response("", { status: 403 });
    const bytes = Buffer.from(await request.arrayBuffer());
    if (request.headers.get("content-length") !== String(bytes.length)) return new Response("", { status: 411 });
    if (part) {
      const parts = partsOf.get(oid) ?? new Map<number, Buffer>();
      partsOf.set(oid, parts.set(Number(part), bytes));
    } else {
      if (bytes.length !== size || hash("sha256", bytes) !== oid) return new Response("", { status: 400 });
      objects.set(oid, bytes);
    }
    return new Response(null, { headers: { etag: `"${hash("md5", bytes)}"` } });
  }

  const serve = (handle: (request: Request, url: URL) => Promise<Response>, kind: string) =>
    Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      async fetch(request) {
        const url = new URL(request.url);
        const line = `${kind}${request.method} ${decodeURIComponent(url.pathname)}`;
        hub.log.push({ line, secret: request.headers.has("authorization") });
        const fault = hub.faults.find((one) => one.times > 0 && one.on.test(line));
        if (!fault) return handle(request, url);
        fault.times--;
        if (fault.after) await handle(request, url);
        if (fault.breaks) {
          return new Response(
            new ReadableStream({
              start(controller) {
                controller.error(new Error("broken"));
              },
            }),
          );
        }
        return new Response(fault.body ?? "", { status: fault.status, headers: fault.headers });
      },
      error: () => new Response("", { status: 400 }),
    });

  const hub: Hub = {
    url: "",
    storageHost: "",
    repos,
    objects,
    log: [],
    faults: [],
    hold: null,
    chunk: 64 * 1024,
    files(repo, branch = "main") {
      const found = repos.get(repo);
      const entries = found?.commits.get(found.branches.get(branch) ?? "") ?? new Map<string, Entry>();
      return Object.fromEntries([...entries].map(([path, { bytes }]) => [path, bytes]));
    },
    stop() {
      servers.map((server) => server.stop(true));
    },
  };
  const servers = [serve(api, ""), serve(store, "storage ")];
  hub.url = `http://127.0.0.1:${servers[0]?.port}`;
  hub.storageHost = `127.0.0.1:${servers[1]?.port}`;
  return hub;
}
