/** `plugin new` and `plugin check`: from an empty folder to a checked plugin, offline and with a limit of cost. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FakeVendor, startFakeVendor } from "../../src/compute/providers/fake-vendor.ts";
import { PROGRAM } from "../support/program.ts";

let dir: string;
let folder: string;
let vendor: FakeVendor;

/** Runs the program; `atLine` sends it a signal when it prints that text. */
async function run(args: string[], atLine?: string) {
  const child = Bun.spawn([...PROGRAM, ...args], { cwd: dir, stdout: "pipe", stderr: "pipe" });
  const problem = new Response(child.stderr).text();
  let out = "";
  for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
    const before = out;
    out += piece;
    if (atLine && out.includes(atLine) && !before.includes(atLine)) child.kill("SIGINT");
  }
  return { code: await child.exited, out, err: await problem };
}

const configure = (settings: unknown) => writeFileSync(join(folder, "config.json"), JSON.stringify(settings));

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "ftl-plugin-"));
  folder = join(dir, "my-cloud");
  expect((await run(["plugin", "new", "my-cloud"])).code).toBe(0);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
beforeEach(() => {
  vendor = startFakeVendor();
});
afterEach(() => vendor.stop());

describe("plugin new", () => {
  test("makes a folder that needs nothing else of ours, and refuses a full one", async () => {
    const files = [...new Bun.Glob("**/*.ts").scanSync(folder)];
    expect(files.sort()).toEqual([
      "contract/data-settings.ts",
      "contract/provider.ts",
      "contract/spec.ts",
      "index.ts",
      "provider.ts",
    ]);
    for (const file of files) {
      const source = readFileSync(join(folder, file), "utf8");
      for (const [, from = ""] of source.matchAll(/from "([^"]+)"/g))
        expect(existsSync(join(folder, file, "..", from))).toBe(true);
    }
    expect(readFileSync(join(folder, "index.ts"), "utf8")).toContain('id: "my-cloud"');
    expect((await run(["plugin", "new", "my-cloud"])).code).toBe(3);
    expect((await run(["plugin", "new", "../evil"])).code).toBe(2);
    expect((await run(["plugin", "new", "other", "--template", "boat"])).code).toBe(2);
  });
});

describe("plugin check", () => {
  test("is offline: it passes without an account, and asks no other machine", async () => {
    configure({ api_url: "https://vendor.invalid/v1", api_key: "real-key" });
    const checked = await run(["plugin", "check", folder]);
    expect([checked.code, checked.err]).toEqual([0, ""]);
    expect(checked.out).toContain("all passed");
    const outside = await run(["plugin", "check", folder, "--api-url", "https://vendor.invalid/v1"]);
    expect(outside.code).toBe(1);
    expect(outside.out).toContain("FAIL");
    expect(outside.out).not.toContain("ok    five launches");
  });

  test("uses the author's own fake", async () => {
    const own = startFakeVendor("fake-key");
    const checked = await run(["plugin", "check", folder, "--api-url", own.url]);
    await own.stop();
    expect(checked.out).toContain("all passed");
  });

  test("live needs a maximum cost, and refuses before it rents when more is expected", async () => {
    configure({ api_url: vendor.url, api_key: vendor.key });
    expect((await run(["plugin", "check", folder, "--live"])).err).toContain("--max-cost");
    expect((await run(["plugin", "check", folder, "--max-cost", "5"])).code).toBe(2);
    const refused = await run(["plugin", "check", folder, "--live", "--max-cost", "0.10"]);
    expect(refused.code).not.toBe(0);
    expect(refused.err).toContain("about 0.50 USD");
    expect(vendor.machines).toEqual([]);
  });

  test("live says what it spent and leaves nothing", async () => {
    configure({ api_url: vendor.url, api_key: vendor.key });
    const checked = await run(["plugin", "check", folder, "--live", "--max-cost", "2.50"]);
    expect([checked.code, checked.err]).toEqual([0, ""]);
    expect(checked.out).toContain("Estimated 0.50 USD, spent about 0.0");
    expect(checked.out).toContain("ok    provider and key alone");
    expect(checked.out).not.toContain("whose answer is lost");
    expect(vendor.machines).toEqual([]);
  }, 60_000);

  test("live ends everything after Ctrl-C", async () => {
    configure({ api_url: vendor.url, api_key: vendor.key });
    const checked = await run(["plugin", "check", folder, "--live", "--max-cost", "2.50"], "offers of rented machines");
    expect(checked.code).toBe(1);
    expect(checked.out).toContain("Stopping: everything that was rented is ended first.");
    expect(checked.out).toContain("spent about");
    expect(vendor.machines).toEqual([]);
  }, 60_000);
});
