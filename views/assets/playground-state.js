// What the playground keeps: the conversation over a reload, and all of it in a link. A link has the state behind #,
// which browsers do not send to the server.
import { toast } from "./app.js";

const KEY = "playground";

/** Keeps the state for a reload of this tab. */
export function keepState(state) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    // The storage is full or forbidden: a reload then starts empty.
  }
}

const encode = (state) =>
  btoa(String.fromCodePoint(...new TextEncoder().encode(JSON.stringify(state))))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const decode = (text) =>
  JSON.parse(
    new TextDecoder().decode(
      Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.codePointAt(0)),
    ),
  );

/** The state of the link, else the one kept for these models; null when there is none. */
export function restoreState(models) {
  const query = new URLSearchParams(location.search);
  try {
    const [, shared] = /[#&]state=([\w-]+)/.exec(location.hash) ?? [];
    if (shared) return decode(shared);
    // A link that says what to begin with is not mixed with an older conversation.
    if (query.has("system") || query.has("prompt")) return null;
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    return kept?.panes?.map(({ model }) => model).join() === models.join() ? kept : null;
  } catch {
    return null;
  }
}

/** Copies a link to the state. */
export async function shareLink(state) {
  const url = new URL("/playground", location.origin);
  url.searchParams.set("models", state.panes.map(({ model }) => model).join(","));
  url.hash = `state=${encode(state)}`;
  history.replaceState(null, "", url);
  try {
    await navigator.clipboard.writeText(url.href);
    toast("Link copied");
  } catch {
    toast("The link is in the address bar.");
  }
}
