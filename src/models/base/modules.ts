/** The modules of a base model that an adapter can be on: those with a matrix, by the headers of its files. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Ctx } from "../../ctx.ts";
import { readSafetensors } from "./inspect.ts";
import { baseModelDir } from "./service.ts";

/** Paths such as `model.layers.0.self_attn.q_proj`; null when the model's files cannot be read. */
export async function matrixModules(ctx: Ctx, baseId: string): Promise<string[] | null> {
  const directory = baseModelDir(ctx, baseId);
  try {
    const paths: string[] = [];
    for (const file of readdirSync(directory).filter((name) => name.endsWith(".safetensors")))
      for (const { name, dimensions } of await readSafetensors(join(directory, file), file))
        if (dimensions === 2 && name.endsWith(".weight")) paths.push(name.slice(0, -".weight".length));
    return paths;
  } catch {
    return null;
  }
}
