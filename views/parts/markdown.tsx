/** Markdown of administrators in a page: no raw HTML, no images, and links only to web and mail addresses. */
import { type ComponentChildren, h } from "preact";

/** Elements that are shown, and as what: the title of the page is the only `h1`. */
const SHOWN: Record<string, string> = {
  h1: "h2",
  h2: "h3",
  h3: "h4",
  h4: "h5",
  h5: "h6",
  h6: "h6",
  ...Object.fromEntries(
    "p br hr ul ol li blockquote pre code em strong del a table thead tbody tr th td"
      .split(" ")
      .map((name) => [name, name]),
  ),
};
const SAFE_LINK = /^(https?:\/\/|mailto:|\/(?!\/)|#)/i;

/** What Bun's parser returns for each element. */
interface Parsed {
  type: unknown;
  props: { children?: unknown; href?: string; start?: number; id?: string; align?: "left" | "center" | "right" };
}

const isParsed = (node: unknown): node is Parsed => typeof node === "object" && node !== null && "props" in node;

function propsOf(name: string, { href, start, id }: Parsed["props"]): Record<string, unknown> {
  if (name === "a" && href && SAFE_LINK.test(href)) return { href, rel: "noopener noreferrer nofollow" };
  if (name === "ol" && start !== undefined && start !== 1) return { start };
  return id && /^h[2-6]$/.test(name) ? { id } : {};
}

/** The parsed tree as elements of ours; an element that is not in the list is left out. */
function shown(node: unknown): ComponentChildren {
  if (typeof node === "string") return node;
  if (Array.isArray(node)) return node.map(shown);
  if (!isParsed(node)) return null;
  const { type, props } = node;
  const children = shown(props.children);
  if (typeof type !== "string") return children;
  const name = SHOWN[type];
  return name === undefined ? null : h(name, propsOf(name, props), children);
}

export function Markdown({ text }: { text: string }) {
  const parsed: unknown = Bun.markdown.react(text, undefined, {
    noHtmlBlocks: true,
    noHtmlSpans: true,
    tasklists: false,
    headings: { ids: true },
  });
  return (
    <div class="prose" dir="auto">
      {shown(parsed)}
    </div>
  );
}
