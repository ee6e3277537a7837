/** Burst policies: when a job leaves its own machines for rented ones; as data, and as one line of text. */

/** `burst` leaves when the predicted wait is over `wait_over_s` and an offer costs less than `cost_under_usd`. */
export type BurstPolicy =
  | { type: "local_only" }
  | { type: "burst"; wait_over_s: number; cost_under_usd: number | null }
  | { type: "cheapest" }
  | { type: "fastest" };

export const BURST_TYPES = ["local_only", "burst", "cheapest", "fastest"] as const satisfies BurstPolicy["type"][];
/** Limits of its numbers. */
export const MAX_WAIT_S = 30 * 86_400;
export const MAX_COST_USD = 1_000_000_000;

export const BURST_TEXT_MESSAGE =
  "must be local_only, cheapest, fastest or burst, the last also with limits such as burst:wait=30m,cost=20";

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** `30m`, `2h`, `90` (seconds); null when it is no duration. */
function secondsOf(text: string): number | null {
  const [, number, unit = "s"] = /^(\d{1,7})([smhd]?)$/.exec(text) ?? [];
  if (number === undefined) return null;
  const seconds = Number(number) * UNITS[(unit || "s") as keyof typeof UNITS];
  return seconds <= MAX_WAIT_S ? seconds : null;
}

/** Reads `local_only`, `cheapest`, `fastest`, `burst` and `burst:wait=30m,cost=20`; null for other text. */
export function burstPolicyOf(text: string): BurstPolicy | null {
  const [type, limits] = text.trim().split(/:(.*)/s);
  if (type !== "burst") {
    const plain = BURST_TYPES.find((one) => one === type);
    return plain && plain !== "burst" && limits === undefined ? { type: plain } : null;
  }
  const policy: BurstPolicy = { type, wait_over_s: 0, cost_under_usd: null };
  if (limits === undefined) return policy;
  const seen = new Set<string>();
  for (const pair of limits.split(",")) {
    const [name = "", value = ""] = pair.split(/=(.*)/s);
    if (seen.has(name)) return null;
    seen.add(name);
    if (name === "wait") {
      const seconds = secondsOf(value);
      if (seconds === null) return null;
      policy.wait_over_s = seconds;
    } else if (name === "cost") {
      const usd = /^\d{1,10}(\.\d{1,6})?$/.test(value) ? Number(value) : 0;
      if (usd <= 0 || usd > MAX_COST_USD) return null;
      policy.cost_under_usd = usd;
    } else return null;
  }
  return policy;
}

const duration = (seconds: number) => {
  const unit = (["d", "h", "m"] as const).find((one) => seconds > 0 && seconds % UNITS[one] === 0) ?? "s";
  return `${seconds / UNITS[unit]}${unit}`;
};

/** The text of a policy, which `burstPolicyOf` reads again. */
export function burstPolicyText(policy: BurstPolicy): string {
  if (policy.type !== "burst") return policy.type;
  const { wait_over_s: wait, cost_under_usd: cost } = policy;
  const limits = [wait > 0 ? `wait=${duration(wait)}` : null, cost === null ? null : `cost=${cost}`];
  const given = limits.filter((one) => one !== null);
  return given.length === 0 ? policy.type : `${policy.type}:${given.join(",")}`;
}
