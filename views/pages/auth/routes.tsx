/** Pages of accounts: sign in and out, first administrator, invitations. Plain forms that work without a script. */
import { Elysia } from "elysia";
import type { VNode } from "preact";
import * as v from "valibot";
import { completeReset, findReset } from "../../../src/accounts/auth/resets.ts";
import { signOut } from "../../../src/accounts/auth/sessions.ts";
import { signIn } from "../../../src/accounts/auth/sign-in.ts";
import { providerOfEmail } from "../../../src/accounts/domains/service.ts";
import { hasUsablePasskey } from "../../../src/accounts/factors/passkey-check.ts";
import { signInWithPasskey } from "../../../src/accounts/factors/passkey-sign-in.ts";
import { prove, proveWithPasskey } from "../../../src/accounts/factors/proof.ts";
import { finishSignIn, finishWithPasskey, pendingSignIn } from "../../../src/accounts/factors/second-step.ts";
import {
  acceptInvitation,
  checkSetupToken,
  completeSetup,
  findInvitation,
  isSetUp,
} from "../../../src/accounts/organizations/invitations.ts";
import { signUp } from "../../../src/accounts/organizations/sign-up.ts";
import { consentNeeded } from "../../../src/accounts/terms/acceptance.ts";
import { TITLES, pathOf as termsPath } from "../../../src/accounts/terms/model.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect, safePath } from "../../../src/http/html.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";
import { PASSKEY_FIELD, PROOF_FIELD, STATE_FIELD } from "../../../src/http/step-up.ts";
import { nameText } from "../../../src/lib/text/names.ts";
import { ConfirmPage } from "./confirm.tsx";
import { CodePage, LeavePage, LoginPage, leaveTo } from "./login.tsx";
import { codeProps, loginProps } from "./login-props.ts";
import { passkeyOptions } from "./passkey-routes.ts";
import { InvitePage, ResetPage, SetupClosedPage, SetupPage } from "./setup.tsx";

const field = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const LoginQuery = v.object({
  next: field(2000),
  ended: field(1),
  created: field(1),
  password: field(1),
  left: field(100),
});
const LoginForm = v.object({ email: field(254), password: field(1000), next: field(2000) });
const AccountForm = v.object({
  token: field(200),
  email: field(254),
  name: v.optional(nameText(200), ""),
  password: field(1000),
  accept_terms: field(10),
  adult: field(10),
});
const TokenQuery = v.object({ token: field(200) });
const ResetForm = v.object({ token: field(200), password: field(1000), email: field(254) });
const CodeQuery = v.object({ next: field(2000) });
const ConfirmForm = v.object({
  [PROOF_FIELD]: field(1000),
  [PASSKEY_FIELD]: field(100_000),
  [STATE_FIELD]: field(4000),
  next: field(2000),
});
const ASK = "Prove again that it is you.";
const PasskeyForm = v.object({ credential: field(100_000), state: field(4000), next: field(2000) });
const CodeForm = v.object({ ...PasskeyForm.entries, code: field(40) });
type LoginForm = v.InferOutput<typeof LoginForm>;
type AccountForm = v.InferOutput<typeof AccountForm>;

/** Adds cookies to an answer, each as a `Set-Cookie` header of its own. */
function withCookies(answer: Response, cookies: string[]): Response {
  for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
  return answer;
}

function show(ctx: Ctx, request: Request, page: VNode, status = 200): Response {
  return html(pageOf(ctx, request, null), page, { status });
}

/** Shows a form again with the reason of a refusal; internal errors continue to the error page. */
function showAgain(ctx: Ctx, request: Request, error: unknown, page: (message: string) => VNode): Response {
  if (!(error instanceof AppError) || error.kind === "internal") throw error;
  const answer = show(ctx, request, page(error.message), ERROR_TABLE[error.kind].status);
  if (error.retryAfterS !== null) answer.headers.set("retry-after", String(error.retryAfterS));
  return answer;
}

/** Signs in and continues at `next`. */
async function enter(ctx: Ctx, request: Request, email: string, password: string, next: string) {
  const { pending, cookies } = await signIn(ctx, { email, password, client: clientOf(request) });
  const to = pending ? `/login/code?${new URLSearchParams({ next })}` : next;
  return withCookies(redirect(request, to), cookies);
}

async function codePage(ctx: Ctx, request: Request, query: v.InferOutput<typeof CodeQuery>): Promise<Response> {
  const pending = await pendingSignIn(ctx, request.headers.get("cookie"));
  const next = safePath(query.next);
  if (!pending) return redirect(request, `/login?${new URLSearchParams({ next })}`);
  return show(ctx, request, <CodePage {...(await codeProps(ctx, request, pending))} next={next} />);
}

