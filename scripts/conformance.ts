/** Runs the provider conformance suite and prints a table case by case: `bun run conformance [provider id or plugin folder]`. Exits 1 on a failure. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { BUNDLED } from "../plugins/index.ts";
import { CASES } from "../src/contract/conformance.ts";
import type { ProviderPlugin } from "../src/contract/provider.ts";
import { conform } from "../src/plugins/conform.ts";
import { loadPluginFolder } from "../src/plugins/service.ts";

async function chosen(
  name: string | undefined,
): Promise<{ plugin: ProviderPlugin; config: Record<string, unknown> }[]> {
  const bundled = BUNDLED.filter((plugin) => !name || plugin.id === name);
  if (bundled.length) return bundled.map((plugin) => ({ plugin, config: {} }));
  const folder = resolve(name ?? "");
  if (!existsSync(folder)) throw new Error(`no bundled provider and no folder is called "${name}"`);
  const answer = await loadPluginFolder(folder, basename(folder));
  if ("problem" in answer)
    throw new Error(`${answer.problem.stage}: ${answer.problem.message}. ${answer.problem.remedy}`);
  return [answer.loaded];
}

const width = Math.max(...CASES.map((one) => one.name.length));
let failures = 0;
try {
  for (const { plugin, config } of await chosen(Bun.argv[2])) {
    const dataDir = mkdtempSync(join(tmpdir(), "ftl-conformance-"));
    console.log(`\n${plugin.title} (${plugin.id}), provider contract ${plugin.contract}\n`);
    try {
      for await (const result of conform(plugin, config, dataDir)) {
        if (result.outcome === "failed") failures++;
        const mark = { passed: "ok  ", failed: "FAIL", skipped: "skip" }[result.outcome];
        console.log(
          `${mark}  ${result.name.padEnd(width)}  ${String(result.ms).padStart(6)} ms  ${result.detail}`.trimEnd(),
        );
      }
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(2);
}
console.log(failures ? `\n${failures} failed` : "\nall passed");
process.exit(failures ? 1 : 0);
