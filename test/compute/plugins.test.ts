/**
 * Third-party plugins from the data directory: one that works is used, each that does not says at which stage, and the
 * application goes on.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Compute, openCompute } from "../../src/compute/providers/registry.ts";
import { loadConfig } from "../../src/config.ts";
import type { Need } from "../../src/contract/spec.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { openFiles } from "../../src/lib/disk/files.ts";

const GOOD = `
const provider = { validate: async () => ({ ok: true }), offers: async () => [], launch: async () => ({ provider: "good", key: "k" }),
  describe: async () => ({ state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null }),
  terminate: async () => ({ gone: true }), listOwned: async () => [] };
const capabilities = { logs: false, gpus: false, survivesServer: true, local: false };
export default { id: "good", title: "Good", contract: 1, kind: "machine", capabilities, config: [], create: () => provider };
`;
const change = (from: string, to: string) => GOOD.replace(from, to);
const OFFER =
  '{ id: "a", location: "eu", gpus: 1, gpuName: "L4", gpuMemoryMb: 24000, cpus: 8, memoryMb: 32000, pricePerHour: 2, startsInS: 60, available: true }';
const RENTS = change("offers: async () => []", `offers: async () => [${OFFER}]`).replace('id: "good"', 'id: "rents"');
const KEY = `config: [{ name: "api_key", label: "Key", help: "The key.", type: "secret", required: true }]`;

/** Folder, its files, and the stage that must be named (null: it is used). */
const FOLDERS: [name: string, files: Record<string, string>, stage: string | null][] = [
  ["good", { "index.ts": GOOD }, null],
  [
    "parts",
    {
      "index.ts": `import { title } from "./part.ts";\n${change('title: "Good"', "title").replace('id: "good"', 'id: "parts"')}`,
      "part.ts": 'export const title = "Parts";',
    },
    null,
  ],
  ["rents", { "index.ts": RENTS }, null],
  ["empty", { "README.md": "nothing" }, "folder"],
  ["broken", { "index.ts": "export default {" }, "import"],
  ["package", { "index.ts": `import x from "no-such-package";\nexport const used = x;\n${GOOD}` }, "import"],
  ["nothing", { "index.ts": "export const x = 1;" }, "manifest"],
  ["odd-id", { "index.ts": change('id: "good"', 'id: "Odd Id"') }, "manifest"],
  ["twin", { "index.ts": change('id: "good"', 'id: "process"') }, "manifest"],
  ["future", { "index.ts": change("contract: 1", "contract: 3").replace('id: "good"', 'id: "future"') }, "contract"],
  [
    "flagless",
    { "index.ts": change("contract: 1", "contract: 2").replace('id: "good"', 'id: "flagless"') },
    "manifest",
  ],
  ["keyless", { "index.ts": change("config: []", KEY).replace('id: "good"', 'id: "keyless"') }, "config"],
  ["typo", { "index.ts": change('id: "good"', 'id: "typo"'), "config.json": '{"api_kee": "x"}' }, "config"],
  [
    "throws",
    {
      "index.ts": change("create: () => provider", "create: () => { throw new Error('no') }").replace(
        'id: "good"',
        'id: "throws"',
      ),
    },
    "create",
  ],
  [
    "refused",
    {
      "index.ts": change(
        "({ ok: true })",
        "({ ok: false, problems: [{ field: 'f', message: 'm', remedy: 'r' }] })",
      ).replace('id: "good"', 'id: "refused"'),
    },
    "validate",
  ],
];

let dir: string;
let compute: Compute;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "ftl-plugins-"));
  const files = openFiles(dir);
  for (const [name, contents] of FOLDERS) {
    mkdirSync(files.path("plugins", name));
    for (const [file, text] of Object.entries(contents)) writeFileSync(files.path("plugins", name, file), text);
  }
  // The result of `plugin new` without its key: reported, not loaded.
  const template = join(import.meta.dir, "../../plugins/template");
  cpSync(template, files.path("plugins", "template"), { recursive: true });
  cpSync(join(template, "container.ts"), files.path("plugins", "template", "index.ts"));
  compute = await openCompute({
    installation: "test",
    config: loadConfig({ data_dir: dir }, {}),
    files,
    clock: systemClock,
    log: () => {},
    signal: new AbortController().signal,
  });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("a plugin folder", () => {
  for (const [name, , stage] of FOLDERS)
    test(stage ? `"${name}" fails at stage ${stage}, with a remedy` : `"${name}" is used`, () => {
      const found = compute.problems().find((problem) => problem.plugin === name);
      expect<string | null>(found?.stage ?? null).toBe(stage);
      if (found) expect(found.message && found.remedy).toBeTruthy();
      if (!stage) expect(compute.get(name)?.plugin.id).toBe(name);
    });

  test("the template names its missing key", () => {
    expect(compute.problems().find((problem) => problem.plugin === "template")).toMatchObject({ stage: "config" });
  });

  test("of contract 1 gets the flags and the facts of offers that it does not know", async () => {
    const rented = compute.get("rents");
    expect(rented?.plugin).toMatchObject({ contract: 2, capabilities: { local: false, priced: true, spot: false } });
    const [offer] = (await rented?.provider.offers({} as Need)) ?? [];
    expect(offer).toMatchObject({ id: "a", pricePerHour: 2, market: "on_demand", currency: "USD", region: null });
  });

  test("never stops the bundled providers from working", () => {
    expect(compute.list().map(({ plugin }) => plugin.id)).toEqual(["process", "good", "parts", "rents"]);
  });
});
