/** The type of the rows of a dataset: its badge, the methods that use it, and the display of a row. */
import type { ComponentChildren } from "preact";
import type { MethodName, RowType } from "../../../src/contract/spec.ts";
import { fits } from "../../../src/contract/support.ts";
import type { WireMessage } from "../../../src/contract/trainer.ts";
import { textMembers } from "../../../src/lib/text/exact-json.ts";
import { Conversation } from "../../parts/conversation.tsx";
import { Icon, type IconName } from "../../parts/icons.tsx";
import { KeyValue } from "../../parts/value.tsx";

/** A stored row of any type. */
export interface RowItem {
  id: number;
  messages?: WireMessage[];
  tools?: unknown[];
  chosen?: WireMessage[];
  rejected?: WireMessage[];
  label?: boolean;
  text?: string;
  item?: Record<string, unknown>;
}

export const TYPE_WORDS: Record<RowType, string> = {
  chat: "Chat",
  preference: "Preference",
  unpaired: "Labeled preference",
  text: "Plain text",
  prompt: "Prompts",
};
const ICONS: Record<RowType, IconName> = {
  chat: "chat",
  preference: "compare",
  unpaired: "ok",
  text: "data",
  prompt: "check",
};

const METHODS: Record<MethodName, string> = {
  sft: "supervised fine-tuning (SFT)",
  dpo: "DPO",
  orpo: "ORPO",
  reward: "reward models",
  kto: "KTO",
  pretrain: "continued pre-training",
  grpo: "reinforcement fine-tuning with a grader (GRPO)",
};

const OR = new Intl.ListFormat("en-US", { type: "disjunction" });

export function TypeBadge({ type }: { type: RowType }) {
  return (
    <span class="badge">
      <Icon name={ICONS[type]} />
      {TYPE_WORDS[type]}
    </span>
  );
}

/** The methods that support a row type, from the support table: `DPO, ORPO, or reward models`. */
export const methodsFor = (type: RowType): string =>
  OR.format(
    (Object.keys(METHODS) as MethodName[]).filter((method) => fits(method, type)).map((method) => METHODS[method]),
  );

/** An answer with its rating as text and color. */
function Answer({ good, word, messages }: { good: boolean; word: string; messages: WireMessage[] }) {
  return (
    <section class="answer">
      <h3 class={`badge ${good ? "ok" : "bad"} `}>
        <Icon name={good ? "ok" : "failed"} />
        {word}
      </h3>
      <Conversation messages={messages} />
    </section>
  );
}

const toolNames = (tools: unknown[] | undefined) =>
  (tools ?? []).flatMap((tool) => {
    const name = (tool as { function?: { name?: unknown } })?.function?.name;
    return typeof name === "string" ? [name] : [];
  });

/** The fields of a row that graders can use, with their template names. */
function Item({ item }: { item: Record<string, unknown> }) {
  const rows = textMembers(item).map(([name, text]): [string, string] => [`item.${name}`, text]);
  return rows.length ? <KeyValue rows={rows} /> : null;
}

/** The content of one row. */
export function RowContent({ row }: { row: RowItem }): ComponentChildren {
  if (row.text !== undefined)
    return (
      <div class="plain-text" dir="auto">
        {row.text}
      </div>
    );
  const messages = row.messages ?? [];
  const tools = toolNames(row.tools);
  if (row.chosen && row.rejected)
    return (
      <div class="stack">
        <Conversation messages={messages} tools={tools} />
        <div class="columns">
          <Answer good word="Chosen" messages={row.chosen} />
          <Answer good={false} word="Rejected" messages={row.rejected} />
        </div>
      </div>
    );
  if (row.item)
    return (
      <div class="stack">
        <Conversation messages={messages} tools={tools} />
        <Item item={row.item} />
      </div>
    );
  if (row.label === undefined) return <Conversation messages={messages} tools={tools} />;
  return (
    <div class="stack">
      <Conversation messages={messages.slice(0, -1)} tools={tools} />
      <Answer good={row.label} word={row.label ? "Good answer" : "Bad answer"} messages={messages.slice(-1)} />
    </div>
  );
}

/** The state of a version for people: a file with good rows has not failed, some rows need attention. */
export const stateOf = ({ status, rows }: { status: string; rows: number }): string =>
  status === "failed" && rows > 0 ? "needs_attention" : status;
