/** The page that edits one row of a dataset: its source text, with its problems. */
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";

interface EditProps {
  dataset: { id: string; name: string };
  line: number;
  /** The source text as it is edited; a JSON value is spread over lines. */
  text: string;
  problems: { severity: string; message: string; advice: string; path: string; detail: string }[];
  error: string | null;
}

export function EditRowPage({ dataset, line, text, problems, error }: EditProps) {
  const action = `/datasets/${dataset.id}/rows/${line}`;
  return (
    <Layout
      title={`Line ${line}`}
      crumbs={[
        { label: "Datasets", href: "/datasets" },
        { label: dataset.name, href: `/datasets/${dataset.id}` },
      ]}
    >
      <div class="stack loose">
        {error ? (
          <Notice kind="bad" alert>
            {error}
          </Notice>
        ) : null}
        {problems.map(({ severity, message, advice, path, detail }) => (
          <Notice kind={severity === "error" ? "bad" : "warn"} title={message}>
            {path ? <code>{path}</code> : null} {detail ? `${detail}. ` : ""}
            {advice}
          </Notice>
        ))}
        <PostForm class="form" action={action}>
          <Field
            id="row-text"
            label="Row"
            hint="Saving creates a new version with this row replaced. All other rows keep their lines."
            render={(ids) => (
              <textarea
                name="text"
                class="mono"
                rows={Math.min(30, Math.max(8, text.split("\n").length + 1))}
                spellcheck={false}
                required
                dir="auto"
                {...ids}
              >
                {text}
              </textarea>
            )}
          />
          <div class="row">
            <a class="button" href={`/datasets/${dataset.id}`}>
              Cancel
            </a>
            <button type="submit" name="leave_out" value="true" class="button danger" formnovalidate>
              Leave this row out
            </button>
            <button type="submit" class="button primary">
              Save as a new version
            </button>
          </div>
        </PostForm>
      </div>
    </Layout>
  );
}
