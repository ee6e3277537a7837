/** Archives: everything of an organization or a user as one file that other programs can read and check. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq, sql } from "drizzle-orm";
import { fromBufferPromise } from "yauzl";
import { expireArchives, startArchives } from "../../src/custody/archives/run.ts";
import { JSON_COLUMNS, LEFT_OUT, PARTS } from "../../src/custody/archives/tables.ts";
import { archive } from "../../src/db/schema/archives.ts";
import { SEALED } from "../../src/db/sealed-columns.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { browserOf } from "../support/cookies.ts";
import { type Everything, makeEverything } from "../support/everything.ts";
import { until } from "../support/live.ts";

const DAY = 86_400_000;
const clock = fakeClock(Date.now());
let app: TestApp;
let made: Everything;

interface View {
  id: string;
  status: string;
  bytes: number;
  sha256: string;
  expires_at: number;
}
interface Manifest {
  files: { path: string; bytes: number; sha256: string; rows?: number }[];
  organization?: string;
  user?: string;
}

const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const start = (scope: string, as: "admin" | "member" | "other" = "admin", more = {}) =>
  app.request("POST", "/v1/archives", { as, body: { scope, ...more } });
const get = (id: string, as: "admin" | "member" | "other" = "admin") =>
  app.json<View>("GET", `/v1/archives/${id}`, { as });

/** Starts an archive, and downloads it when it is finished. */
async function archived(scope: string, as: "admin" | "member" = "admin", more = {}) {
  const { id } = (await (await start(scope, as, more)).json()) as View;
  const view = await until("the archive", async () => {
    const now = await get(id, as);
    return now.status !== "waiting" && now.status !== "running" && now;
  });
  expect(view).toMatchObject({ status: "done" });
  const bytes = Buffer.from(await (await app.request("GET", `/v1/archives/${id}/content`, { as })).arrayBuffer());
  expect({ bytes: bytes.length, sha256: sha256(bytes) }).toEqual({ bytes: view.bytes, sha256: view.sha256 });
  const zip = await fromBufferPromise(bytes);
  const files = new Map<string, Buffer>();
  for await (const entry of zip.eachEntry()) {
    const stream = await zip.openReadStreamPromise(entry);
    files.set(entry.fileName, Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>)));
  }
  const manifest = JSON.parse(files.get("manifest.json")?.toString() ?? "") as Manifest;
  return { id, files, manifest, text: [...files.values()].map(String).join("\n") };
}
const lines = (files: Map<string, Buffer>, table: string) =>
  String(files.get(`records/${table}.jsonl`) ?? "")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe("archives", () => {
  beforeAll(async () => {
    app = await createTestApp({ ctx: { clock } });
    made = await makeEverything(app);
  });
  afterAll(() => app.close());

  test("every table of the database is part of them, or is left out for a reason; no secret column is", async () => {
    const tables = await app.ctx.db.all<{ name: string }>(
      sql`select name from sqlite_master where type = 'table' and name not like 'sqlite_%' and name not like '\\_\\_%' escape '\\' order by name`,
    );
    expect([...Object.keys(PARTS), ...Object.keys(LEFT_OUT)].sort()).toEqual(tables.map(({ name }) => name));
    const shown: string[] = [];
    const json = new Set<string>();
    for (const table of Object.keys(PARTS)) {
      const columns = await app.ctx.db.all<{ name: string }>(sql.raw(`select name from pragma_table_info('${table}')`));
      for (const column of PARTS[table]?.without ?? []) expect(columns.map(({ name }) => name)).toContain(column);
      for (const { name } of columns) if (!PARTS[table]?.without?.includes(name)) shown.push(`${table}.${name}`);
    }
    // Hashes of content, which prove it; counts; and what is said about a secret.
    expect(shown.filter((name) => /secret|password|token(?!s)|\.hash$|codes/.test(name)).sort()).toEqual([
      "account.access_token_expires_at",
      "account.refresh_token_expires_at",
      "answer.token_accuracy",
      "audit_log.hash",
      "dataset_version.hash",
      "hub_push.own_token",
      "inference.first_token_ms",
      "moderation_case.hash",
      "restriction.hash",
      "webhook_endpoint.old_secret_until",
      "webhook_endpoint.secret_hint",
    ]);
    expect(SEALED.map(({ table, column }) => `${table}.${column}`).filter((name) => shown.includes(name))).toEqual([]);
    for (const path of new Bun.Glob("*.ts").scanSync("src/db/schema"))
      for (const [, name = ""] of readFileSync(join("src/db/schema", path), "utf8").matchAll(/jsonText\("(\w+)"\)/g))
        json.add(name);
    expect([...JSON_COLUMNS].sort()).toEqual([...json].sort());
  });

  test("an organization's has all its rows and files, with hashes, and nothing of another organization", async () => {
    const form = new FormData();
    form.set("file", new File([`{"text": "the other team's heron"}\n`.repeat(10)], "other.jsonl"));
    await app.request("POST", "/v1/datasets", { as: "other", form });
    const { files, manifest, text } = await archived("organization");
    expect(manifest.organization).toBe(app.orgs.a);
    for (const { path, bytes, sha256: hash } of manifest.files) {
      const content = files.get(path) ?? Buffer.alloc(0);
      expect({ path, bytes: content.length, hash: sha256(content) }).toEqual({ path, bytes, hash });
    }
    expect([...files.keys()].sort()).toEqual([...manifest.files.map(({ path }) => path), "manifest.json"].sort());
    for (const [table, id] of [
      ["dataset", made.dataset],
      ["file", made.file],
      ["job", made.job],
      ["model", made.model],
      ["checkpoint", made.checkpoint],
      ["evaluation", made.evaluation],
      ["deployment", made.deployment],
      ["sweep", made.sweep],
      ["stored_answer", made.response],
      ["hub_push", made.push],
      ["organization", app.orgs.a],
      ["user", app.users.member],
      ["api_key", app.keyIds.member],
    ] as const)
      expect(`${table} ${lines(files, table).some((row) => row.id === id)}`).toBe(`${table} true`);
    expect(String(files.get(`files/${made.file}/a.jsonl`))).toBe(
      readFileSync(app.ctx.files.path("files", made.file), "utf8"),
    );
    expect([...files.keys()].some((path) => path.startsWith(`runs/${made.job}/`))).toBe(true);
    const counted = await app.ctx.db.all<{ n: number }>(
      sql`select count(*) as n from audit_log where org = ${app.orgs.a}`,
    );
    expect(lines(files, "audit_log").length).toBeGreaterThanOrEqual((counted[0]?.n ?? 0) - 2);
    expect(lines(files, "job")[0]?.created_at).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect(typeof lines(files, "job")[0]?.spec).toBe("object");
    for (const foreign of ["heron", app.emails.other, app.users.other]) expect(text).not.toContain(foreign);
    for (const key of Object.values(app.keys)) expect(text).not.toContain(key);
  });

  test("a user's has their account and what they created only; checkpoints can be left out", async () => {
    const { files, manifest } = await archived("user", "member");
    expect(manifest.user).toBe(app.users.member);
    expect(lines(files, "user").map(({ email }) => email)).toEqual([app.emails.member]);
    expect(lines(files, "api_key").map(({ id }) => id)).toEqual([app.keyIds.member]);
    expect(lines(files, "dataset")).toEqual([]);
    expect(lines(files, "audit_log").every(({ actor }) => actor === app.users.member)).toBe(true);
    const own = await archived("user", "admin", { checkpoints: false });
    expect(lines(own.files, "dataset").map(({ id }) => id)).toEqual([made.dataset]);
    expect([...own.files.keys()].filter((path) => path.includes("/checkpoint-"))).toEqual([]);
  });

  test("only owners and administrators export an organization, and nobody sees another's archive", async () => {
    const refused = await start("organization", "member");
    expect([refused.status, await refused.json()]).toMatchObject([403, { error: { code: "permission_denied" } }]);
    const { id } = await archived("user", "admin");
    for (const path of [`/v1/archives/${id}`, `/v1/archives/${id}/content`])
      expect((await app.request("GET", path, { as: "member" })).status).toBe(404);
    expect((await app.request("DELETE", `/v1/archives/${id}`, { as: "other" })).status).toBe(404);
    expect(existsSync(app.ctx.files.path("archives", id))).toBe(true);
    await app.json("DELETE", `/v1/archives/${id}`);
    expect(existsSync(app.ctx.files.path("archives", id))).toBe(false);
  });

  test("one that a stop interrupted is written again, and a second one waits for its end", async () => {
    const id = "arc_interrupted";
    const values = { scope: "user" as const, checkpoints: true, createdBy: app.users.other, createdAt: clock.now() };
    await app.ctx.write((tx) => tx.insert(archive).values({ id, org: app.orgs.b, status: "running", ...values }));
    writeFileSync(app.ctx.files.path("archives", `${id}.part`), "half");
    const second = await start("user", "other");
    expect([second.status, await second.json()]).toMatchObject([409, { error: { code: "archive_running" } }]);
    const stop = startArchives(app.ctx);
    await until("the archive", async () => (await get(id, "other")).status === "done");
    stop();
    expect(readdirSync(app.ctx.files.path("archives")).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  test("after seven days the file is gone, and the list says so", async () => {
    const { id } = await archived("user", "admin");
    clock.advance(7 * DAY - 1000);
    await expireArchives(app.ctx);
    expect((await get(id)).status).toBe("done");
    clock.advance(2000);
    await expireArchives(app.ctx);
    expect((await get(id)).status).toBe("expired");
    expect(existsSync(app.ctx.files.path("archives", id))).toBe(false);
    expect((await app.request("GET", `/v1/archives/${id}/content`)).status).toBe(409);
  });

  test("a full disk ends one with the reason, and leaves nothing behind", async () => {
    const full = await createTestApp({ config: { disk_reserve_bytes: 2 ** 50 } });
    const { id } = await full.json<View>("POST", "/v1/archives", { body: { scope: "user" } });
    const view = await until("the end", async () => {
      const now = await full.json<View & { error: string }>("GET", `/v1/archives/${id}`);
      return now.status === "failed" && now;
    });
    expect(view.error).toStartWith("The server's disk is almost full");
    expect(readdirSync(full.ctx.files.path("archives"))).toEqual([]);
    await full.close();
  });

  test("a browser whose last proof is old is asked for the password first, and the page lists archives", async () => {
    const browser = browserOf(app);
    await browser.signIn("member");
    clock.advance(16 * 60_000);
    const asked = await browser.send("POST", "/settings/data", { form: { checkpoints: "on" } });
    expect([asked.status, await asked.text()]).toMatchObject([
      403,
      expect.stringContaining("reauthentication_required"),
    ]);
    const password = { reauthentication: PASSWORD, checkpoints: "on" };
    expect((await browser.send("POST", "/settings/data", { form: password })).status).toBe(303);
    const [row] = await app.ctx.db.select().from(archive).where(eq(archive.createdBy, app.users.member)).limit(1);
    const page = await (await browser.send("GET", "/settings/data")).text();
    expect(page).toContain(`archive-${row?.id}`);
  });
});
