/** Parquet and Arrow: every type of column becomes JSON with all its digits. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arrowToJsonl } from "../../src/data/validation/containers/arrow.ts";
import { createOutput } from "../../src/data/validation/containers/output.ts";
import { parquetToJsonl } from "../../src/data/validation/containers/parquet.ts";
import { cases, fixture } from "./support/read-bytes.ts";

const folder = mkdtempSync(join(tmpdir(), "tables-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function rowsOf(name: string): Promise<string[]> {
  const path = join(folder, "text");
  const into = createOutput(path, folder, { most: 1e6, reserve: 0 });
  if (name.endsWith(".parquet")) await parquetToJsonl(join(cases, name), fixture(name).length, into, () => {});
  else await arrowToJsonl(join(cases, name), into, () => {});
  into.close();
  return readFileSync(path, "utf8").split("\n");
}

test("whole numbers of 64 bits", async () => {
  for (const name of ["chat.parquet", "stream.arrow"])
    expect((await rowsOf(name))[0]).toBe(
      '{"messages":[{"role":"user","content":"Ping 0"},{"role":"assistant","content":"Pong 0"}],"id":9007199254740993,"score":null}',
    );
});

// LZ4 and Brotli; pages of both versions; times of 96 bits; a column that has only null.
for (const name of ["kinds.parquet", "int96.parquet", "kinds.arrow"])
  test(`every type of column in ${name}`, async () => {
    const expected = fixture("kinds.jsonl").toString("utf8").split("\n");
    expect(await rowsOf(name)).toEqual(expected);
  });

test("a file of Arrow is read batch by batch, not as a whole", async () => {
  const into = createOutput(join(folder, "text"), folder, { most: 1e6, reserve: 0 });
  const size = fixture("file.arrow").length;
  const read: number[] = [];
  await arrowToJsonl(join(cases, "file.arrow"), into, (bytes) => read.push(bytes));
  into.close();
  expect(read).toEqual([1, 2, 3].map((batch) => Math.round((batch / 3) * size)));
});
