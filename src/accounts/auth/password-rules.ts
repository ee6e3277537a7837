/** Which passwords are accepted: long enough, not well known, and not made of names that anybody can guess. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { isCommonPassword } from "./common-passwords.ts";

export const PASSWORD_MAX = 256;
const PRODUCT = ["finetunelab", "finetune", "tunelab"];
/** Shorter words are parts of too many others. */
const MIN_WORD = 3;
/** Letters that must be left of a password without the words of its context. */
const MIN_REST = 6;

/** Whose password it is. */
interface Owner {
  email: string;
  name?: string | null;
  organization?: string | null;
}

const lettersOf = (text: string) =>
  text
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^\p{L}]/gu, "");

/** Names of the product, the server, the organization and the user, each as letters only. */
function contextWords(ctx: Ctx, { email, name, organization }: Owner): string[] {
  const host = ctx.config.public_url ? new URL(ctx.config.public_url).hostname : "";
  const texts = [email, name ?? "", organization ?? "", host];
  const words = texts.flatMap((text) => [text, ...text.split(/[^\p{L}]+/u)]).map(lettersOf);
  const long = [...PRODUCT, ...words].filter((word) => word.length >= MIN_WORD);
  return [...new Set(long)].sort((a, b) => b.length - a.length);
}

/** True when little is left of a password without the words of its context. */
function isContextual(password: string, words: string[]): boolean {
  const letters = lettersOf(password);
  const rest = words.reduce((left, word) => left.replaceAll(word, ""), letters);
  return rest !== letters && rest.length < MIN_REST;
}

/** @throws AppError `weak_password` when the password breaks a rule */
export async function checkPassword(ctx: Ctx, password: string, owner: Owner): Promise<void> {
  const refuse = (message: string) => new AppError("invalid", "weak_password", message, { param: "password" });
  const min = ctx.config.password_min_length;
  if (password.length < min) throw refuse(`The password needs at least ${min} characters.`);
  if (password.length > PASSWORD_MAX) throw refuse(`The password may have at most ${PASSWORD_MAX} characters.`);
  if (await isCommonPassword(ctx, password))
    throw refuse("This password is among the first that attackers try. Choose another one.");
  if (isContextual(password, contextWords(ctx, owner)))
    throw refuse(
      "This password is mostly the name of the product, the organization or yourself. Attackers try those. Choose another one.",
    );
}
