/**
 * Runs inside a mount namespace of its own (see datasets-durability.test.ts): puts a small file system under the data
 * directory, fills it, and prints what the application said.
 */
import { readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestApp } from "./app.ts";
import { makeTrainer, metrics } from "./attempt.ts";
import { chatLines, sendDataset, settled, validated } from "./datasets.ts";

const MEGABYTE = 1024 ** 2;
const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${24 * MEGABYTE}`, "tmpfs", tmpdir()]);
if (mounted.exitCode !== 0) throw new Error(`cannot mount: ${mounted.stderr.toString()}`);

const RESERVE = 8 * MEGABYTE;
const lab = await createTestApp({ config: { disk_reserve_bytes: RESERVE } });
const free = () => {
  const { bavail, bsize } = statfsSync(tmpdir());
  return bavail * bsize;
};
const error = async (answer: Response) => {
  const body = (await answer.json()) as { error?: { code: string; message: string } };
  return { status: answer.status, code: body.error?.code ?? null, message: body.error?.message ?? null };
};
let lowest = free();
let sent = 0;
// Of unknown length, so that only the look at the disk on the way can stop it.
const endless = new ReadableStream<Uint8Array>({
  pull(controller) {
    lowest = Math.min(lowest, free());
    sent += MEGABYTE;
    controller.enqueue(new Uint8Array(MEGABYTE).fill(32));
    if (sent === 40 * MEGABYTE) controller.close();
  },
});
const upload = await error(
  await lab.request("POST", "/v1/datasets?filename=x.jsonl", {
    raw: endless,
    headers: { "content-type": "application/octet-stream" },
  }),
);
const left = [...readdirSync(lab.ctx.files.path("tmp")), ...readdirSync(lab.ctx.files.path("files"))];

const part = await lab.json<{ id: string }>("POST", "/v1/uploads", {
  body: { filename: "x", purpose: "batch", bytes: 40 * MEGABYTE, mime_type: "text/plain" },
});
const partAnswer = await error(
  await lab.request("POST", `/v1/uploads/${part.id}/parts?filename=x`, {
    raw: Buffer.alloc(40 * MEGABYTE),
    headers: { "content-type": "application/octet-stream" },
  }),
);

// Fits as a file, but its rows do not fit beside it.
const row = JSON.stringify({
  messages: [
    { role: "user", content: "x".repeat(1000) },
    { role: "assistant", content: "y" },
  ],
});
const large = (await (await sendDataset(lab, `${`${row}\n`.repeat(10_000)}`)).json()) as { id: string };
const version = (await settled(lab, large.id)).version;
const rowsLeft = readdirSync(lab.ctx.files.path("datasets"));
await lab.json("DELETE", `/v1/datasets/${large.id}`);

// Below the reserve: user data is refused from everybody, the database goes on.
const trainer = await makeTrainer(lab);
const ballast = join(tmpdir(), "ballast");
writeFileSync(ballast, Buffer.alloc(free() - RESERVE + MEGABYTE));
const files = [
  { path: "model.safetensors", size: 100, sha256: "0".repeat(64) },
  { path: "config.json", size: 2, sha256: "0".repeat(64) },
];
const events = [{ seq: 1, at: Date.now(), ...metrics(1, { "train/loss": 1 }) }];
const headers = { "content-type": "application/octet-stream" };
const full = {
  upload: await error(
    await lab.request("POST", "/v1/files?filename=x&purpose=batch", { raw: "x", headers, as: "other" }),
  ),
  artifact: await error(
    await trainer.call("POST", "/artifacts", { body: { kind: "model", step: 1, metrics: {}, files } }),
  ),
  metrics: await error(await trainer.call("POST", "/events", { body: { events } })),
  heartbeat: (await trainer.call("POST", "/events", { body: { events: [] } })).status,
  key: (await lab.request("POST", "/v1/keys", { body: { name: "written below the reserve" }, as: "other" })).status,
};
rmSync(ballast);
const room = (await trainer.call("POST", "/events", { body: { events } })).status;

const small = await validated(lab, chatLines(12).join("\n"));
const kept = { lowest, reserve: RESERVE };
console.log(
  JSON.stringify({ upload, kept, left, part: partAnswer, version, rowsLeft, full, room, small: small.version.status }),
);
await lab.close();
