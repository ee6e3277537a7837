/** Shows of a value as much as somebody needs to find it again, and no more: `j***@e***.com`, `**** 1111`. */
import { isSecretKind, type PiiKind } from "./kinds.ts";

const STARS = "***";
const first = (text: string) => [...text][0] ?? "";

function maskedEmail(value: string): string {
  const at = value.lastIndexOf("@");
  const dot = value.lastIndexOf(".");
  return `${first(value)}${STARS}@${first(value.slice(at + 1))}${STARS}${value.slice(dot)}`;
}

/** The beginning of a key that its service gives to all of them. */
const prefixOf = (value: string) =>
  /^(?:sk-ant-|sk-|[a-z]{2,8}_(?:live_|test_|pat_)?|xox[a-z]-|AKIA|ASIA|AIza|eyJ|SG\.)/.exec(value)?.[0] ?? "";

/** A value with most of it hidden. */
export function masked(kind: PiiKind, value: string): string {
  if (kind === "email") return maskedEmail(value);
  if (kind === "private_key") return `-----BEGIN ${STARS}`;
  if (isSecretKind(kind)) return prefixOf(value) + STARS;
  if (kind === "card") return `**** ${value.slice(-4)}`;
  if (kind === "iban") return `${value.slice(0, 2)}** **** ${value.slice(-2)}`;
  if (kind === "phone") return `${/^\+\d{1,2}/.exec(value)?.[0] ?? ""}${STARS}${value.slice(-2)}`;
  if (kind === "ip") return value.replace(/[.:].*/, (rest) => `${rest.charAt(0)}${STARS}`);
  return kind === "person" || kind === "location" || kind === "other" ? first(value) + STARS : STARS + value.slice(-2);
}
