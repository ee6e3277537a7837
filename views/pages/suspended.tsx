/** What a member of a suspended organization sees instead of its pages: why, whom to ask, and the way out. */
import { formatDate } from "../../src/lib/text/format.ts";
import { usePage } from "../context.ts";
import { BareLayout } from "../layout.tsx";
import { RoleLink } from "../parts/allowed.tsx";
import { ContactLink } from "../parts/contact.tsx";

export function SuspendedPage(props: { reason: string; until: number | null }) {
  const { viewer, contact } = usePage();
  const { reason, until } = props;
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
