/**
 * `bun run conformance [provider id or plugin folder]`: the provider contract, case by case, as `finetune-lab plugin
 * check` does. For `docker` it starts an engine.
 */
import { giveUp, needs } from "./setup.ts";

const words = process.argv.slice(2);
needs("python3");
let close = async () => {};
if (words[0] === "docker" && !words.includes("--config")) {
  const { BASE_IMAGE, testDocker } = await import("../test/support/docker.ts");
  const docker = await testDocker();
  if ("skip" in docker) giveUp(`The docker cases need an engine: ${docker.skip}`);
  close = docker.close;
  words.push("--config", JSON.stringify({ hosts: docker.address, image: BASE_IMAGE }));
}
const { runCommandLine } = await import("../src/cli/run.ts");
await runCommandLine(["plugin", "check", ...words]);
await close();
process.exit(process.exitCode ?? 0);
