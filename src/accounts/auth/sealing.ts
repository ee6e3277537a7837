/** Seals the secrets of authenticator apps on their way from better-auth to the database. */
import type { DBAdapter } from "better-auth";
import type { Ctx } from "../../ctx.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { seal, unseal } from "../../lib/sealed.ts";

const MODEL = "twoFactor";

interface Row {
  secret?: unknown;
  userId?: unknown;
}

/**
 * The adapter that `make` creates, with the field `secret` of authenticators sealed in the database. better-auth
 * encrypts it too, with a key that cannot change: that layer exists only in memory.
 */
export function sealing<Options>(ctx: Ctx, make: (options: Options) => DBAdapter): (options: Options) => DBAdapter {
  async function close<T>(given: T, userId: unknown): Promise<T> {
    const { secret } = given as Row;
    if (typeof secret !== "string") return given;
    const { symmetricDecrypt } = await import("better-auth/crypto");
    const plain = await symmetricDecrypt({ key: ctx.secret, data: secret });
    return { ...given, secret: seal(ctx.secret, sealedIn("authenticator", String(userId)), plain) };
  }
  async function open<T>(given: T): Promise<T> {
    const { secret, userId } = (given ?? {}) as Row;
    if (typeof secret !== "string") return given;
    const { symmetricEncrypt } = await import("better-auth/crypto");
    const plain = unseal(ctx.secret, sealedIn("authenticator", String(userId)), secret);
    return { ...given, secret: await symmetricEncrypt({ key: ctx.secret, data: plain }) };
  }
  return (options) => {
    const adapter = make(options);
    return {
      ...adapter,
      async create(given) {
        if (given.model !== MODEL) return adapter.create(given);
        return open(await adapter.create({ ...given, data: await close(given.data, (given.data as Row).userId) }));
      },
      async findOne(given) {
        if (given.model !== MODEL) return adapter.findOne(given);
        return open(await adapter.findOne(given));
      },
      async update(given) {
        if (given.model !== MODEL) return adapter.update(given);
        const row = await adapter.findOne<Row>({ model: MODEL, where: given.where });
        // Setting up an app would clear the codes of an account with passkeys; only factors.ts replaces them.
        const { backupCodes: _, ...update } = given.update as Record<string, unknown>;
        return open(await adapter.update({ ...given, update: await close(update, row?.userId) }));
      },
      async incrementOne(given) {
        if (given.model !== MODEL) return adapter.incrementOne(given);
        return open(await adapter.incrementOne(given));
      },
    };
  };
}
