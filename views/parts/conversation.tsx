/**
 * A chat conversation: roles, tool calls with their results, and turns that are excluded from the loss.
 */
import type { WireMessage } from "../../src/contract/trainer.ts";
import { Icon, type IconName } from "./icons.tsx";

const WHO: Record<string, [string, IconName]> = {
  system: ["System", "settings"],
  user: ["User", "user"],
  assistant: ["Assistant", "chat"],
  tool: ["Tool", "tool"],
};

interface ToolCall {
  name: string;
  text: string;
}

function callsOf(message: WireMessage): ToolCall[] {
  if (!Array.isArray(message.tool_calls)) return [];
  return message.tool_calls.map((call: { function?: { name?: unknown; arguments?: unknown } }) => {
    const given = call?.function?.arguments;
    return {
      name: String(call?.function?.name ?? "tool"),
      text: typeof given === "string" ? given : JSON.stringify(given ?? {}, null, 1),
    };
  });
}

function Turn({ message }: { message: WireMessage }) {
  const [who, icon] = WHO[message.role] ?? [message.role, "info" as const];
  const masked = message.role === "assistant" && message.weight === 0;
  return (
    <div class={`turn ${message.role}${masked ? " unweighted" : ""}`}>
      <div class="who">
        <Icon name={icon} />
        {message.role === "tool" && message.name ? String(message.name) : who}
      </div>
      <div class="stack tight">
        {typeof message.reasoning_content === "string" ? (
          <details class="more">
            <summary>
              <Icon name="right" />
              Reasoning
            </summary>
            <div class="plain-text small muted" dir="auto">
              {message.reasoning_content}
            </div>
          </details>
        ) : null}
        {message.content ? (
          <div class="said" dir="auto">
            {String(message.content)}
          </div>
        ) : null}
        {typeof message.refusal === "string" ? <div class="said muted">Refusal: {message.refusal}</div> : null}
        {callsOf(message).map((call) => (
          <div class="call">
            {call.name}({call.text})
          </div>
        ))}
        {masked ? <small class="muted">Excluded from the loss (weight 0)</small> : null}
      </div>
    </div>
  );
}

/** Chat messages in order. `tools` are the names of functions that the model may call. */
export function Conversation({ messages, tools = [] }: { messages: WireMessage[]; tools?: string[] }) {
  return (
    <div class="talk">
      {tools.length ? <p class="small muted">Tools: {tools.join(", ")}</p> : null}
      {messages.map((message) => (
        <Turn message={message} />
      ))}
    </div>
  );
}
