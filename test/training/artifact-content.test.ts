/** Refused uploads: pickles under any name, damaged files, unsafe paths and contradictory lists. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createTestApp, type TestApp } from "../support/app.ts";
import { bytesOf, complete, errorOf, everything, type Files, open, order, put } from "../support/artifacts.ts";
import { makeTrainer } from "../support/attempt.ts";
import { withHeader } from "../support/safetensors.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

describe("refused content", () => {
  const pickle = Buffer.from(
    "\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n(S'touch /tmp/x'\ntR.",
    "latin1",
  );
  const zip = Buffer.concat([Buffer.from("PK\x03\x04\x00\x00", "latin1"), Buffer.from("archive/data.pkl".repeat(20))]);
  const tensor = (entry: object, bytes = 12) => withHeader(JSON.stringify({ a: entry }), new Uint8Array(bytes));
  const cases: [name: string, path: string, content: Uint8Array | string][] = [
    ["a pickle named safetensors", "adapter_model.safetensors", pickle],
    ["a torch archive named safetensors", "adapter_model.safetensors", zip],
    ["a torch archive named json", "x.json", zip],
    ["a pickle named txt", "x.txt", pickle],
    ["a torch archive named gguf", "x.gguf", zip],
    [
      "a header longer than the file",
      "x.safetensors",
      new Uint8Array(Buffer.concat([Buffer.from("ffffff7f00000000", "hex"), Buffer.from("{}".padEnd(80))])),
    ],
    ["a header that is not JSON", "x.safetensors", withHeader("{not json".padEnd(80), new Uint8Array(12))],
    ["a tensor beyond the end", "x.safetensors", tensor({ dtype: "F32", shape: [4], data_offsets: [0, 16] })],
    ["a tensor of the wrong size", "x.safetensors", tensor({ dtype: "F32", shape: [2], data_offsets: [0, 12] })],
    ["an unknown type of tensor", "x.safetensors", tensor({ dtype: "OBJECT", shape: [3], data_offsets: [0, 12] })],
    ["a negative shape", "x.safetensors", tensor({ dtype: "F32", shape: [-3], data_offsets: [0, 12] })],
    ["bytes after the last tensor", "x.safetensors", tensor({ dtype: "F32", shape: [2], data_offsets: [0, 8] })],
    [
      "overlapping tensors",
      "x.safetensors",
      withHeader(
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        new Uint8Array(4),
      ),
    ],
    ["invalid JSON", "x.json", "{'r': 4}"],
    ["JSON nested a million levels deep", "x.json", "[".repeat(1_000_000)],
    ["JSONL with an invalid line", "x.jsonl", '{"a":1}\n{"a":\n'],
    ["text that is not UTF-8", "x.txt", new Uint8Array([0x61, 0xff, 0xfe, 0x62])],
    ["text with zero bytes", "x.md", "a\0b"],
    [
      "GGUF of an unknown version",
      "x.gguf",
      Buffer.concat([Buffer.from("GGUF"), Buffer.from([9, 0, 0, 0]), Buffer.alloc(80)]),
    ],
  ];
  test.each(cases)("%s", async (_name, path, content) => {
    const trainer = await makeTrainer(t);
    const files: Files = { [path]: content };
    const { artifact_id: id } = await open(trainer, order(files, 1, "report"));
    const parts = await put(trainer, id, path, 0, bytesOf(content));
    const answer = parts.status === 200 ? await complete(trainer, id) : parts;
    expect(await errorOf(answer)).toMatchObject({ status: 422, param: path });
    expect(everything(t.ctx.files.path("artifacts", id))).toEqual([]);
  });

  test("refuses paths that leave the directory, are hidden, or name a program", async () => {
    const trainer = await makeTrainer(t);
    const outside = join(dirname(t.ctx.files.path("artifacts", "x")), "..", "canary.json");
    writeFileSync(outside, '{"untouched":true}');
    const before = everything(t.dir).filter((path) => !path.startsWith("lab.db"));
    const paths = [
      "../canary.json",
      "../../canary.json",
      "a/../../canary.json",
      "/etc/passwd.json",
      "..\\canary.json",
      "a\\b.json",
      "./a.json",
      "a//b.json",
      "a/./b.json",
      "%2e%2e/canary.json",
      "..%2fcanary.json",
      "%252e%252e%252fcanary.json",
      "file:///canary.json",
      "C:\\canary.json",
      "a\0.json",
      "a\n.json",
      "ａ.json",
      "..．/canary.json",
      "~/canary.json",
      "-/../x.json",
      ".bashrc.json",
      "a/.ssh/x.json",
      "manifest.json",
      "MANIFEST.JSON",
      "x.bin",
      "x.pt",
      "x.pth",
      "x.pkl",
      "x.ckpt",
      "x.npy",
      "x.npz",
      "x.py",
      "x.so",
      "x.sh",
      "x.html",
      "x.safetensors.pt",
      "x",
      "x.json/",
      "",
      ".",
      "..",
      "a".repeat(300),
    ];
    for (const path of paths) {
      const body = { kind: "report", step: 0, metrics: {}, files: [{ path, size: 5, sha256: "0".repeat(64) }] };
      expect([path, (await trainer.call("POST", "/artifacts", { body })).status]).toEqual([path, 422]);
    }
    const { artifact_id: id } = await open(trainer, order({ "a.json": "{}" }, 0, "report"));
    for (const path of [
      "../canary.json",
      "%2e%2e/canary.json",
      "..%2fcanary.json",
      "%252e%252e%252fcanary.json",
      "b.json",
      "a.json/x",
      "a%00.json",
    ])
      expect((await put(trainer, id, path, 0, bytesOf("{}"))).status).toBeGreaterThanOrEqual(400);
    expect(readFileSync(outside, "utf8")).toBe('{"untouched":true}');
    expect(everything(t.dir).filter((path) => !path.startsWith("lab.db"))).toEqual(before);
  });

  test("refuses contradictory lists of files", async () => {
    const trainer = await makeTrainer(t);
    const file = (path: string, size = 5) => ({ path, size, sha256: "0".repeat(64) });
    const status = async (changes: object) =>
      (
        await trainer.call("POST", "/artifacts", {
          body: { kind: "report", step: 0, metrics: {}, files: [file("a.json")], ...changes },
        })
      ).status;
    expect(await status({ files: [file("a.json"), file("A.json")] })).toBe(422);
    expect(await status({ files: [file("a.json"), file("a.json/b.json")] })).toBe(422);
    expect(await status({ kind: "checkpoint" })).toBe(422);
    expect(await status({ files: [file("a.safetensors", 0)] })).toBe(422);
    expect(await status({ files: [] })).toBe(400);
    expect(await status({ files: [file("a.json", -1)] })).toBe(400);
    expect(await status({ files: Array.from({ length: 201 }, (_, n) => file(`${n}.json`)) })).toBe(400);
    expect(await status({ kind: "pickle" })).toBe(400);
    expect(await status({ metrics: { x: "big" } })).toBe(400);
    expect(await status({ step: 1.5 })).toBe(400);
  });
});
