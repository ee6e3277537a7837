/** How a new job learns: the methods that fit what the rows of its data are, the usual one first. */
import type { MethodName, RowType } from "../../../src/contract/spec.ts";
import { fits, METHOD_FOR } from "../../../src/contract/support.ts";
import { Icon } from "../../parts/icons.tsx";
import { methodsFor, TYPE_WORDS } from "../datasets/row-type.tsx";

interface Choice {
  title: string;
  about: string;
}

const CHOICES: Record<MethodName, Choice> = {
  sft: { title: "Supervised (SFT)", about: "Learns to answer like the examples." },
  dpo: {
    title: "Preferences (DPO)",
    about: "Learns to prefer one answer over another, held to the model it began from.",
  },
  orpo: {
    title: "Preferences, no reference (ORPO)",
    about: "Learns to answer and to prefer in one go; needs less memory than DPO.",
  },
  kto: {
    title: "Marked answers (KTO)",
    about: "Learns from answers marked good or bad, such as thumbs up and down.",
  },
  reward: { title: "Reward model", about: "Learns to score answers. The result judges and does not chat." },
  grpo: {
    title: "Reinforcement (GRPO)",
    about: "Answers prompts itself and learns from what a grader rewards.",
  },
  pretrain: { title: "Continued pre-training", about: "Learns the language and the facts of plain text." },
};
const METHODS = Object.keys(CHOICES) as MethodName[];

/** What other data would be good for, as one sentence. */
function othersThan(rows: RowType): string {
  const types = (Object.keys(METHOD_FOR) as RowType[]).filter((type) => type !== rows);
  return `Other data, other methods: ${types.map((type) => `${TYPE_WORDS[type].toLowerCase()} for ${methodsFor(type)}`).join("; ")}.`;
}

/** `rows` null: the data is not known yet, and any method may turn out to fit. */
export function MethodField({ chosen, rows, problem }: { chosen: string; rows: RowType | null; problem?: string }) {
  const usual = rows && METHOD_FOR[rows];
  const open = rows ? METHODS.filter((method) => fits(method, rows)) : METHODS;
  const first = usual ? [usual, ...open.filter((method) => method !== usual)] : open;
  const cards = [
    ...(usual ? [] : [{ value: "auto", title: "Automatic", about: "By what the rows of the data are." }]),
    // The usual method is what leaving it open means.
    ...first.map((method) => ({ value: method === usual ? "auto" : method, ...CHOICES[method] })),
  ];
  const mark = chosen === usual ? "auto" : chosen;
  return (
    <fieldset class="field" aria-describedby={problem ? "field-method-error" : undefined}>
      <legend>Method</legend>
      <div class="choices two">
        {cards.map(({ value, title, about }) => (
          <label class="choice">
            <input type="radio" name="method" value={value} checked={mark === value} required />
            <span>
              <strong>{title}</strong>
              <span class="xs muted">{about}</span>
            </span>
          </label>
        ))}
      </div>
      {problem ? (
        <div class="error" id="field-method-error">
          <Icon name="warn" />
          <span>{problem}</span>
        </div>
      ) : (
        <div class="hint">
          A small adapter is trained and the base model stays as it is, unless “What is trained” among the numbers says
          every weight. {rows ? othersThan(rows) : null}
        </div>
      )}
    </fieldset>
  );
}
