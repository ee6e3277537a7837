/** What every offer of an own machine has in common. */
import type { Offer } from "../../src/contract/provider.ts";

type Rent = Pick<
  Offer,
  | "market"
  | "region"
  | "zone"
  | "machineType"
  | "diskMb"
  | "pricePerHour"
  | "currency"
  | "quoteExpiresAt"
  | "maxLifetimeS"
  | "preemptionNoticeS"
>;

/** Own machines cost nothing, and nobody takes them back. Their hosts report the disk. */
export const OWN_MACHINE: Rent = {
  market: "own",
  region: null,
  zone: null,
  machineType: null,
  diskMb: null,
  pricePerHour: 0,
  currency: "USD",
  quoteExpiresAt: null,
  maxLifetimeS: null,
  preemptionNoticeS: null,
};
