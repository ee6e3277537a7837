/** Seals the secrets of authenticator apps on their way from better-auth to the database. */
import type { DBAdapter } from "better-auth";
import type { Ctx } from "../../ctx.ts";
import { seal, unseal } from "../../lib/sealed.ts";

const MODEL = "twoFactor";
const PURPOSE = "authenticator secret";

type Row = Record<string, unknown>;

/** The adapter that `make` creates, with the field `secret` of authenticators sealed in the database. */
export function sealing<Options>(ctx: Ctx, make: (options: Options) => DBAdapter): (options: Options) => DBAdapter {
  const change = (row: unknown, by: (secret: string, purpose: string, text: string) => string) => {
    const { secret } = (row ?? {}) as Row;
    return typeof secret === "string" ? { ...(row as Row), secret: by(ctx.secret, PURPOSE, secret) } : row;
  };
  const close = <T>(row: T) => change(row, seal) as T;
  const open = <T>(row: T) => change(row, unseal) as T;
  return (options) => {
    const adapter = make(options);
    return {
      ...adapter,
      async create(given) {
        if (given.model !== MODEL) return adapter.create(given);
        return open(await adapter.create({ ...given, data: close(given.data) }));
      },
      async findOne(given) {
        if (given.model !== MODEL) return adapter.findOne(given);
        return open(await adapter.findOne(given));
      },
      async update(given) {
        if (given.model !== MODEL) return adapter.update(given);
        return open(await adapter.update({ ...given, update: close(given.update) }));
      },
      async incrementOne(given) {
        if (given.model !== MODEL) return adapter.incrementOne(given);
        return open(await adapter.incrementOne(given));
      },
    };
  };
}
