/** Uploads artifacts over the trainer protocol, completely or step by step. */
import { expect } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ArtifactCompleted, ArtifactOpened } from "../../src/contract/trainer.ts";
import { sha256Hex } from "../../src/lib/ids.ts";
import type { TestTrainer } from "./attempt.ts";
import { safetensors } from "./safetensors.ts";

export type Files = Record<string, Uint8Array | string>;
export const bytesOf = (content: Uint8Array | string) =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;
const listed = (files: Files) =>
  Object.entries(files).map(([path, content]) => ({
    path,
    size: bytesOf(content).byteLength,
    sha256: sha256Hex(bytesOf(content)),
  }));
/** A request for a new artifact. */
export const order = (files: Files, step = 5, kind = "checkpoint") => ({
  kind,
  step,
  metrics: { "eval/loss": 0.5 },
  files: listed(files),
});
export const open = (trainer: TestTrainer, body: unknown) =>
  trainer.json<ArtifactOpened & Record<string, unknown>>("POST", "/artifacts", { body });
export const put = (trainer: TestTrainer, id: string, path: string, offset: number, bytes: Uint8Array) =>
  trainer.call("PUT", `/artifacts/${id}/${path}?offset=${offset}`, { raw: new Uint8Array(bytes) });
export const complete = (trainer: TestTrainer, id: string) =>
  trainer.call("POST", `/artifacts/${id}/complete`, { body: {} });

export const checkpointFiles = (seed: number): Files => ({
  "adapter_model.safetensors": safetensors({ a: [seed, 2, 3], b: Array.from({ length: 500 }, (_, n) => n + seed) }),
  "optimizer.safetensors": safetensors({ m: [seed] }),
  "adapter_config.json": '{"r":4}',
  "trainer_state.json": `{"step":${seed}}`,
});

/** Uploads an artifact completely. */
export async function upload(trainer: TestTrainer, files: Files, step = 5): Promise<ArtifactCompleted> {
  const { artifact_id: id } = await open(trainer, order(files, step));
  for (const [path, content] of Object.entries(files))
    expect((await put(trainer, id, path, 0, bytesOf(content))).status).toBe(200);
  const answer = await complete(trainer, id);
  expect(answer.status).toBe(200);
  return (await answer.json()) as ArtifactCompleted;
}

export const errorOf = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; message: string; param: string | null } };
  return { status: answer.status, ...error };
};

/** All files of a directory, as sorted relative paths. */
export const everything = (root: string): string[] =>
  (readdirSync(root, { recursive: true }) as string[]).filter((path) => statSync(join(root, path)).isFile()).sort();
