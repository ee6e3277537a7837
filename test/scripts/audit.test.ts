/** The audit reports what it found and never treats a missing answer as clean. */
import { expect, test } from "bun:test";
import { resolve } from "node:path";
import { auditFiles, auditNpm, readBunAudit, readPipAudit, verdict } from "../../scripts/audit.ts";

const ROOT = resolve(import.meta.dir, "../..");
const said = (out: string, code = 0, err = "") => ({ code, out, err });

/** A registry that responds to the audit with `answer`. */
async function withRegistry<T>(answer: () => Response, work: (url: string) => Promise<T>): Promise<T> {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
  try {
    return await work(server.url.href);
  } finally {
    server.stop(true);
  }
}

test("bun audit: known vulnerabilities are found; a clean answer is clean", async () => {
  const advisory = {
    id: 1,
    title: "Prototype pollution",
    severity: "high",
    url: "https://advisory.test/1",
    vulnerable_versions: "*",
  };
  const bad = await withRegistry(
    () => Response.json({ elysia: [advisory] }),
    (url) => auditNpm(ROOT, url),
  );
  expect(bad).toMatchObject({ found: [expect.stringContaining("elysia: high: Prototype pollution")], unchecked: [] });
  const good = await withRegistry(
    () => Response.json({}),
    (url) => auditNpm(ROOT, url),
  );
  expect(good).toMatchObject({ found: [], unchecked: [] });
}, 30_000);

test("bun audit: a registry without that service, and an unreachable one, count as not checked", async () => {
  const refused = await withRegistry(
    () => new Response("no", { status: 405 }),
    (url) => auditNpm(ROOT, url),
  );
  expect(refused).toMatchObject({ found: [], unchecked: [expect.stringContaining("405")] });
  const gone = await auditNpm(ROOT, "http://127.0.0.1:1/");
  expect(gone.found).toEqual([]);
  expect(gone.unchecked).toHaveLength(1);
}, 30_000);

test("pip-audit: skipped packages count as not checked even with exit code 0", () => {
  const answer = {
    dependencies: [
      { name: "a", version: "1", vulns: [] },
      { name: "b", version: "2", vulns: [{ id: "CVE-1", fix_versions: ["3"] }] },
      { name: "c", skip_reason: "not found on the index" },
    ],
  };
  expect(readPipAudit("requirements.txt", said(JSON.stringify(answer)))).toMatchObject({
    found: ["b 2: CVE-1, fixed in 3"],
    unchecked: ["c: not found on the index"],
  });
  expect(readPipAudit("requirements.txt", said("", 1, "Traceback\nConnectionError: no route\n"))).toMatchObject({
    unchecked: ["ConnectionError: no route"],
  });
  expect(readPipAudit("requirements.txt", said('{"dependencies": []}')).unchecked).toHaveLength(1);
});

test("pip-audit: once the database cannot be reached, no file is checked and each says so", async () => {
  const clean = JSON.stringify({ dependencies: [{ name: "a", version: "1", vulns: [] }] });
  const gone =
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.osv.dev', port=443): Max retries exceeded with url";
  const asked: string[] = [];
  const audits = await auditFiles(["1.txt", "2.txt", "3.txt", "4.txt"], async (file) => {
    asked.push(file);
    return file === "1.txt" ? said("", 1, "a damaged file\n") : file === "2.txt" ? said(clean) : said("", 1, gone);
  });
  expect(asked).toEqual(["1.txt", "2.txt", "3.txt"]);
  expect(audits.map(({ unchecked }) => unchecked)).toEqual([["a damaged file"], [], [gone], [gone]]);
  expect(audits.map(({ source }) => source).at(-1)).toBe("trainer/4.txt (pip-audit)");
});

test("a missing answer is reported as not checked, and is a failure only with --strict", () => {
  const open = readBunAudit(said("", 0));
  expect(open.unchecked).toEqual(["exit code 0"]);
  expect(verdict([open], false)).toEqual({ lines: ["not checked: npm packages (bun audit): exit code 0"], code: 0 });
  expect(verdict([open], true).code).toBe(1);
  const clean = readBunAudit(said("{}"));
  expect(verdict([clean], true)).toEqual({ lines: ["nothing known: npm packages (bun audit)"], code: 0 });
  expect(verdict([clean, { source: "x", found: ["y"], unchecked: [] }], false)).toMatchObject({ code: 1 });
});
