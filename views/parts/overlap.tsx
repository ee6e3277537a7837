/** A warning that validation rows have prompts of training rows, with the rows as a table. */
import type { Overlap } from "../../src/data/validation/rows/report.ts";
import { formatInteger, formatPercent, plural } from "../../src/lib/text/format.ts";
import { Icon } from "./icons.tsx";
import { Notice } from "./notice.tsx";
import { Table } from "./table.tsx";

const KINDS = { same: "same prompt", near: "nearly the same" } as const;

export function OverlapNotice({ overlap }: { overlap: Overlap }) {
  const { rows, known, near, pairs } = overlap;
  if (known + near === 0) return null;
  return (
    <Notice
      kind="warn"
      title={`${formatInteger(known + near)} of ${plural(rows, "row")} resemble rows of the training data`}
    >
      <p>
        {formatInteger(known)} with the same prompt, {formatInteger(near)} with nearly the same. Scores on these rows
        look better than they are.
      </p>
      <details class="more">
        <summary>
          <Icon name="right" />
          {pairs.length < known + near ? `First ${pairs.length} rows` : "Show rows"}
        </summary>
        <Table
          still
          label="Rows that resemble training rows"
          rows={pairs}
          rowId={(pair) => `overlap-${pair.row}`}
          columns={[
            { key: "row", label: "Row", end: true, tight: true, render: (pair) => formatInteger(pair.row) },
            {
              key: "train",
              label: "Training row",
              end: true,
              tight: true,
              render: (pair) => formatInteger(pair.train_row),
            },
            {
              key: "kind",
              label: "Prompt",
              tight: true,
              render: (pair) =>
                pair.kind === "same" ? KINDS.same : `${KINDS.near} (${formatPercent(pair.similarity)})`,
            },
            {
              key: "sample",
              label: "Text",
              wide: true,
              render: (pair) => (
                <span class="clip" dir="auto">
                  {pair.sample}
                </span>
              ),
            },
          ]}
        />
      </details>
    </Notice>
  );
}
