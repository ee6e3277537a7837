/** Two-factor authentication as clients send and see it. */
import * as v from "valibot";
import type { TwoFactorState } from "./two-factor.ts";

/** The second factors of the caller's account. */
export const TwoFactorView = v.strictObject({
  object: v.literal("two_factor"),
  /** There is an authenticator app or a passkey. */
  enabled: v.boolean(),
  authenticator_app: v.boolean(),
  passkeys: v.number(),
  recovery_codes_left: v.number(),
});

export const twoFactorView = (state: TwoFactorState): v.InferOutput<typeof TwoFactorView> => ({
  object: "two_factor",
  enabled: state.enabled,
  authenticator_app: state.app,
  passkeys: state.passkeys,
  recovery_codes_left: state.recoveryCodesLeft,
});

/** A new authenticator: confirm it with its first code. */
export const EnrollmentView = v.strictObject({
  object: v.literal("two_factor_enrollment"),
  /** `otpauth://totp/…`, for a QR code. */
  uri: v.string(),
  /** The same secret in base32. */
  secret: v.string(),
});

/** Each code replaces the authenticator once. */
export const RecoveryCodes = v.strictObject({ object: v.literal("recovery_codes"), codes: v.array(v.string()) });

export const PasswordBody = v.strictObject({ password: v.pipe(v.string(), v.maxLength(1000)) });
export const CodeBody = v.strictObject({ code: v.pipe(v.string(), v.maxLength(40)) });

/** One of the two. */
export const ReauthenticateBody = v.strictObject({
  password: v.optional(v.pipe(v.string(), v.maxLength(1000))),
  /** Six digits of the authenticator app. */
  code: v.optional(v.pipe(v.string(), v.regex(/^\d{6}$/, "must be six digits"))),
});

/** Until when sensitive actions of this session are not asked again. */
export const Reauthentication = v.strictObject({ object: v.literal("reauthentication"), expires_at: v.number() });
