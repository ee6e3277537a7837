/** What a member of a suspended organization sees instead of its pages: why, whom to ask, and the way out. */
import type { Hold } from "../../src/ctx.ts";
import { formatDate } from "../../src/lib/text/format.ts";
import { usePage } from "../context.ts";
import { BareLayout } from "../layout.tsx";
import { Allowed, RoleLink } from "../parts/allowed.tsx";
import { ContactLink } from "../parts/contact.tsx";

export function SuspendedPage({ hold }: { hold: Hold }) {
  const { viewer, contact } = usePage();
  const { kind, reason, until } = hold;
  return (
    <BareLayout title="Team suspended">
      <div class="stack">
        <h1>Your team is suspended</h1>
        {reason ? <p class="wrap-any">Reason: {reason}</p> : null}
        <p>
          Its jobs and endpoints are stopped and its API keys are refused. Nothing is deleted: jobs resume from their
          checkpoints when the suspension is lifted
          {until === null ? "." : `, on ${formatDate(until)} at the latest.`}
        </p>
        {kind === "unpaid" ? (
          <>
            <p>Work resumes within a minute of the payment.</p>
            <Allowed method="GET" path="/billing/payment">
              <a class="button primary" href="/billing">
                Pay under Billing
              </a>
            </Allowed>
          </>
        ) : null}
        <p>
          {contact ? (
            <>
              Questions? Contact <ContactLink contact={contact} />.
            </>
          ) : (
            "Questions? Contact an administrator of this installation."
          )}
        </p>
        <div class="row">
          <a class="button" href="/settings/data">
            Export your data
          </a>
          <RoleLink class="button" href="/team/data">
            Export your team's data
          </RoleLink>
        </div>
        {viewer ? <p class="muted small">Signed in as {viewer.email}.</p> : null}
        <form method="post" action="/logout">
          <button type="submit" class="button block">
            Sign out
          </button>
        </form>
      </div>
    </BareLayout>
  );
}
