/** The answer of the list of providers. */
import * as v from "valibot";

export const ProviderView = v.strictObject({
  object: v.literal("provider"),
  id: v.string(),
  title: v.string(),
  kind: v.picklist(["container", "machine", "process"]),
  capabilities: v.strictObject({
    logs: v.boolean(),
    gpus: v.boolean(),
    survivesServer: v.boolean(),
    local: v.boolean(),
  }),
});
export type ProviderView = v.InferOutput<typeof ProviderView>;
