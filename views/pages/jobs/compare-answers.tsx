/** The answers of compared runs to the rows that they share, row by row. */
import type { SharedRow } from "../../../src/evaluation/runs.ts";
import { usePage } from "../../context.ts";
import { Tabs } from "../../parts/form.tsx";
import { Diff, Sides } from "../../parts/sides.tsx";
import { Pager } from "../../parts/table.tsx";
import type { ComparedRun, CompareProps } from "./compare-page-data.ts";

function Row({ row, runs }: { row: SharedRow; runs: ComparedRun[] }) {
  const question = String(row.prompt.filter(({ role }) => role !== "system").at(-1)?.content ?? "");
  const sides = runs.map(({ job }, place) => {
    const given = row.answers[place] ?? null;
    const mark = typeof given?.exact === "boolean" ? (given.exact ? " · correct" : " · wrong") : "";
    const marked = given && !given.exact && row.expected !== "";
    return {
      title: <bdi>{`${job.name}${mark}`}</bdi>,
      body: given ? (
        marked ? (
          <Diff expected={row.expected} text={given.output} />
        ) : (
          given.output
        )
      ) : (
        <span class="muted">no answer to this row</span>
      ),
    };
  });
  return (
    <li class="panel" id={`row-${row.rowId}`}>
      <header>
        <h3 class="small clip" dir="auto" title={question}>
          {question}
        </h3>
        <span class="tag">row {row.rowId}</span>
      </header>
      <div class="body">
        <Sides sides={row.expected ? [{ title: "Expected", body: row.expected }, ...sides] : sides} />
      </div>
    </li>
  );
}

/** Nothing when the runs share no rows. */
export function CompareAnswers({ runs, answers }: Pick<CompareProps, "runs" | "answers">) {
  const { url } = usePage();
  if (!answers) return <section id="answers" hidden />;
  const scored = answers.source === "evaluations";
  return (
    <section id="answers" class="stack" aria-labelledby="answers-title">
      <div class="row between">
        <h2 id="answers-title">Answers</h2>
        <span class="muted small">
          {scored ? "validation rows answered in the evaluations" : "newest samples of each training"}
        </span>
      </div>
      {scored ? (
        <Tabs
          label="Rows"
          name="rows"
          fragment="answers"
          tabs={[
            { key: "all", label: "All shared rows" },
            { key: "mixed", label: "Correct in some runs only" },
          ]}
        />
      ) : null}
      {answers.rows.length ? (
        <ul class="stack plain-list">
          {answers.rows.map((row) => (
            <Row row={row} runs={runs} />
          ))}
        </ul>
      ) : (
        <p class="muted">
          {url.searchParams.get("rows") === "mixed"
            ? "All runs are correct on the same rows, and wrong on the same rows."
            : "No further rows."}
        </p>
      )}
      <Pager
        shown={answers.rows.length}
        hasMore={answers.next !== null}
        last={answers.next === null ? null : String(answers.next)}
        fragment="answers"
        order="data"
      />
    </section>
  );
}
