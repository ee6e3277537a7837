/** Codes of authenticator apps and recovery codes: read, and accepted once. */
import { lte } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { usedCode } from "../../db/schema/sign-in.ts";
import { AppError } from "../../errors.ts";

/** A code is valid in its own half minute and the two beside it. */
const VALID_MS = 90_000;

/** The six digits of an authenticator app, also typed in groups; null for other text. */
export function readCode(text: string): string | null {
  const plain = text.replace(/[\s-]/g, "");
  return /^\d{6}$/.test(plain) ? plain : null;
}

export const wrongCode = () =>
  new AppError(
    "forbidden",
    "wrong_code",
    "The code is wrong, has expired or was already used. Wait for the next one, or use a recovery code.",
    { param: "code" },
  );

/**
 * Marks a code as used, before it is checked: of parallel requests with one code, only one goes on.
 * @throws AppError `wrong_code` when it was used before
 */
export async function useCode(ctx: Ctx, userId: string, code: string): Promise<void> {
  const now = ctx.clock.now();
  const key = new Bun.CryptoHasher("sha256", ctx.secret).update(`code ${userId} ${code}`).digest("base64url");
  const [row] = await ctx.write(async (tx) => {
    await tx.delete(usedCode).where(lte(usedCode.until, now));
    return tx
      .insert(usedCode)
      .values({ key, until: now + VALID_MS })
      .onConflictDoNothing()
      .returning();
  });
  if (!row) throw wrongCode();
}
