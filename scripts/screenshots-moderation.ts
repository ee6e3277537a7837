/** The pages of moderation: rules, queue, cases, decisions and reports. */
import type { Shot } from "./screenshots-shoot.ts";

export const MODERATION_SHOTS: Shot[] = [
  { name: "admin-moderation", path: "/admin/moderation", seeds: ["empty", "full"] },
  { name: "admin-moderation-new", path: "/admin/moderation/new", seeds: ["full"] },
  { name: "review", path: "/review", seeds: ["empty", "full"] },
  { name: "review-case", path: "/review/mcase_seed0", seeds: ["full"] },
  { name: "review-appeal", path: "/review/mcase_seed1", seeds: ["full"] },
  { name: "decision", path: "/moderation/mcase_seed1", seeds: ["full"] },
  { name: "decision-removed", path: "/moderation/mcase_seed3", seeds: ["full"] },
  { name: "datasets-restricted", path: "/datasets/ds_0001seed0seed0seed0", seeds: ["full"] },
  { name: "report", path: "/report?type=deployment&id=dep_0000seed0seed0seed0", seeds: ["full"] },
];
