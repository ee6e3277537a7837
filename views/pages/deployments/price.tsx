/** What an endpoint costs, in one line: by the hour, and by million tokens. */
import { formatPrice } from "../../../src/lib/text/format.ts";
import type { DeploymentPlan } from "../../../src/serving/deployments/plan.ts";

const range = ([low, high]: [number, number]) =>
  low === high ? formatPrice(low) : `${formatPrice(low)} to ${formatPrice(high)}`;

export function EndpointPrice({ plan }: { plan: DeploymentPlan }) {
  const { per_hour_usd: hour, per_million_input_tokens_usd: input, per_million_output_tokens_usd: output } = plan;
  const tokens =
    input > 0 || output > 0
      ? `${formatPrice(input)} and ${formatPrice(output)} per million input and output tokens`
      : "";
  return (
    <>
      {[hour ? `${range(hour)} per hour while it runs` : "", tokens].filter(Boolean).join(", ")} (
      <a href="/pricing">prices</a>)
    </>
  );
}
