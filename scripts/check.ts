/**
 * `bun run check`: the one door before a change goes in: format and lint, types, architecture, then all tests. Stops at
 * the first that fails.
 */
import { join } from "node:path";
import { giveUp, installPackages, ROOT, say, trainerEnvironment } from "./setup.ts";

installPackages();
const bin = (name: string) => join(ROOT, "node_modules/.bin", name);

async function step(what: string, argv: string[], advice: string): Promise<void> {
  say(what);
  const child = Bun.spawn(argv, { cwd: ROOT, stdin: "ignore", stdout: "inherit", stderr: "inherit" });
  if ((await child.exited) !== 0) giveUp(`${what}: failed. ${advice}`);
}

await step("Format and lint (biome)", [bin("biome"), "ci", "."], "`bun run format` fixes most of it.");
await step("Types (tsc)", [bin("tsc"), "--noEmit"], "Fix the errors above.");
await step("Architecture", [process.execPath, "test", "test/architecture.test.ts"], "The rules are in that file.");
const tests = Bun.spawn([process.execPath, join(ROOT, "scripts/test.ts")], {
  cwd: ROOT,
  stdout: "inherit",
  stderr: "inherit",
});
const code = await tests.exited;
const { python } = await trainerEnvironment();
await step("Lint of the trainer (ruff)", [python, "-m", "ruff", "check", "trainer"], "`ruff check --fix trainer`.");
process.exit(code);
