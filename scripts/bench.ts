/** `bun run bench [NAME] [ARGS…]`: runs one benchmark of bench/ by name, or lists them with what each measures. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { needs, trainerEnvironmentPath } from "./setup.ts";

const folder = join(import.meta.dir, "../bench");
const names = [...new Bun.Glob("*.{ts,py}").scanSync(folder)].sort();
const [name, ...args] = process.argv.slice(2);
const file = names.find((each) => each === name || each.replace(/\.\w+$/, "") === name);

if (!file) {
  for (const each of names) {
    const first = /(?:\/\*\*|""")\s*\**\s*(.+?)(?:\*\/|"""|$)/m.exec(readFileSync(join(folder, each), "utf8"))?.[1];
    process.stdout.write(`${each.replace(/\.\w+$/, "").padEnd(24)} ${first?.trim() ?? ""}\n`);
  }
  if (name) process.stderr.write(`There is no benchmark "${name}".\n`);
  process.exit(name ? 2 : 0);
}
if (file.endsWith(".py")) needs("trainer environment");
const runner = file.endsWith(".py") ? [join(trainerEnvironmentPath(), "bin/python")] : [process.execPath];
const child = Bun.spawn([...runner, join(folder, file), ...args], {
  stdin: "inherit",
  stdout: "inherit",
  stderr: "inherit",
});
process.exit(await child.exited);
