/** The check of `doctor` whether trainers on other machines reach the running server. */
import { callsHome, homeName, homeProblem } from "../../compute/providers/call-home.ts";
import { usesMailbox } from "../../compute/providers/mailbox.ts";
import type { Ctx } from "../../ctx.ts";
import { type Check, check } from "./check.ts";

/** Nothing where no provider has machines elsewhere and no address is set for them. */
export async function callHomeChecks(ctx: Ctx): Promise<Check[]> {
  if (!callsHome(ctx) && !ctx.config.trainer_url) return [];
  const name = "Trainers elsewhere";
  const problem = await homeProblem(ctx, true);
  if (problem) return [check(name, "gap", problem.message, problem.remedy)];
  const found = `${usesMailbox(ctx) ? "use" : "call"} ${homeName(ctx)}`;
  return [
    ctx.config.trainer_probe
      ? check(name, "ok", `${found}, which answers`)
      : check(name, "info", `${found}; not checked`),
  ];
}
