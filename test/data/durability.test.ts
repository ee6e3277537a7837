/**
 * What happens to data when the disk is full, the server is killed, or a file is far larger than the memory allowed:
 * nothing is lost, nothing is half.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatasetObject, VersionObject } from "../support/datasets.ts";
import { type Live, startLive, until } from "../support/live.ts";

const MEGABYTE = 1024 ** 2;
const LIMIT = 400 * MEGABYTE;
const namespaces = Bun.spawnSync(["unshare", "--user", "--map-root-user", "--mount", "true"]).exitCode === 0;

describe("a full disk", () => {
  test.skipIf(!namespaces)(
    "is answered with 507, leaves nothing behind, and the server goes on (skipped where unshare is not allowed)",
    async () => {
      const dir = mkdtempSync(join(tmpdir(), "ftl-disk-"));
      try {
        const script = join(import.meta.dir, "../support/small-disk.ts");
        const run = Bun.spawn(["unshare", "--user", "--map-root-user", "--mount", process.execPath, script], {
          env: { ...process.env, TMPDIR: dir },
          stdout: "pipe",
          stderr: "pipe",
        });
        const [out, err] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
        expect(await run.exited, err).toBe(0);
        const said = JSON.parse(out.trim().split("\n").at(-1) ?? "");
        expect(said.upload).toMatchObject({ status: 507, code: "disk_full" });
        expect(said.upload.message).toContain("Free some space");
        expect(said.kept.lowest).toBeGreaterThanOrEqual(said.kept.reserve);
        expect(said.left).toEqual([]);
        const refused = { status: 507, code: "disk_full" };
        expect(said.full).toMatchObject({ upload: refused, artifact: refused, metrics: refused });
        expect({ ...said.full, room: said.room }).toMatchObject({ heartbeat: 200, key: 200, room: 200 });
        expect(said.part).toMatchObject({ status: 507, code: "disk_full" });
        expect(said.version.status).toBe("failed");
        expect(said.version.error).toContain("disk is full");
        expect(said.rowsLeft).toEqual([]);
        expect(said.small).toBe("ready");
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    },
    30_000,
  );
});

/** Processes whose parent is `pid` (Linux). */
const childrenOf = (pid: number) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);

describe("a data worker", () => {
  const dir = mkdtempSync(join(tmpdir(), "ftl-worker-"));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  test("is ended with a clear error when it exceeds its memory limit", async () => {
    const source = join(dir, "rows.jsonl");
    writeFileSync(source, '{"prompt": "a", "completion": "b"}\n'.repeat(2_000_000));
    const order = {
      maxMemory: 40 * MEGABYTE,
      task: {
        type: "validate",
        source,
        filename: "rows.jsonl",
        outDir: join(dir, "out"),
        mapping: null,
        seed: 1,
        holdoutFraction: 0,
        skipBad: false,
        maxLineBytes: MEGABYTE,
        diskReserve: 0,
      },
    };
    const said: { type: string; code?: string; message?: string }[] = [];
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), "data-worker"], {
      env: {},
      serialization: "advanced",
      ipc: (message) => said.push(message),
    });
    child.send(order);
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
    expect(said.at(-1)).toEqual({ type: "failed", code: "ENOMEM", message: "it used more than 40 MB of memory" });
  });
});

