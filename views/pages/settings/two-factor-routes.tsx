/** Page routes of second factors. Codes and secrets are in the answer itself, never behind a redirect. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { passkeyView, RenamePasskey } from "../../../src/accounts/factors/passkey-model.ts";
import { passkeySite } from "../../../src/accounts/factors/passkey-site.ts";
import {
  addPasskey,
  askForNewPasskey,
  listPasskeys,
  removePasskey,
  renamePasskey,
} from "../../../src/accounts/factors/passkeys.ts";
import {
  confirmTwoFactor,
  disableTwoFactor,
  newRecoveryCodes,
  startTwoFactor,
  twoFactorState,
} from "../../../src/accounts/factors/two-factor.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";
import { deviceName } from "../../../src/lib/text/device.ts";
import { AddPasskeyPage } from "./passkeys.tsx";
import { TwoFactorPage, type TwoFactorProps } from "./two-factor.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Password = v.object({ password: text(1000) });
const NewPasskey = v.object({ name: text(200), state: text(4000), credential: text(100_000) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Confirm = v.object({ code: text(40), uri: text(1000) });

interface Visit {
  request: Request;
  actor: Actor;
}

const originOf = (request: Request) => new URL(request.url).origin;

/** Why passkeys cannot be used at the address of a request. */
function unavailableAt(ctx: Ctx, request: Request): string | null {
  const site = passkeySite(ctx, originOf(request));
  return "problem" in site ? site.problem : null;
}

async function show(ctx: Ctx, { request, actor }: Visit, more: Partial<TwoFactorProps> = {}, status = 200) {
  const props = {
    state: await twoFactorState(ctx, actor),
    passkeys: (await listPasskeys(ctx, actor)).map(passkeyView),
    unavailable: unavailableAt(ctx, request),
    ...more,
  };
  return html(pageOf(ctx, request, actor), <TwoFactorPage {...props} />, { status });
}

/** Runs a step; a refusal shows the page again with its reason. */
async function step(
  ctx: Ctx,
  visit: Visit,
  form: NonNullable<TwoFactorProps["error"]>["form"],
  run: () => Promise<Response>,
  more: Partial<TwoFactorProps> = {},
) {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, { ...more, error: { form, message: error.message } }, ERROR_TABLE[error.kind].status);
  }
}

function withCookies(answer: Response, cookies: string[]): Response {
  for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
  return answer;
}

const start = (ctx: Ctx, visit: Visit, { password }: v.InferOutput<typeof Password>) =>
  step(ctx, visit, "start", async () => {
    const enrollment = await startTwoFactor(ctx, visit.actor, clientOf(visit.request), password);
    return show(ctx, visit, { enrollment });
  });

/** The enrollment as the page showed it, for another try. */
function shown(uri: string): TwoFactorProps["enrollment"] {
  const secret = uri.startsWith("otpauth://totp/") ? (URL.parse(uri)?.searchParams.get("secret") ?? "") : "";
  return secret ? { uri, secret } : undefined;
}

const confirm = (ctx: Ctx, visit: Visit, { code, uri }: v.InferOutput<typeof Confirm>) =>
  step(
    ctx,
    visit,
    "confirm",
    async () => {
      const { codes, cookies } = await confirmTwoFactor(ctx, visit.actor, clientOf(visit.request), code);
      return withCookies(await show(ctx, visit, { codes }), cookies);
    },
    { enrollment: shown(uri) },
  );

const renew = (ctx: Ctx, visit: Visit, { password }: v.InferOutput<typeof Password>) =>
  step(ctx, visit, "codes", async () => {
    const codes = await newRecoveryCodes(ctx, visit.actor, clientOf(visit.request), password);
    return show(ctx, visit, { codes });
  });

const disable = (ctx: Ctx, visit: Visit, { password }: v.InferOutput<typeof Password>) =>
  step(ctx, visit, "disable", async () => {
    await disableTwoFactor(ctx, visit.actor, clientOf(visit.request), password);
    return redirect(visit.request, "/settings/two-factor", "The authenticator app is removed.");
  });

function addPage(ctx: Ctx, { request, actor }: Visit, more: { name?: string; error?: string } = {}, status = 200) {
  const name = more.name || deviceName(request.headers.get("user-agent"));
  const page = <AddPasskeyPage name={name} unavailable={unavailableAt(ctx, request)} error={more.error} />;
  return html(pageOf(ctx, request, actor), page, { status });
}

async function add(ctx: Ctx, visit: Visit, { name, state, credential }: v.InferOutput<typeof NewPasskey>) {
  const { request, actor } = visit;
  try {
    const given = { ...v.parse(RenamePasskey, { name }), state, credential, origin: originOf(request) };
    const { codes } = await addPasskey(ctx, actor, clientOf(request), given);
    if (codes) return await show(ctx, visit, { codes });
    return redirect(request, "/settings/two-factor", `The passkey “${given.name}” is added.`);
  } catch (error) {
    if (error instanceof v.ValiError) return addPage(ctx, visit, { error: `The name ${error.message}.` }, 422);
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return addPage(ctx, visit, { name, error: error.message }, ERROR_TABLE[error.kind].status);
  }
}

const rename = (ctx: Ctx, visit: Visit, id: string, name: string) =>
  step(ctx, visit, "passkeys", async () => {
    await renamePasskey(ctx, visit.actor, id, name);
    return redirect(visit.request, "/settings/two-factor", "The passkey is renamed.");
  });

const remove = (ctx: Ctx, visit: Visit, id: string) =>
  step(ctx, visit, "passkeys", async () => {
    await removePasskey(ctx, visit.actor, clientOf(visit.request), id);
    return redirect(visit.request, "/settings/two-factor", "The passkey is removed.");
  });

export const twoFactorPages = (ctx: Ctx) =>
  new Elysia({ name: "auth.two-factor.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/settings/two-factor", (visit) => show(ctx, visit))
    .post("/settings/two-factor", (visit) => start(ctx, visit, visit.body), { body: Password })
    .post("/settings/two-factor/confirm", (visit) => confirm(ctx, visit, visit.body), { body: Confirm })
    .post("/settings/two-factor/codes", (visit) => renew(ctx, visit, visit.body), { body: Password })
    .post("/settings/two-factor/disable", (visit) => disable(ctx, visit, visit.body), { body: Password })
    .get("/settings/two-factor/passkeys/add", (visit) => addPage(ctx, visit))
    .post("/settings/two-factor/passkeys/options", ({ request, actor }) =>
      askForNewPasskey(ctx, actor, clientOf(request), originOf(request)),
    )
    .post("/settings/two-factor/passkeys", (visit) => add(ctx, visit, visit.body), { body: NewPasskey })
    .post("/settings/two-factor/passkeys/:id", (visit) => rename(ctx, visit, visit.params.id, visit.body.name), {
      params: Id,
      body: RenamePasskey,
    })
    .post("/settings/two-factor/passkeys/:id/remove", (visit) => remove(ctx, visit, visit.params.id), { params: Id });
