/** Conversations stored as trees: ChatGPT's export (the branch that was shown) and trees of Open Assistant. */
import { isObject, type JsonObject } from "../../rows/chat.ts";
import { plainText } from "../parts.ts";

/** Most steps from the last message to the first. */
const MAX_DEPTH = 2048;

const SPOKEN = new Set(["text", "multimodal_text", "code"]);

/** A message of the export as a turn; null for one that was never shown: empty, hidden, or for a tool. */
function shownTurn(message: unknown): JsonObject | null {
  if (!isObject(message)) return null;
  const author = isObject(message.author) ? message.author.role : undefined;
  const { content, metadata, recipient } = message;
  if (isObject(metadata) && metadata.is_visually_hidden_from_conversation === true) return null;
  if (author === "tool" || (typeof recipient === "string" && recipient !== "all")) return null;
  if (isObject(content) && content.content_type !== undefined && !SPOKEN.has(String(content.content_type))) return null;
  // A part that is no text, such as an image, stays, so that the check names it.
  const parts = isObject(content) && Array.isArray(content.parts) ? content.parts : [content];
  const text = plainText(content);
  if (text !== undefined && text.trim() === "") return null;
  return { role: author, content: text ?? parts };
}

/** The messages from the first to the node that was shown last. */
function chatgptMessages(nodes: JsonObject, current: unknown): JsonObject[] {
  const turns: JsonObject[] = [];
  let at: unknown = current;
  for (let steps = 0; typeof at === "string" && steps < MAX_DEPTH; steps++) {
    const node: unknown = nodes[at];
    if (!isObject(node)) break;
    const turn = shownTurn(node.message);
    if (turn) turns.unshift(turn);
    at = node.parent;
  }
  return turns;
}

/** The node without children that was created last; used when the export does not say which was shown. */
function newestLeaf(nodes: JsonObject): string | undefined {
  const leaves = Object.entries(nodes).filter(([, node]) => isObject(node) && !(node.children as unknown[])?.length);
  return leaves.at(-1)?.[0];
}

export const isChatgptExport = (row: JsonObject): boolean =>
  isObject(row.mapping) &&
  Object.values(row.mapping).some((node) => isObject(node) && "message" in node && "children" in node);

export function readChatgptExport(row: JsonObject): JsonObject {
  const nodes = row.mapping as JsonObject;
  const leaf = typeof row.current_node === "string" ? row.current_node : newestLeaf(nodes);
  return { messages: chatgptMessages(nodes, leaf) };
}

/** Other branches, and messages to and from tools, which the chat did not show. */
export function chatgptRest(row: JsonObject): string | null {
  const nodes = Object.values(row.mapping as JsonObject).filter(isObject);
  if (nodes.some(({ children }) => Array.isArray(children) && children.length > 1))
    return "of several branches, the one that was shown last was read";
  const isTool = (message: unknown) =>
    isObject(message) &&
    ((isObject(message.author) && message.author.role === "tool") || (message.recipient ?? "all") !== "all");
  return nodes.some(({ message }) => isTool(message)) ? "messages to and from tools were left out" : null;
}

export const isOasstTree = (row: JsonObject): boolean =>
  isObject(row.prompt) && "replies" in row.prompt && typeof row.prompt.text === "string";

/** The replies with the best rank, from the prompt down; without ranks the first. */
export function readOasstTree(row: JsonObject): JsonObject {
  const messages: JsonObject[] = [];
  let at: unknown = row.prompt;
  for (let steps = 0; isObject(at) && steps < MAX_DEPTH; steps++) {
    messages.push({ role: at.role, content: at.text });
    const replies: unknown[] = Array.isArray(at.replies) ? at.replies : [];
    const rank = (reply: unknown) => (isObject(reply) && typeof reply.rank === "number" ? reply.rank : 1e9);
    at = replies.toSorted((a, b) => rank(a) - rank(b))[0];
  }
  // A prompt that nobody answered after the last reply is not part of the conversation.
  while (messages.length > 2 && messages.at(-1)?.role === "prompter") messages.pop();
  return { messages };
}

/** Replies beside the best ones. */
export function oasstRest(row: JsonObject): string | null {
  const hasOthers = (node: unknown): boolean =>
    isObject(node) && Array.isArray(node.replies) && (node.replies.length > 1 || node.replies.some(hasOthers));
  return hasOthers(row.prompt) ? "of several replies, the best one was read" : null;
}
