/** The label of a beta feature. */
import { BETA_FEATURES, type BetaName } from "../../src/accounts/beta/features.ts";

export const Beta = ({ feature }: { feature: BetaName }) => (
  <span class="tag" title={BETA_FEATURES[feature].description}>
    Beta
  </span>
);