/** Completes a sign-in with the second factor. */
async function enterCode(ctx: Ctx, request: Request, body: v.InferOutput<typeof CodeForm>): Promise<Response> {
  const next = safePath(body.next);
  const client = clientOf(request);
  const { credential, state } = body;
  const finish = () =>
    credential
      ? finishWithPasskey(ctx, { credential, state }, client, originOf(request))
      : finishSignIn(ctx, body.code, client);
  try {
    return withCookies(redirect(request, next), await finish());
  } catch (error) {
    const pending = await pendingSignIn(ctx, client.cookies);
    const code = pending && (await codeProps(ctx, request, pending));
    const login = await loginProps(ctx, request);
    return showAgain(ctx, request, error, (message) =>
      code ? <CodePage {...code} next={next} error={message} /> : <LoginPage {...login} next={next} error={message} />,
    );
  }
}

async function loginPage(ctx: Ctx, request: Request, actor: Actor, query: v.InferOutput<typeof LoginQuery>) {
  const next = safePath(query.next);
  if (actor.userId) return redirect(request, next);
  const props = await loginProps(ctx, request);
  return show(
    ctx,
    request,
    <LoginPage
      {...props}
      next={next}
      ended={query.ended === "1"}
      created={query.created === "1"}
      withPassword={query.password === "1"}
      left={props.providers.find(({ id, type }) => id === query.left && type === "oidc")}
    />,
  );
}

/** The provider of an address that was entered alone; the password is asked for where there is none. */
async function loginByAddress(ctx: Ctx, request: Request, email: string, next: string): Promise<Response | null> {
  const props = await loginProps(ctx, request);
  if (props.providers.length === 0) return null;
  const provider = await providerOfEmail(ctx, email.trim());
  if (!provider) return show(ctx, request, <LoginPage {...props} next={next} email={email} withPassword />);
  const answer = show(ctx, request, <LeavePage provider={provider} next={next} email={email.trim()} />);
  // A redirect would end at the policy that forms stay on this site.
  answer.headers.set("refresh", `0; url=${leaveTo(provider, next, email.trim())}`);
  return answer;
}

async function login(ctx: Ctx, request: Request, body: LoginForm): Promise<Response> {
  const next = safePath(body.next);
  if (!body.password) {
    const answer = await loginByAddress(ctx, request, body.email, next);
    if (answer) return answer;
  }
  try {
    return await enter(ctx, request, body.email, body.password, next);
  } catch (error) {
    const props = await loginProps(ctx, request);
    return showAgain(ctx, request, error, (message) => (
      <LoginPage {...props} next={next} error={message} email={body.email} withPassword />
    ));
  }
}

const originOf = (request: Request) => new URL(request.url).origin;

/** The page that asks for a proof, which goes on to `next`. */
async function confirmPage(ctx: Ctx, request: Request, actor: Actor, path: string, error?: unknown) {
  const next = safePath(path);
  const withPasskey = await hasUsablePasskey(ctx, actor, originOf(request));
  const page = (message: string) => (
    <ConfirmPage
      action="/confirm"
      fields={{ next }}
      message={message}
      actor={actor}
      next={next}
      withPasskey={withPasskey}
    />
  );
  return error === undefined ? show(ctx, request, page(ASK)) : showAgain(ctx, request, error, page);
}

/** Takes the proof that a page asked for, and goes on to that page. */
async function confirm(ctx: Ctx, request: Request, actor: Actor, body: v.InferOutput<typeof ConfirmForm>) {
  const client = clientOf(request);
  const { [PASSKEY_FIELD]: credential, [STATE_FIELD]: state } = body;
  try {
    if (credential) await proveWithPasskey(ctx, actor, { credential, state }, client, originOf(request));
    else await prove(ctx, actor, body[PROOF_FIELD], client);
    return redirect(request, safePath(body.next));
  } catch (error) {
    return confirmPage(ctx, request, actor, body.next, error);
  }
}

async function logout(ctx: Ctx, request: Request, actor: Actor): Promise<Response> {
  const left = /^sso:(.+)$/.exec(actor.signedInWith ?? "")?.[1];
  const to = left ? `/login?${new URLSearchParams({ left })}` : "/login";
  return withCookies(redirect(request, to), await signOut(ctx, request, actor));
}

/** Signs in with a passkey alone. */
async function enterPasskey(ctx: Ctx, request: Request, body: v.InferOutput<typeof PasskeyForm>): Promise<Response> {
  const next = safePath(body.next);
  try {
    const cookies = await signInWithPasskey(ctx, body, clientOf(request), originOf(request));
    return withCookies(redirect(request, next), cookies);
  } catch (error) {
    const props = await loginProps(ctx, request);
    return showAgain(ctx, request, error, (message) => <LoginPage {...props} next={next} error={message} />);
  }
}

/** What somebody typed, to show it again. */
const typed = (ctx: Ctx, { token, email, name }: AccountForm) => ({
  token,
  email,
  name,
  passwordMin: ctx.config.password_min_length,
});

