/** Moderation for administrators: switch, rules, and the form of a rule. */
import { PII_KINDS } from "../../../src/data/pii/kinds.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { CATEGORIES, DETECTED, type RuleView } from "../../../src/moderation/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, RowName, Table } from "../../parts/table.tsx";
import { categoryWord } from "../moderation/words.tsx";
import { AdminLayout } from "./frame.tsx";

const KIND_WORDS: Record<RuleView["kind"], string> = {
  keywords: "Words and phrases",
  pattern: "Pattern",
  pii: "Personal data",
  guard: "Guard model",
  grader: "Grader",
};

const whereOf = ({ on_datasets, on_models }: RuleView) =>
  [on_datasets ? "datasets" : "", on_models ? "models" : ""].filter(Boolean).join(" and ") || "nothing";

const COLUMNS: Column<RuleView>[] = [
  {
    key: "name",
    label: "Rule",
    name: true,
    render: (row) => (
      <RowName
        href={`/admin/moderation/${row.id}`}
        name={row.name}
        sub={`${KIND_WORDS[row.kind]} · looks at ${whereOf(row)} · version ${row.version}`}
      />
    ),
  },
  { key: "category", label: "Category", wide: true, tight: true, render: (row) => categoryWord(row.category) },
  {
    key: "action",
    label: "Action",
    wide: true,
    tight: true,
    render: (row) => (row.action === "hold" ? "Hold" : "Flag"),
  },
  {
    key: "state",
    label: "State",
    tight: true,
    render: (row) => <StateBadge state={row.enabled ? "active" : "disabled"} />,
  },
];

interface Props {
  settings: { enabled: boolean; second_reviewer: boolean };
  rules: RuleView[];
  waiting: number;
}

function Settings({ settings }: Pick<Props, "settings">) {
  return (
    <section class="panel">
      <header>
        <h2>Settings</h2>
      </header>
      <PostForm class="body form" action="/admin/moderation">
        <label class="check">
          <input type="checkbox" name="enabled" value="yes" checked={settings.enabled} />
          <span>
            Check datasets when they are imported and models before their first deployment, and let people report
          </span>
        </label>
        <label class="check">
          <input type="checkbox" name="second_reviewer" value="yes" checked={settings.second_reviewer} />
          <span>A second reviewer has to confirm every decision</span>
        </label>
        <p class="small muted">
          Switched off, nothing is checked and nothing waits. What was decided stays in force. Reviewers are accounts
          with that role, under Users; administrators can review too.
        </p>
        <div class="row">
          <button type="submit" class="button">
            Save
          </button>
        </div>
      </PostForm>
    </section>
  );
}

/** `/admin/moderation` */
export function ModerationPage({ settings, rules, waiting }: Props) {
  return (
    <AdminLayout
      title="Moderation"
      actions={
        <>
          <a class="button" href="/review">
            {waiting ? `Review queue (${waiting === 100 ? "100 or more" : waiting})` : "Review queue"}
          </a>
          <a class="button primary" href="/admin/moderation/new" data-new>
            New rule
          </a>
        </>
      }
    >
      {settings.enabled ? null : (
        <Notice kind="info" title="Moderation is off">
          Nothing is checked. Switch it on below.
        </Notice>
      )}
      <Settings settings={settings} />
      <section class="panel" aria-label="Rules">
        <header>
          <h2>Rules</h2>
          {rules.length ? <span class="small muted">{plural(rules.length, "rule")}</span> : null}
        </header>
        {rules.length === 0 ? (
          <Empty slim icon="shield" title="No rules yet">
            A rule looks for words, a pattern or personal data, or asks a guard model or a grader. What it flags goes to
            the reviewers.
          </Empty>
        ) : (
          <Table label="Rules" rows={rules} rowId={(row) => row.id} columns={COLUMNS} />
        )}
      </section>
    </AdminLayout>
  );
}

