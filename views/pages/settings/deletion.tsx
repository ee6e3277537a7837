/** Deleting the own account or team: what is erased and kept, the typed confirmation, and canceling it. */
import type { DeletionView } from "../../../src/erasure/model.ts";
import { capitalize, formatDate } from "../../../src/lib/text/format.ts";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";

interface DeletionProps {
  view: DeletionView;
  /** The page itself, which takes the form. */
  path: string;
  /** What must be typed: the e-mail address or the name. */
  typed: string;
  /** What happens to objects in a team of several people. */
  handedOver: string;
  error?: string;
}

const WORDS = {
  user: { title: "Delete account", what: "your account", who: "You are signed out, and your API keys stop working." },
  organization: {
    title: "Delete team",
    what: "the team",
    who: "Running jobs save a checkpoint and stop, endpoints stop, and no new work starts. Everybody in the team can read and export its data.",
  },
};

function Scheduled({ view, path }: DeletionProps) {
  return (
    <Notice kind="warn" title="The deletion is scheduled">
      <p>
        Everything below is erased on {formatDate((view.erase_at ?? 0) * 1000)}. Until then you can read data,{" "}
        <a href={view.subject === "user" ? "/settings/data" : "/team/data"}>export</a> it, and{" "}
        {view.cancelable ? "cancel the deletion." : "ask an administrator of the installation to cancel the deletion."}
        {view.reason ? ` Reason: ${view.reason}` : ""}
      </p>
      {view.cancelable ? <ActionButton action={`${path}/cancel`}>Cancel the deletion</ActionButton> : null}
    </Notice>
  );
}

export function DeletionPanels(props: DeletionProps) {
  const { view, path, typed, error } = props;
  const words = WORDS[view.subject];
  const days = view.grace_days === 1 ? "1 day" : `${view.grace_days} days`;
  return (
    <>
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      {view.erase_at === null ? null : <Scheduled {...props} />}
      <section class="panel">
        <header>
          <h2>What is erased</h2>
        </header>
        <div class="body prose">
          <ul>
            {view.erased.map((one) => (
              <li>{capitalize(one)}</li>
            ))}
          </ul>
          {view.subject === "user" ? <p>{props.handedOver}</p> : null}
        </div>
      </section>
      <section class="panel">
        <header>
          <h2>What is kept, and why</h2>
        </header>
        <div class="body prose">
          <ul>
            {view.kept.map(({ what, why }) => (
              <li>
                {what} <span class="muted">({why})</span>
              </li>
            ))}
          </ul>
        </div>
      </section>
      {view.erase_at === null ? (
        <section class="panel">
          <header>
            <h2>{words.title}</h2>
          </header>
          <div class="body stack">
            {view.blocked ? (
              <Notice kind="info" title="Not possible yet">
                {view.blocked}
              </Notice>
            ) : (
              <>
                <p>
                  {words.who} Everything is erased after {days}. Until then, sign in to cancel it.{" "}
                  <a href={view.subject === "user" ? "/settings/data" : "/team/data"}>Export what you want to keep</a>.
                </p>
                <div class="row">
                  <ConfirmForm
                    id="deletion"
                    action={path}
                    label={words.title}
                    buttonClass="button danger"
                    title={`Delete ${words.what}?`}
                    lost={`Everything listed on this page is erased after ${days}. It can be canceled until then, and not afterwards.`}
                    verb={words.title}
                    typeName={typed}
                  />
                </div>
              </>
            )}
          </div>
        </section>
      ) : null}
    </>
  );
}
