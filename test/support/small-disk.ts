/** Runs inside a mount namespace of its own (see datasets-durability.test.ts): puts a small file system under the data directory, fills it, and prints what the application said. */
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { createTestApp } from "./app.ts";
import { chatLines, sendDataset, settled, validated } from "./datasets.ts";

const MEGABYTE = 1024 ** 2;
const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${24 * MEGABYTE}`, "tmpfs", tmpdir()]);
if (mounted.exitCode !== 0) throw new Error(`cannot mount: ${mounted.stderr.toString()}`);

const lab = await createTestApp();
const error = async (answer: Response) => {
  const body = (await answer.json()) as { error?: { code: string; message: string } };
  return { status: answer.status, code: body.error?.code ?? null, message: body.error?.message ?? null };
};
const upload = await error(await sendDataset(lab, Buffer.alloc(40 * MEGABYTE, 32)));
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

const small = await validated(lab, chatLines(12).join("\n"));
console.log(JSON.stringify({ upload, left, part: partAnswer, version, rowsLeft, small: small.version.status }));
await lab.close();
