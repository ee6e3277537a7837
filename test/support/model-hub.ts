/** A hub that has one model in a repository: its list, and its files at a commit by ranges, as a mirror serves them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

interface ModelHub {
  url: string;
  /** Files that were asked for, with the range; `secret` = a token came along. */
  seen: { path: string; secret: boolean }[];
  /** What is sent in place of a file, by its name. */
  replaced: Map<string, Uint8Array<ArrayBuffer>>;
  stop(): Promise<void>;
}

const hash = (kind: "sha256" | "sha1", ...parts: (string | Uint8Array)[]) => {
  const hasher = new Bun.CryptoHasher(kind);
  for (const part of parts) hasher.update(part);
  return hasher.digest("hex");
};

/** @param directory the files of the model @param repo its repository, `owner/name` */
export function startModelHub(directory: string, repo: string): ModelHub {
  const files = new Map(
    readdirSync(directory).map((name) => [name, new Uint8Array(readFileSync(join(directory, name)))]),
  );
  const seen: ModelHub["seen"] = [];
  const replaced: ModelHub["replaced"] = new Map();
  const siblings = [...files].map(([rfilename, bytes]) => {
    const { length: size } = bytes;
    if (rfilename.endsWith(".safetensors")) return { rfilename, size, lfs: { sha256: hash("sha256", bytes), size } };
    return { rfilename, size, blobId: hash("sha1", `blob ${size}\0`, bytes) };
  });
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname.startsWith(`/api/models/${repo}/revision/`))
        return Response.json({ sha: COMMIT, cardData: { license: "apache-2.0" }, siblings });
      const name = pathname.replace(`/${repo}/resolve/${COMMIT}/`, "");
      const bytes = replaced.get(name) ?? files.get(name);
      seen.push({ path: name, secret: request.headers.has("authorization") });
      if (!bytes) return new Response("Entry not found", { status: 404 });
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
      return new Response(bytes.slice(from), { status: from > 0 ? 206 : 200 });
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, seen, replaced, stop: () => server.stop(true) };
}
