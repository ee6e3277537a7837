/** Pages of accounts: sign in and out, first administrator, invitations. Plain forms; they work without a script. */
import { Elysia } from "elysia";
import type { VNode } from "preact";
import * as v from "valibot";
import { signIn, signOut } from "../../../src/accounts/auth/sessions.ts";
import {
  acceptInvitation,
  checkSetupToken,
  completeSetup,
  findInvitation,
  isSetUp,
  signUp,
} from "../../../src/accounts/organizations/invitations.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect, safePath } from "../../../src/http/html.ts";
import { peerOf } from "../../../src/http/peer.ts";
import { session } from "../../../src/http/session.ts";
import { nameText } from "../../../src/lib/text/names.ts";
import { LoginPage } from "./login.tsx";
import { InvitePage, SetupClosedPage, SetupPage } from "./setup.tsx";

const field = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const LoginForm = v.object({ email: field(254), password: field(1000), next: field(2000) });
const AccountForm = v.object({
  token: field(200),
  email: field(254),
  name: v.optional(nameText(200), ""),
  password: field(1000),
});
const TokenQuery = v.object({ token: field(200) });

/** Adds cookies to an answer; `Set-Cookie` is the one header that may come several times. */
function withCookies(answer: Response, cookies: string[]): Response {
  for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
  return answer;
}

export const authPages = (ctx: Ctx) => {
  const render = (request: Request, actor: Actor | null, page: VNode, status = 200) =>
    html(pageOf(ctx, request, actor), page, { status });

  /** Shows the form again with what went wrong; faults of ours go on to the error page. */
  const again = (request: Request, error: unknown, page: (message: string) => VNode) => {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    const answer = render(request, null, page(error.message), ERROR_TABLE[error.kind].status);
    if (error.retryAfterS !== null) answer.headers.set("retry-after", String(error.retryAfterS));
    return answer;
  };

  const enter = async (request: Request, address: string, email: string, password: string, next: string) => {
    const userAgent = request.headers.get("user-agent") ?? "";
    const cookies = await signIn(ctx, { email, password, address, userAgent });
    return withCookies(redirect(request, next), cookies);
  };

  return new Elysia({ name: "auth.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/login",
      ({ request, actor, query }) => {
        const next = safePath(query.next);
        if (actor.userId) return redirect(request, next);
        const ended = query.ended === "1";
        return render(request, null, <LoginPage next={next} ended={ended} openSignUp={ctx.config.open_sign_up} />);
      },
      { query: v.object({ next: field(2000), ended: field(1) }) },
    )
    .post(
      "/login",
      async ({ request, body, server }) => {
        const next = safePath(body.next);
        try {
          const address = peerOf(ctx.config, server, request);
          return await enter(request, address, body.email, body.password, next);
        } catch (error) {
          return again(request, error, (message) => (
            <LoginPage next={next} error={message} email={body.email} openSignUp={ctx.config.open_sign_up} />
          ));
        }
      },
      { body: LoginForm },
    )
    .post("/logout", async ({ request }) => withCookies(redirect(request, "/login"), await signOut(ctx, request)))
    .get(
      "/setup",
      async ({ request, query }) => {
        try {
          await checkSetupToken(ctx, query.token);
        } catch {
          return render(request, null, <SetupClosedPage done={await isSetUp(ctx)} />, 410);
        }
        return render(request, null, <SetupPage token={query.token} />);
      },
      { query: TokenQuery },
    )
    .post(
      "/setup",
      async ({ request, body, server }) => {
        try {
          await completeSetup(ctx, body);
          const address = peerOf(ctx.config, server, request);
          return await enter(request, address, body.email, body.password, "/");
        } catch (error) {
          return again(request, error, (message) => (
            <SetupPage token={body.token} email={body.email} name={body.name} error={message} />
          ));
        }
      },
      { body: AccountForm },
    )
    .get(
      "/invite",
      async ({ request, query }) => {
        if (!query.token && ctx.config.open_sign_up)
          return render(request, null, <InvitePage token="" organization={null} />);
        const { email, orgName } = await findInvitation(ctx, query.token);
        return render(request, null, <InvitePage token={query.token} email={email} organization={orgName} />);
      },
      { query: TokenQuery },
    )
    .post(
      "/invite",
      async ({ request, body, server }) => {
        try {
          const open = !body.token && ctx.config.open_sign_up;
          const email = open ? await signUp(ctx, body) : await acceptInvitation(ctx, body);
          const address = peerOf(ctx.config, server, request);
          return await enter(request, address, email, body.password, "/");
        } catch (error) {
          return again(request, error, (message) => (
            <InvitePage
              token={body.token}
              email={body.email}
              name={body.name}
              organization={body.token ? "your organization" : null}
              error={message}
            />
          ));
        }
      },
      { body: AccountForm },
    );
};
