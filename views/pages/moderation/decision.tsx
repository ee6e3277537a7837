/** What was decided about an object of the viewer's organization, and the appeal; and the form of a report. */
import type { DecisionView, Finding } from "../../../src/moderation/model.ts";
import { CATEGORIES } from "../../../src/moderation/model.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { stateOfCase } from "./queue.tsx";
import { Categories, categoryWord, Findings, OBJECT_WORDS } from "./words.tsx";

const MEANS: Record<NonNullable<DecisionView["decision"]>, string> = {
  approve: "It can be used.",
  restrict: "It stays where it is, but it cannot be trained on or deployed.",
  remove: "Its content was erased. Only its name, its hash and this decision are kept.",
  warn: "It can be used. Repeated violations can lead to a suspension.",
  suspend_user: "The account of its owner is suspended, and it cannot be used.",
  suspend_organization: "The team is suspended, and it cannot be used.",
};

interface Props {
  of: DecisionView;
  /** Of the viewer's own content. */
  findings: Finding[];
  ownerId: string;
  text?: string;
  error?: string;
}

function Appeal({ of, ownerId, text, error }: Props) {
  if (of.state === "appealed")
    return (
      <Notice kind="info" title="You appealed">
        A reviewer will read it. The decision stays in force until then.
      </Notice>
    );
  if (of.state !== "decided" || of.decision === "approve") return null;
  return (
    <PostForm class="panel" action={`/moderation/${of.id}/appeal`} owner={ownerId}>
      <header>
        <h2>Appeal</h2>
      </header>
      <div class="body form">
        {error ? (
          <Notice kind="bad" alert>
            {error}
          </Notice>
        ) : null}
        <Field
          id="field-text"
          label="Why is the decision wrong?"
          hint="A reviewer reads it and decides again. You get a notice."
          render={(ids) => (
            <textarea name="text" rows={5} required maxlength={2000} {...ids}>
              {text ?? ""}
            </textarea>
          )}
        />
        <div class="row">
          <button type="submit" class="button primary">
            Appeal
          </button>
        </div>
      </div>
    </PostForm>
  );
}

/** `/moderation/:id` */
export function DecisionPage(props: Props) {
  const { of, findings } = props;
  return (
    <Layout title={of.name} crumbs={[]} beside={<StateBadge state={stateOfCase(of)} />}>
      <div class="stack loose">
        {of.decision ? (
          <Notice kind={of.decision === "approve" ? "ok" : "warn"} title={MEANS[of.decision]}>
            <span class="wrap-any pre-line" dir="auto">
              {of.reason}
            </span>
          </Notice>
        ) : (
          <Notice kind="info" title="A reviewer has to decide">
            Moderation checks flagged the content below. You get a notice when it is decided.
          </Notice>
        )}
        <section class="panel">
          <header>
            <h2>About</h2>
          </header>
          <div class="body">
            <KeyValue
              rows={[
                [OBJECT_WORDS[of.type], <span dir="auto">{of.name}</span>],
                ["ID", <CopyId id={of.subject} full />],
                ["Categories", <Categories categories={of.categories} />],
                of.decided_at ? ["Decided", <Time at={of.decided_at * 1000} />] : null,
                of.hash ? ["Hash of the content", <CopyId id={of.hash} full />] : null,
              ]}
            />
          </div>
        </section>
        {findings.length ? (
          <section class="panel" aria-label="What matched">
            <header>
              <h2>What matched</h2>
            </header>
            <div class="body">
              <Findings findings={findings} rules={false} />
            </div>
          </section>
        ) : null}
        <Appeal {...props} />
      </div>
    </Layout>
  );
}

export interface ReportForm {
  type: "model" | "deployment";
  id: string;
  name: string;
  category: string;
  text: string;
}

/** `/report`: about a model or an endpoint. */
export function ReportPage({ form, error }: { form: ReportForm; error?: string }) {
  const what = form.type === "model" ? "model" : "endpoint";
  return (
    <Layout title={`Report this ${what}`}>
      <section class="panel">
        <header>
          <h2 dir="auto">{form.name}</h2>
        </header>
        <PostForm class="body form" action="/report">
          {error ? (
            <Notice kind="bad" alert>
              {error}
            </Notice>
          ) : null}
          <p class="small muted">
            Reviewers of this installation read your report and see who sent it. The owner of the {what} does not.
          </p>
          <input type="hidden" name="type" value={form.type} />
          <input type="hidden" name="id" value={form.id} />
          <Field
            id="field-category"
            label="What is it about?"
            render={(ids) => (
              <select name="category" {...ids}>
                {CATEGORIES.map((category) => (
                  <option value={category} selected={category === form.category}>
                    {categoryWord(category)}
                  </option>
                ))}
              </select>
            )}
          />
          <Field
            id="field-text"
            label="What did you see?"
            hint="Quote the request you sent and the answer."
            render={(ids) => (
              <textarea name="text" rows={6} required maxlength={2000} {...ids}>
                {form.text}
              </textarea>
            )}
          />
          <div class="row">
            <button type="submit" class="button primary">
              Send report
            </button>
          </div>
        </PostForm>
      </section>
    </Layout>
  );
}
