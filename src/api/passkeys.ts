/** JSON API of passkeys: the caller's own. They are added in a browser, under Settings. */
import { Elysia } from "elysia";
import { PasskeyView, passkeyView, RenamePasskey } from "../accounts/factors/passkey-model.ts";
import { listPasskeys, removePasskey, renamePasskey } from "../accounts/factors/passkeys.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { clientOf } from "../http/request-state.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";

const tags = ["Keys"];

interface Call {
  request: Request;
  actor: Actor;
}

async function remove(ctx: Ctx, { request, actor }: Call, id: string) {
  await removePasskey(ctx, actor, clientOf(request), id);
  return { object: "passkey" as const, id, deleted: true as const };
}

export const passkeysApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.passkeys.api", seed: ctx.installation })
    .use(session(ctx))
    .get("/passkeys", async ({ actor }) => pageOf((await listPasskeys(ctx, actor)).map(passkeyView), 100), {
      detail: { tags, summary: "Your passkeys, the oldest first", responses: answers(listOf(PasskeyView)) },
    })
    .post(
      "/passkeys/:id",
      async ({ actor, params, body }) => passkeyView(await renamePasskey(ctx, actor, params.id, body.name)),
      {
        body: RenamePasskey,
        detail: { tags, summary: "Rename a passkey of yours", responses: answers(PasskeyView) },
      },
    )
    .delete("/passkeys/:id", (call) => remove(ctx, call, call.params.id), {
      detail: {
        tags,
        summary: "Remove a passkey of yours; your other browser sessions end",
        responses: answers(deletedOf("passkey")),
      },
    });
