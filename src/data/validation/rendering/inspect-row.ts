/** Renders a row for counting, and reports what the base model's template and tokenizer do to it. */
import type { RowType } from "../../../contract/spec.ts";
import { isText, type Message, type NumberedRow, type Row } from "../rows/types.ts";
import type { createFindings, FindingCode } from "./findings.ts";
import { createSequences } from "./sequences.ts";
import { createShown, type Lost } from "./shown.ts";
import { type Side, sidesOf, speaks } from "./sides.ts";
import { createSpecialTexts, type Piece } from "./special-texts.ts";
import { type Json, type Render, TemplateRefusal } from "./template.ts";

type Findings = Pick<ReturnType<typeof createFindings>, "add" | "full">;
type Conversation = Exclude<Row, { text: string }>;

/** A side as text. `before`: the text before its first trained turn; null when no turn is trained. */
interface Rendered {
  text: Piece[];
  before: Piece[] | null;
  /** The text of each sequence that the side is trained as: `text` alone, unless the template rewrites turns. */
  sequences: Piece[][];
}

export interface Inspector {
  /** The sides of a conversation as text. @throws TemplateRefusal, or an error of the renderer */
  render(row: Conversation): Rendered[];
  /** Records what is found. */
  inspect(row: NumberedRow, findings: Findings): void;
  /** Records a row that was not rendered. `refused`: the template itself refused it. */
  failed(row: NumberedRow, reason: string, refused: boolean, findings: Findings): void;
}

/** Messages of the longest conversation that is searched for the message that a template refuses. */
const MAX_TRIED = 100;

const CODES: Record<Lost["part"], FindingCode> = {
  content: "content_not_shown",
  reasoning: "reasoning_not_shown",
  tool_calls: "tool_calls_not_shown",
  tool_result: "tool_result_not_shown",
  tools: "tools_not_shown",
  name: "name_not_shown",
};

/** The part of a message that a template does not show. */
function lostValue(message: Message | undefined, part: Lost["part"]): unknown {
  if (part === "tool_calls") return message?.tool_calls?.map((call) => call.function);
  if (part === "reasoning") return message?.reasoning_content ?? message?.content;
  return part === "name" ? message?.name : message?.content;
}

const FIELDS: Record<Lost["part"], string> = {
  content: "content",
  reasoning: "content",
  tool_calls: "tool_calls",
  tool_result: "content",
  tools: "tools",
  name: "name",
};

const fieldOf = (message: Message | undefined, part: Lost["part"]): string =>
  part === "reasoning" && message?.reasoning_content ? "reasoning_content" : FIELDS[part];

/** Creates the inspector of a base model and a row type. @param tokenizer the model's `tokenizer.json` */
export function createInspector(render: Render, tokenizer: Json, type: RowType): Inspector {
  const shownOf = createShown(render);
  const sequencesOf = createSequences(render);
  const texts = createSpecialTexts(tokenizer);

  /** The text before a turn: as the trainer renders it, or up to the turn's content when it is the first one. */
  function before({ messages }: Side, tools: Conversation["tools"], turn: number, text: string): string {
    if (turn > 0) {
      const opened = render(messages.slice(0, turn), tools, true);
      if (text.startsWith(opened)) return opened;
    }
    const at = text.indexOf(messages[turn]?.content.trim() ?? "");
    return text.slice(0, Math.max(0, at));
  }

  /** Records the parts that the template does not show, once for each kind, and whether every answer is lost. */
  function inspectShown(row: NumberedRow & Conversation, findings: Findings): void {
    const recorded = new Set<Lost["part"]>();
    for (const side of sidesOf(row, type)) {
      const { lost, speaking } = shownOf(side.messages, row.tools);
      for (const { part, turn } of lost) {
        if (recorded.has(part)) continue;
        recorded.add(part);
        const message = side.messages[turn ?? -1];
        const path = turn === null ? "tools" : `${side.pathOf(turn)}.${fieldOf(message, part)}`;
        const value = turn === null ? row.tools : lostValue(message, part);
        findings.add(CODES[part], row.id, path, value);
      }
      const quiet = side.trained.filter((turn) => !speaking.has(turn));
      const [first] = quiet;
      if (first === undefined || quiet.length < side.trained.length) continue;
      const turn = side.messages[quiet.find((index) => speaks(side.messages[index] as Message)) ?? first];
      findings.add("nothing_learned", row.id, side.pathOf(first), turn?.tool_calls ?? turn?.content);
      break;
    }
  }

  /** Where a template refuses a conversation: the first message with which every longer part is refused. */
  function refusedAt(row: Conversation): { path: string; message?: Message } {
    for (const side of sidesOf(row, type)) {
      const { messages } = side;
      if (messages.length > MAX_TRIED) return { path: "messages" };
      let good = messages.length;
      while (good > 0 && refuses(messages.slice(0, good), row.tools)) good--;
      if (good === messages.length) continue;
      // A template that refuses even a single question refuses the conversation as a whole.
      const message = messages[good];
      return good === 0 && message?.role === "user" ? { path: "messages" } : { path: side.pathOf(good), message };
    }
    return { path: "messages" };
  }

  function refuses(messages: Message[], tools: Conversation["tools"]): boolean {
    try {
      render(messages, tools);
      return false;
    } catch (error) {
      return error instanceof TemplateRefusal;
    }
  }

  return {
    render(given) {
      const row = texts.special(given) ? texts.hide(given) : given;
      return sidesOf(row, type).map((side) => {
        const text = render(side.messages, row.tools);
        const [first] = side.trained;
        const asked = first === undefined ? null : before(side, row.tools, first, text);
        const whole = texts.pieces(text);
        const counts = type === "chat" ? sequencesOf(side.messages, row.tools, side.trained) : [];
        const sequences = counts.map((count) =>
          count === side.messages.length ? whole : texts.pieces(render(side.messages.slice(0, count), row.tools)),
        );
        return {
          text: whole,
          before: asked === null ? null : texts.pieces(asked),
          sequences: sequences.length ? sequences : [whole],
        };
      });
    },
    inspect(row, findings) {
      const special = texts.special(row);
      if (special) findings.add("special_tokens", row.id, special.path, special.sample, special.tokens.join(" "));
      const foreign = texts.foreign(row);
      if (foreign) findings.add("other_template", row.id, foreign.path, foreign.sample, foreign.tokens.join(" "));
      if (!isText(row)) inspectShown(row, findings);
    },
    failed(row, reason, refused, findings) {
      if (isText(row)) return;
      const code = refused ? "template_refuses" : "not_rendered";
      const { path, message } = refused && !findings.full(code) ? refusedAt(row) : { path: "messages" };
      findings.add(code, row.id, path, (message ?? row.messages[0])?.content, reason);
    },
  };
}
