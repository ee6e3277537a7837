/** `/team/people`: find a person in everything that the team stores, and the searches so far. */
import type { SubjectView } from "../../../src/custody/subjects/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatInteger } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, Pager, RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";

interface ListProps {
  searches: Listed<SubjectView>;
  /** Days for which a report is kept. */
  days: number;
  typed?: { terms: string; match: string; reference: string };
  error?: string;
}

/** The state of a search as badges name it. */
export const stateOf = ({ status }: Pick<SubjectView, "status">) => (status === "done" ? "succeeded" : status);

function Form({ days, typed, error }: ListProps) {
  return (
    <section class="panel">
      <header>
        <h2>Find a person</h2>
      </header>
      <PostForm action="/team/people" class="body form">
        {error ? (
          <Notice kind="bad" alert>
            {error}
          </Notice>
        ) : null}
        <Field
          id="people-terms"
          label="Names, addresses and ids, one a line"
          hint="Case, accents and white space do not matter. Each must stand as words of its own: Ann is not found in Hannah."
          render={(ids) => (
            <textarea
              name="terms"
              rows={4}
              required
              maxlength={5000}
              placeholder={"Jane Doe\njane.doe@example.com"}
              {...ids}
            >
              {typed?.terms ?? ""}
            </textarea>
          )}
        />
        <div class="fields">
          <Field
            id="people-match"
            label="A row is about the person when it has"
            render={(ids) => (
              <select name="match" {...ids}>
                <option value="any" selected={typed?.match !== "all"}>
                  any of them
                </option>
                <option value="all" selected={typed?.match === "all"}>
                  all of them
                </option>
              </select>
            )}
          />
          <TextField
            name="reference"
            label="Reference"
            hint="Number of the request, for the audit log. Not the person."
            maxlength={200}
            value={typed?.reference ?? ""}
          />
        </div>
        <p class="small muted">
          Searches the rows of all versions, files without rows, stored responses and completions, evaluation answers,
          samples and logs. The report is deleted after {days} days.
        </p>
        <div class="row">
          <button type="submit" class="button primary">
            Search
          </button>
        </div>
      </PostForm>
    </section>
  );
}

export function SubjectList({ searches }: ListProps) {
  const { url } = usePage();
  return (
    <section id="searches" class="panel" aria-label="Searches" {...liveOn(url, "subjects")}>
      {searches.items.length === 0 ? (
        <Empty slim icon="search" title="No searches">
          When a person asks what you store about them, search for their name and addresses above.
        </Empty>
      ) : (
        <Table
          label="Searches"
          rows={searches.items}
          rowId={(one) => one.id}
          columns={[
            {
              key: "terms",
              label: "Person",
              name: true,
              render: (one) => (
                <RowName
                  href={`/team/people/${one.id}`}
                  name={one.terms.join(one.match === "all" ? " and " : ", ")}
                  sub={one.reference || null}
                />
              ),
            },
            { key: "state", label: "State", render: (one) => <StateBadge state={stateOf(one)} /> },
            { key: "hits", label: "Found", end: true, render: (one) => formatInteger(one.hits) },
            { key: "at", label: "Searched", wide: true, render: (one) => <Time at={one.created_at * 1000} /> },
            { key: "until", label: "Deleted", wide: true, render: (one) => <Time at={one.expires_at * 1000} /> },
          ]}
        />
      )}
      <Pager shown={searches.items.length} hasMore={searches.hasMore} last={searches.last} fragment="searches" />
    </section>
  );
}

export function SubjectListPage(props: ListProps) {
  return (
    <Layout title="People" crumbs={[{ label: "Team", href: "/team" }]} live={{ topics: ["subjects"] }}>
      <div class="stack loose">
        <Form {...props} />
        <SubjectList {...props} />
      </div>
    </Layout>
  );
}
