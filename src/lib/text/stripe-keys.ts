/** What keys of Stripe look like, and whether one moves real money. */

/** Secret (`sk_`) and restricted (`rk_`) keys of test mode and of live mode. */
export const STRIPE_KEY = /^[rs]k_(test|live)_[A-Za-z0-9_]{8,250}$/;
/** The secret that a webhook endpoint signs with. */
export const STRIPE_SIGNING_SECRET = /^whsec_[A-Za-z0-9+/=_-]{8,250}$/;

/** `live` keys charge real cards; nothing that a `test` key does moves money. */
export type StripeMode = "test" | "live";

/** The mode of a key. */
export const modeOfKey = (key: string): StripeMode => (/^[rs]k_live_/.test(key) ? "live" : "test");