/** The form of a rule as it was sent, or as the stored rule has it. */
export interface RuleForm {
  name: string;
  category: string;
  kind: RuleView["kind"];
  keywords: string;
  pattern: string;
  pii: string[];
  guard_model: string;
  grader: string;
  threshold: string;
  datasets: boolean;
  models: boolean;
  hold: boolean;
  enabled: boolean;
}

function What({ form }: { form: RuleForm }) {
  return (
    <>
      <Field
        id="field-keywords"
        label="Words and phrases"
        hint="One per line. Case and spacing do not matter."
        render={(ids) => (
          <textarea name="keywords" rows={6} {...ids}>
            {form.keywords}
          </textarea>
        )}
      />
      <TextField
        name="pattern"
        label="Pattern"
        maxlength={2000}
        value={form.pattern}
        hint="A regular expression of RE2, such as `(?i)\bproject[- ]x\b`; no backreferences and no look-around"
      />
      <details class="more" open={form.pii.length > 0}>
        <summary>
          <Icon name="right" />
          Personal data and secrets
        </summary>
        <div class="choices-grid">
          {DETECTED.map((kind) => (
            <label class="check">
              <input type="checkbox" name="pii" value={kind} checked={form.pii.includes(kind)} />
              <span>{PII_KINDS[kind]}</span>
            </label>
          ))}
        </div>
      </details>
      <TextField
        name="guard_model"
        label="Guard model"
        maxlength={400}
        value={form.guard_model}
        hint="A model served here that answers like Llama Guard"
      />
      <Field
        id="field-grader"
        label="Grader (JSON)"
        hint="Its reward for the text, `{{sample.output_text}}`, is the score. `{{item.prompt}}` is the prompt of a model's answer"
        render={(ids) => (
          <textarea name="grader" rows={6} class="mono" {...ids}>
            {form.grader}
          </textarea>
        )}
      />
    </>
  );
}

/** `/admin/moderation/new` and `/admin/moderation/:id` */
export function RulePage({ rule, form, error }: { rule: RuleView | null; form: RuleForm; error?: string }) {
  const action = `/admin/moderation/${rule?.id ?? "new"}`;
  return (
    <AdminLayout title={rule?.name ?? "New rule"} parent={{ label: "Moderation", href: "/admin/moderation" }}>
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <section class="panel">
        <header>
          <h2>{rule ? `Version ${rule.version}` : "What it looks for"}</h2>
        </header>
        <PostForm class="body form" action={action}>
          <div class="fields">
            <TextField name="name" label="Name" required maxlength={100} value={form.name} />
            <Field
              id="field-category"
              label="Category"
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
          </div>
          <p class="small muted">Fill in one of these. Every change creates a new version of the rule.</p>
          <What form={form} />
          <TextField
            name="threshold"
            label="Threshold"
            type="number"
            inputmode="decimal"
            value={form.threshold}
            hint="Flags from this score on, 0 to 1; words and patterns score 1, a guard model 1 for unsafe, personal data 0.5 to 0.95"
          />
          <label class="check">
            <input type="checkbox" name="datasets" value="yes" checked={form.datasets} />
            <span>Look at datasets when they are imported</span>
          </label>
          <label class="check">
            <input type="checkbox" name="models" value="yes" checked={form.models} />
            <span>Look at the answers of models before their first deployment</span>
          </label>
          <label class="check">
            <input type="checkbox" name="hold" value="yes" checked={form.hold} />
            <span>Hold: not usable while it is checked, and when flagged until a reviewer decides</span>
          </label>
          <label class="check">
            <input type="checkbox" name="enabled" value="yes" checked={form.enabled} />
            <span>Enabled</span>
          </label>
          <div class="row">
            <button type="submit" class="button primary">
              {rule ? "Save" : "Create rule"}
            </button>
          </div>
        </PostForm>
      </section>
      {rule ? (
        <div class="row">
          <ConfirmForm
            id="delete-rule"
            action={`${action}/delete`}
            label="Delete rule"
            buttonClass="button danger"
            title={`Delete ${rule.name}?`}
            lost="It is not applied any more. Cases that it led to stay."
            verb="Delete it"
          />
        </div>
      ) : null}
    </AdminLayout>
  );
}
