/** What a new version of the same file can read otherwise: another encoding, repaired text, another part. */
import type { ComponentChildren } from "preact";
import type { DatasetRow } from "../../../src/data/validation/model.ts";
import type { Report } from "../../../src/data/validation/rows/report.ts";
import { ActionButton } from "../../parts/form.tsx";

/** Parts with a button of their own; the others are chosen through the API. */
const MOST_BUTTONS = 12;

function Offer({
  dataset,
  title,
  fields,
  label,
  children,
}: {
  dataset: DatasetRow;
  title: string;
  fields: Record<string, string>;
  label: string;
  children: ComponentChildren;
}) {
  return (
    <section class="panel">
      <header>
        <h2>{title}</h2>
      </header>
      <div class="body stack">
        {children}
        <div class="row">
          <ActionButton action={`/datasets/${dataset.id}/versions`} fields={fields} class="primary">
            {label}
          </ActionButton>
          <span class="small muted">Creates a new version. The file does not change.</span>
        </div>
      </div>
    </section>
  );
}

function Sample({ children }: { children: string }) {
  return (
    <code class="wrap-any" dir="auto">
      {children}
    </code>
  );
}

/** The offers of a report; nothing when the file was read completely and without doubt. */
export function Offers({ dataset, report }: { dataset: DatasetRow; report: Report | null }) {
  const proposed = report?.encoding.proposed;
  const repair = report?.encoding.repair;
  const parts = report?.source?.other_parts ?? [];
  return (
    <>
      {proposed ? (
        <Offer
          dataset={dataset}
          title="The text is not UTF-8"
          fields={{ encoding: proposed.encoding }}
          label={`Convert from ${proposed.encoding}`}
        >
          <p>
            As {proposed.encoding} a line of it reads: <Sample>{proposed.sample}</Sample>
          </p>
        </Offer>
      ) : null}
      {repair ? (
        <Offer
          dataset={dataset}
          title="Some text was decoded with the wrong code page"
          fields={{ repair_text: "true" }}
          label="Repair the text"
        >
          <p>
            <Sample>{repair.found}</Sample> should read <Sample>{repair.meant}</Sample>
          </p>
        </Offer>
      ) : null}
      {parts.length > 0 ? (
        <section class="panel">
          <header>
            <h2>Other parts of the file</h2>
          </header>
          <div class="body row">
            {parts.slice(0, MOST_BUTTONS).map((part) => (
              <ActionButton action={`/datasets/${dataset.id}/versions`} fields={{ part }}>
                Read {part}
              </ActionButton>
            ))}
          </div>
        </section>
      ) : null}
    </>
  );
}
