/** One case for reviewers: what matched, in its context, the history, and the form of the decision. */
import { plural } from "../../../src/lib/text/format.ts";
import { type CaseView, DECISIONS, type Decision } from "../../../src/moderation/model.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { stateOfCase } from "./queue.tsx";
import { Categories, DECISION_HINTS, DECISION_WORDS, Findings, History, OBJECT_WORDS } from "./words.tsx";

export interface CaseProps {
  of: CaseView;
  second: boolean;
  form?: { decision: string; reason: string };
  error?: string;
}

function Facts({ of }: Pick<CaseProps, "of">) {
  return (
    <section class="panel">
      <header>
        <h2>About</h2>
      </header>
      <div class="body">
        <KeyValue
          rows={[
            [OBJECT_WORDS[of.type], <span dir="auto">{of.name}</span>],
            ["ID", <CopyId id={of.subject} full />],
            ["Team", <span dir="auto">{of.organization_name}</span>],
            ["Owner", of.owner_email ?? of.owner],
            ["Categories", <Categories categories={of.categories} />],
            [
              "Flagged",
              of.source === "check" ? plural(of.flagged, of.type === "model" ? "answer" : "row") : "By a report",
            ],
            ["Since", <Time at={of.created_at * 1000} />],
            of.hash ? ["Hash", <CopyId id={of.hash} />] : null,
          ]}
        />
      </div>
    </section>
  );
}

function proposalOf(of: CaseView): CaseView["history"][number] | null {
  return of.state === "second_review" ? (of.history.findLast(({ kind }) => kind === "proposal") ?? null) : null;
}

function DecisionForm({ of, second, form, error }: CaseProps) {
  const proposal = proposalOf(of);
  const chosen = form?.decision ?? proposal?.value ?? "";
  return (
    <section class="panel" aria-label="Decision">
      <header>
        <h2>{proposal ? "Confirm or propose something else" : "Decide"}</h2>
      </header>
      <PostForm class="body form" action={`/review/${of.id}`}>
        {error ? (
          <Notice kind="bad" alert>
            {error}
          </Notice>
        ) : null}
        <p class="small muted">
          {proposal
            ? "Another reviewer proposed a decision. The same decision by you puts it into effect."
            : second
              ? "A second reviewer has to confirm what you propose. Until then nothing changes."
              : "It takes effect at once, and the owner is notified with your reason."}
        </p>
        <fieldset class="choices">
          <legend>Decision</legend>
          {DECISIONS.map((decision: Decision) => (
            <label class="choice">
              <input type="radio" name="decision" value={decision} required checked={decision === chosen} />
              <span>
                <strong>{DECISION_WORDS[decision]}</strong>
                <span class="hint">{DECISION_HINTS[decision]}</span>
              </span>
            </label>
          ))}
        </fieldset>
        <Field
          id="field-reason"
          label="Reason"
          hint="The owner can read it."
          render={(ids) => (
            <textarea name="reason" rows={4} required maxlength={1000} {...ids}>
              {form?.reason ?? proposal?.text ?? ""}
            </textarea>
          )}
        />
        <div class="row">
          <button type="submit" class="button primary">
            {proposal ? "Confirm or propose" : second ? "Propose" : "Decide"}
          </button>
        </div>
      </PostForm>
    </section>
  );
}

/** `/review/:id` */
export function CasePage(props: CaseProps) {
  const { of } = props;
  return (
    <Layout
      title={of.name}
      crumbs={[{ label: "Review", href: "/review" }]}
      beside={<StateBadge state={stateOfCase(of)} />}
    >
      <div class="stack loose">
        {of.erasing ? (
          <Notice kind="info" title="The content is being erased">
            Jobs that use it are being canceled. It cannot be used any more.
          </Notice>
        ) : null}
        {of.state === "appealed" ? (
          <Notice kind="warn" title="The owner appealed">
            The decision stays in force until you decide again.
          </Notice>
        ) : null}
        <Facts of={of} />
        <section class="panel" aria-label="What matched">
          <header>
            <h2>What matched</h2>
          </header>
          {of.findings.length === 0 ? (
            <Empty slim icon="file" title={of.decision === "remove" ? "Erased with the content" : "No rule matched"}>
              {of.decision === "remove" ? null : "This case was opened by a report. Read it below."}
            </Empty>
          ) : (
            <div class="body">
              <Findings findings={of.findings} rules />
            </div>
          )}
        </section>
        {of.history.length ? (
          <section class="panel" aria-label="History">
            <header>
              <h2>History</h2>
            </header>
            <div class="body">
              <History entries={of.history} />
            </div>
          </section>
        ) : null}
        {of.state === "decided" ? null : <DecisionForm {...props} />}
      </div>
    </Layout>
  );
}