describe("a running server", () => {
  let live: Live;
  beforeAll(async () => {
    live = await startLive({ env: { FTL_LOG_LEVEL: "warn", FTL_MAX_UPLOAD_BYTES: String(LIMIT) } });
  }, 60_000);
  afterAll(() => live.close());

  /** Highest resident memory of the server so far, in bytes (Linux). */
  const peakMemory = () =>
    Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${live.pid()}/status`, "utf8"))?.[1] ?? 0) * 1024;

  const row = (n: number) =>
    `${JSON.stringify({
      messages: [
        { role: "user", content: `question ${n} ${"word ".repeat(150)}` },
        { role: "assistant", content: `answer ${n}` },
      ],
    })}\n`;

  /** Sends chunks as they are asked for; with a name as a form, else raw. */
  async function send(chunks: () => Generator<Uint8Array>, form: boolean): Promise<DatasetObject> {
    const boundary = "----test";
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        const push = async (chunk: Uint8Array) => {
          while ((controller.desiredSize ?? 0) <= 0) await Bun.sleep(1);
          controller.enqueue(chunk);
        };
        if (form)
          await push(
            Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n`),
          );
        for (const chunk of chunks()) await push(chunk);
        if (form) await push(Buffer.from(`\r\n--${boundary}--\r\n`));
        controller.close();
      },
    });
    const answer = await fetch(`${live.url}/v1/datasets${form ? "" : "?filename=big.jsonl"}`, {
      method: "POST",
      body,
      headers: {
        authorization: `Bearer ${live.key}`,
        "content-type": form ? `multipart/form-data; boundary=${boundary}` : "application/octet-stream",
      },
    });
    expect(answer.status).toBe(200);
    return (await answer.json()) as DatasetObject;
  }

  function* rows(megabytes: number): Generator<Uint8Array> {
    let n = 0;
    for (let sent = 0; sent < megabytes * MEGABYTE; ) {
      let text = "";
      while (text.length < MEGABYTE) text += row(n++);
      sent += text.length;
      yield Buffer.from(text);
    }
  }
  const settled = (id: string): Promise<VersionObject> =>
    until(
      "validation",
      async () => {
        const { version } = await live.call<DatasetObject & Record<string, unknown>>("GET", `/v1/datasets/${id}`);
        return version.status !== "validating" && version;
      },
      60_000,
    );

  test("killed during a validation, it starts the validation over after the restart and leaves no partial files", async () => {
    const dataset = await send(() => rows(80), false);
    const folder = join(live.dir, "datasets");
    await until(
      "validation to be under way",
      async () => readdirSync(folder).some((name) => name.endsWith(".part")),
      45_000,
      5,
    );
    const workers = childrenOf(live.pid());
    expect(workers).toHaveLength(1);
    await live.kill9();
    await until(
      "the worker to end with its server",
      async () => !workers.some((pid) => existsSync(`/proc/${pid}`)),
      5000,
    );
    expect(readdirSync(folder)).toEqual([`${dataset.version.id}.part`]);
    await live.start();
    const version = await settled(dataset.id);
    expect(version).toMatchObject({ status: "ready", id: dataset.version.id });
    expect(version.rows).toBeGreaterThan(80_000);
    expect(version.train_rows + version.holdout_rows).toBe(version.rows);
    expect(readdirSync(folder)).toEqual([version.id]);
  }, 90_000);

  test("a large form and a line of 200 MB need little memory", async () => {
    const dataset = await send(() => rows(250), true);
    expect(await settled(dataset.id)).toMatchObject({ status: "ready" });
    const bad = await send(function* () {
      yield Buffer.from(row(1));
      for (let i = 0; i < 200; i++) yield Buffer.alloc(MEGABYTE, "x");
      yield Buffer.from(`\n${row(2)}`);
    }, false);
    const version = await settled(bad.id);
    expect(version).toMatchObject({ status: "failed", rows: 2, bad_rows: 1 });
    expect(version.error).toContain("line 2");
    expect(peakMemory()).toBeLessThan(300 * MEGABYTE);
  }, 90_000);

  test("a body over the limit is refused with advice, even if its length is not known beforehand", async () => {
    for (const known of [true, false]) {
      let sent = 0;
      const endless = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (sent > LIMIT + 8 * MEGABYTE) controller.close();
          else controller.enqueue(new Uint8Array(MEGABYTE));
          sent += MEGABYTE;
        },
      });
      const answer = await fetch(`${live.url}/v1/files?filename=big.bin&purpose=batch`, {
        method: "POST",
        body: known ? new Uint8Array(LIMIT + 2 * MEGABYTE) : endless,
        headers: { authorization: `Bearer ${live.key}`, "content-type": "application/octet-stream" },
      });
      const { error } = (await answer.json()) as { error: { code: string; message: string } };
      expect({ known, status: answer.status, code: error.code }).toEqual({
        known,
        status: 413,
        code: known ? "body_too_large" : "file_too_large",
      });
      expect(readdirSync(join(live.dir, "tmp"))).toEqual([]);
    }
  }, 60_000);
});
