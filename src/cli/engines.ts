/** The Docker engines in the settings of this installation. */
import type { Engine } from "../../plugins/docker/engines.ts";
import type { Config } from "../config.ts";
import { AppError } from "../errors.ts";
import { UsageError } from "./command.ts";

/** The settings of the bundled docker provider, with defaults. */
export async function dockerSettings(config: Config): Promise<Record<string, unknown>> {
  const { default: plugin } = await import("../../plugins/docker/index.ts");
  const defaults = plugin.config.map((field) => [field.name, field.default] as const);
  return { ...Object.fromEntries(defaults), ...config.provider_settings.docker };
}

/**
 * All engines, or the one called `name`. Does not connect.
 * @throws AppError `docker_hosts` when the setting cannot be read; UsageError when no engine has that name
 */
export async function enginesOf(config: Config, name?: string): Promise<Engine[]> {
  const { readEngines } = await import("../../plugins/docker/engines.ts");
  const { engines, problems } = readEngines(String((await dockerSettings(config)).hosts));
  const [problem] = problems;
  if (problem) throw new AppError("invalid", "docker_hosts", `${problem.message} ${problem.remedy}`);
  const chosen = engines.filter(({ id }) => !name || id === name);
  if (chosen.length === 0)
    throw new UsageError(`No engine is called "${name}"; there are ${engines.map(({ id }) => id).join(", ")}.`);
  return chosen;
}
