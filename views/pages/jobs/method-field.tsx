/** The method of a new job: those that support the row type of its data, the default first. */
import type { MethodName, RowType } from "../../../src/contract/spec.ts";
import { fits, METHOD_FOR } from "../../../src/contract/support.ts";
import { Icon } from "../../parts/icons.tsx";
import { methodsFor, TYPE_WORDS } from "../datasets/row-type.tsx";

interface Choice {
  title: string;
  about: string;
}

const CHOICES: Record<MethodName, Choice> = {
  sft: { title: "Supervised (SFT)", about: "Learns to answer as in the examples." },
  dpo: {
    title: "Preference pairs (DPO)",
    about: "Learns to prefer one answer over another, and stays close to the reference model.",
  },
  orpo: {
    title: "Preference pairs without reference model (ORPO)",
    about: "Learns answers and preferences in one pass; needs less memory than DPO.",
  },
  kto: {
    title: "Labeled preference data (KTO)",
    about: "Learns from single answers labeled good or bad, such as thumbs up and down.",
  },
  reward: { title: "Reward model", about: "Learns to score answers. The result is a judge and cannot chat." },
  grpo: {
    title: "Reinforcement (GRPO)",
    about: "Generates completions and learns from those that a grader rewards.",
  },
  pretrain: { title: "Continued pre-training", about: "Learns language and facts from plain text." },
};
const METHODS = Object.keys(CHOICES) as MethodName[];

/** Which methods other row types support, as a sentence. */
function otherRowTypes(rows: RowType): string {
  const types = (Object.keys(METHOD_FOR) as RowType[]).filter((type) => type !== rows);
  return `Methods for other data: ${types.map((type) => `${TYPE_WORDS[type].toLowerCase()} for ${methodsFor(type)}`).join("; ")}.`;
}

/** `rows` null: the row type is unknown, so all methods are offered. */
export function MethodField({ chosen, rows, problem }: { chosen: string; rows: RowType | null; problem?: string }) {
  const usual = rows && METHOD_FOR[rows];
  const open = rows ? METHODS.filter((method) => fits(method, rows)) : METHODS;
  const first = usual ? [usual, ...open.filter((method) => method !== usual)] : open;
  const cards = [
    ...(usual ? [] : [{ value: "auto", title: "Automatic", about: "By the row type of the data." }]),
    // `auto` stands for the default method.
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
          Trains a LoRA adapter and leaves the base model unchanged, unless “Adapter” below is full fine-tuning.{" "}
          {rows ? otherRowTypes(rows) : null}
        </div>
      )}
    </fieldset>
  );
}
