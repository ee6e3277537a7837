/** A server for tests of imports: the file API of the hub, plain files, and S3 objects whose signature is checked. */
import { createHash, createHmac } from "node:crypto";

export const ACCESS_KEY = { id: "AKIATEST", secret: "s3cr3t/key+with=signs" };
export const HUB_TOKEN = "hf_secret";

export interface Buckets {
  url: string;
  host: string;
  /** Files by path: `/plain/a.jsonl`, `/bucket/dir/a.jsonl`, or `name/dataset/data/train.jsonl` of the hub. */
  files: Map<string, Uint8Array>;
  /** Requests, as `GET /path range`. */
  log: string[];
  /** Ends the next answers after this many bytes; the connection breaks. */
  breakAfter: number[];
  /** Holds back the end of answers until it is resolved. */
  hold: Promise<void> | null;
  stop(): void;
}

const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
const sha256 = (text: string | Uint8Array) => createHash("sha256").update(text).digest("hex");

/** Checks the signature of a presigned address as S3 does (AWS Signature Version 4, query parameters). */
function isSigned(request: Request): boolean {
  const url = new URL(request.url);
  const given = url.searchParams.get("X-Amz-Signature");
  const [id, day = "", region = "", service = ""] = (url.searchParams.get("X-Amz-Credential") ?? "").split("/");
  if (!given || id !== ACCESS_KEY.id || service !== "s3") return false;
  const encode = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = [...url.searchParams]
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join("&");
  const canonical = [
    "GET",
    url.pathname,
    query,
    `host:${request.headers.get("host")}`,
    "",
    "host",
    "UNSIGNED-PAYLOAD",
  ].join("\n");
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", url.searchParams.get("X-Amz-Date"), scope, sha256(canonical)].join("\n");
  const key = hmac(hmac(hmac(hmac(`AWS4${ACCESS_KEY.secret}`, day), region), "s3"), "aws4_request");
  return hmac(key, text).toString("hex") === given;
}

export function startBuckets(): Buckets {
  const files = new Map<string, Uint8Array>();
  const log: string[] = [];
  const breakAfter: number[] = [];

  /** The bytes of a file or a part of it; with a broken connection when a test wants one. */
  function send(request: Request, bytes: Uint8Array | undefined): Response {
    if (!bytes) return new Response("no such file", { status: 404 });
    const etag = `"${sha256(bytes).slice(0, 16)}"`;
    const asked = /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "");
    const same = (request.headers.get("if-range") ?? etag) === etag;
    const from = asked && same ? Number(asked[1]) : 0;
    const part = bytes.subarray(from);
    const cut = breakAfter.shift();
    const { hold } = made;
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(part.subarray(0, cut ?? (hold ? 10 : part.length)));
        if (cut !== undefined) {
          await Bun.sleep(100);
          controller.error(new Error("the connection breaks"));
          return;
        }
        if (hold) {
          await hold;
          controller.enqueue(part.subarray(10));
        }
        controller.close();
      },
    });
    return new Response(body, {
      status: from > 0 ? 206 : 200,
      headers: {
        etag,
        "content-length": String(part.length),
        ...(from > 0 ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}),
      },
    });
  }

  function hub(request: Request, path: string): Response {
    const listing = /^\/api\/datasets\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path);
    const file = /^\/datasets\/([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(path);
    const repo = listing?.[1] ?? file?.[1] ?? "";
    if (repo.startsWith("gated/") && request.headers.get("authorization") !== `Bearer ${HUB_TOKEN}`)
      return new Response("gated", { status: 401 });
    if (file) return send(request, files.get(`${repo}/${file[3]}`));
    const names = [...files.keys()].filter((name) => name.startsWith(`${repo}/`));
    if (names.length === 0 || decodeURIComponent(listing?.[2] ?? "") !== "main")
      return new Response("{}", { status: 404 });
    const siblings = names.map((name) => {
      const bytes = files.get(name) ?? new Uint8Array();
      return {
        rfilename: name.slice(repo.length + 1),
        size: bytes.length,
        lfs: { sha256: sha256(bytes), size: bytes.length },
      };
    });
    return Response.json({ sha: "c".repeat(40), siblings });
  }

  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const { pathname } = new URL(request.url);
      const path = /%(?![0-9a-f]{2})/i.test(pathname) ? pathname : decodeURIComponent(pathname);
      log.push(`GET ${path} ${request.headers.get("range") ?? ""}`.trim());
      if (path.startsWith("/api/") || path.startsWith("/datasets/")) return hub(request, path);
      if (path.startsWith("/redirect/")) return Response.redirect(path.slice("/redirect/".length), 302);
      if (path.startsWith("/bucket/") && !isSigned(request)) return new Response("<Error/>", { status: 403 });
      return send(request, files.get(path));
    },
  });
  const made: Buckets = {
    url: `http://127.0.0.1:${server.port}`,
    host: `127.0.0.1:${server.port}`,
    files,
    log,
    breakAfter,
    hold: null,
    stop: () => void server.stop(true),
  };
  return made;
}