async function setupPage(ctx: Ctx, request: Request, token: string): Promise<Response> {
  try {
    await checkSetupToken(ctx, token);
  } catch {
    return show(ctx, request, <SetupClosedPage done={await isSetUp(ctx)} />, 410);
  }
  return show(ctx, request, <SetupPage token={token} passwordMin={ctx.config.password_min_length} />);
}

async function setup(ctx: Ctx, request: Request, body: AccountForm): Promise<Response> {
  try {
    await completeSetup(ctx, body);
    return await enter(ctx, request, body.email, body.password, "/");
  } catch (error) {
    return showAgain(ctx, request, error, (message) => <SetupPage {...typed(ctx, body)} error={message} />);
  }
}

/** What the form of a new account asks to accept. */
const documentsToAccept = async (ctx: Ctx) =>
  (await consentNeeded(ctx)).map(({ document }) => ({ label: TITLES[document], href: termsPath(document) }));

async function invitePage(ctx: Ctx, request: Request, token: string): Promise<Response> {
  if (!token && ctx.config.open_sign_up)
    return show(
      ctx,
      request,
      <InvitePage
        token=""
        organization={null}
        passwordMin={ctx.config.password_min_length}
        documents={await documentsToAccept(ctx)}
      />,
    );
  const { email, orgName } = await findInvitation(ctx, token);
  return show(
    ctx,
    request,
    <InvitePage
      token={token}
      email={email}
      organization={orgName}
      passwordMin={ctx.config.password_min_length}
      documents={await documentsToAccept(ctx)}
    />,
  );
}

async function acceptInvite(ctx: Ctx, request: Request, body: AccountForm): Promise<Response> {
  const given = { ...body, consent: { terms: body.accept_terms === "yes", adult: body.adult === "yes" } };
  try {
    if (!body.token && ctx.config.open_sign_up) {
      await signUp(ctx, given, clientOf(request));
      return redirect(request, "/login?created=1");
    }
    const email = await acceptInvitation(ctx, given, clientOf(request));
    return await enter(ctx, request, email, body.password, "/");
  } catch (error) {
    const invited = body.token ? await findInvitation(ctx, body.token).catch(() => null) : null;
    const organization = invited?.orgName ?? (body.token ? "your team" : null);
    const documents = await documentsToAccept(ctx);
    return showAgain(ctx, request, error, (message) => (
      <InvitePage {...typed(ctx, body)} organization={organization} documents={documents} error={message} />
    ));
  }
}

async function resetPage(ctx: Ctx, request: Request, token: string): Promise<Response> {
  const { email } = await findReset(ctx, token);
  return show(ctx, request, <ResetPage token={token} email={email} passwordMin={ctx.config.password_min_length} />);
}

async function reset(ctx: Ctx, request: Request, { token, password }: v.InferOutput<typeof ResetForm>) {
  const { email } = await findReset(ctx, token);
  try {
    await completeReset(ctx, token, password);
    return await enter(ctx, request, email, password, "/");
  } catch (error) {
    return showAgain(ctx, request, error, (message) => (
      <ResetPage token={token} email={email} passwordMin={ctx.config.password_min_length} error={message} />
    ));
  }
}

export const authPages = (ctx: Ctx) =>
  new Elysia({ name: "auth.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .use(passkeyOptions(ctx))
    .get("/login", ({ request, actor, query }) => loginPage(ctx, request, actor, query), { query: LoginQuery })
    .post("/login", ({ body, request }) => login(ctx, request, body), { body: LoginForm })
    .get("/login/code", ({ request, query }) => codePage(ctx, request, query), { query: CodeQuery })
    .post("/login/code", ({ body, request }) => enterCode(ctx, request, body), { body: CodeForm })
    .post("/login/passkey", ({ body, request }) => enterPasskey(ctx, request, body), { body: PasskeyForm })
    .get("/confirm", ({ request, actor, query }) => confirmPage(ctx, request, actor, query.next), { query: CodeQuery })
    .post("/confirm", ({ request, actor, body }) => confirm(ctx, request, actor, body), { body: ConfirmForm })
    .post("/logout", ({ request, actor }) => logout(ctx, request, actor))
    .get("/setup", ({ request, query }) => setupPage(ctx, request, query.token), { query: TokenQuery })
    .post("/setup", ({ body, request }) => setup(ctx, request, body), { body: AccountForm })
    .get("/reset", ({ request, query }) => resetPage(ctx, request, query.token), { query: TokenQuery })
    .post("/reset", ({ body, request }) => reset(ctx, request, body), { body: ResetForm })
    .get("/invite", ({ request, query }) => invitePage(ctx, request, query.token), { query: TokenQuery })
    .post("/invite", ({ body, request }) => acceptInvite(ctx, request, body), {
      body: AccountForm,
    });
