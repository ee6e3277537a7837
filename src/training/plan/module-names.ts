/** Checks the names of `target_modules` against the modules of the base model. Pure. */
import type { TrainRequest } from "./request.ts";

/** Whether a module is in one of the model's layers, by its path: `model.layers.3.mlp.up_proj`. */
const inLayer = (path: string) => /\.\d+\./.test(path);
const lastName = (path: string) => path.slice(path.lastIndexOf(".") + 1);
const HEAD = "lm_head";

/** Whether a name selects a module: its path, or the end of it, as PEFT reads names. */
const selects = (name: string, path: string) => path === name || path.endsWith(`.${name}`);

/**
 * Why the names of a request cannot be used with a base model, for users; null when they can.
 * @param modules paths of the base's modules with a matrix
 */
export function moduleProblem(
  { target_modules: wanted, lora_layers: layers }: Pick<TrainRequest, "target_modules" | "lora_layers">,
  modules: readonly string[],
  base: { id: string; tied: boolean },
): string | null {
  if (!Array.isArray(wanted)) return null;
  const trainable = modules.filter((path) => inLayer(path) || !(base.tied || lastName(path) === HEAD));
  const usable = [...new Set(trainable.map(lastName))].sort();
  const known = `It has ${usable.join(", ")}.`;
  for (const name of wanted) {
    const found = modules.filter((path) => selects(name, path));
    const outside = found.filter((path) => !inLayer(path));
    const head = lastName(name) === HEAD;
    if (base.tied && (outside.length > 0 || head))
      return `'target_modules' names '${name}', but ${base.id} uses one matrix as embedding and as output head: training one of them would change the other when the adapter is merged or exported. ${known}`;
    if (head)
      return `'target_modules' names '${name}', the output head: losses are computed from its matrix directly, so an adapter on it would never be trained. ${known}`;
    if (found.length === 0) return `'target_modules' names '${name}', and ${base.id} has no such module. ${known}`;
    if (outside.length > 0 && typeof layers === "number")
      return `'target_modules' names '${name}', which is not in a layer, so it cannot be combined with 'lora_layers'. Leave one of them out.`;
  }
  return null;
}
