// Behavior of every page: copy buttons, relative times, theme, keyboard shortcuts, form feedback. Loads the other
// scripts that a page needs.
import "./notify.js";
import "./palette.js";
import { mount as mountPicks } from "./picks.js";
import "./session.js";
import "./stream.js";
import { mount as mountUpload } from "./upload.js";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** A short message in the corner. */
export function toast(text, kind = "ok") {
  const note = document.createElement("div");
  note.className = `notice ${kind}`;
  const words = document.createElement("div");
  const line = document.createElement("div");
  // The text between two backticks is code, as in parts/code-spans.tsx.
  const parts = text.split(/`([^`\n]+)`/).map((part, n) => {
    const node = document.createElement(n % 2 ? "code" : "span");
    node.textContent = part;
    return node;
  });
  line.append(...parts);
  words.append(line);
  note.append(words);
  $("#toasts")?.append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 12_000 : 5_000);
}

// Scripts of parts that only show something are loaded only on pages that contain the part. What people type into or
// click is handled before the page has loaded, so that no input is lost.
function mountParts() {
  if ($("ft-chart")) import("./chart.js");
  if ($("ft-bars")) import("./bars.js");
  if ($("[data-log]")) import("./log.js").then((log) => log.mount());
  if ($("[data-passkey]")) import("./passkey.js").then((passkey) => passkey.mount());
  mountPicks();
  mountUpload();
}

// A table that scrolls sideways and contains nothing to focus becomes focusable itself.
function focusScrollers() {
  for (const box of $$(".table-wrap")) {
    const reach = box.scrollWidth > box.clientWidth && !$("a, button, input, select", box);
    if (reach) {
      box.tabIndex = 0;
      box.role = "region";
      box.ariaLabel = `${$("table", box)?.getAttribute("aria-label") ?? "Table"}, scrolls sideways`;
    } else for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
  }
}
addEventListener("resize", focusScrollers);
document.addEventListener("toggle", focusScrollers, true);

// Copying
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  event.preventDefault();
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    // The clipboard API is not available over plain HTTP; the old command still works there.
    const area = document.createElement("textarea");
    area.value = button.dataset.copy;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.classList.add("done");
  toast("Copied");
  setTimeout(() => button.classList.remove("done"), 1500);
});

// Relative times, kept current by the server's clock: the browser's may be wrong.
const drift = Number(document.documentElement.dataset.now ?? Date.now()) - Date.now();
const UNITS = [
  [60, 1, "s"],
  [3600, 60, "min"],
  [86_400, 3600, "h"],
  [30 * 86_400, 86_400, "d"],
];

function relative(at) {
  const away = (Date.now() + drift - at) / 1000;
  const size = Math.abs(away);
  if (size < 10) return "just now";
  const unit = UNITS.find(([below]) => size < below);
  if (!unit) return new Date(at).toISOString().slice(0, 10);
  const amount = size / unit[1];
  return away < 0 ? `in ${Math.round(amount)} ${unit[2]}` : `${Math.floor(amount)} ${unit[2]} ago`;
}

/** A duration in seconds, formatted as on the server; see src/lib/text/format.ts. */
function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
  const minutes = Math.round(s / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.round((minutes % 1440) / 60)} h`;
}

function refreshTimes() {
  for (const time of $$("[data-relative]")) {
    const text = relative(Number(time.dataset.relative));
    if (time.textContent !== text) time.textContent = text;
  }
  for (const span of $$("[data-since]")) {
    const text = duration(Math.max(0, (Date.now() + drift - Number(span.dataset.since)) / 1000));
    if (span.textContent !== text) span.textContent = text;
  }
}
setInterval(refreshTimes, 1000);

// Theme: the pressed button of the menu, or a command of the palette.
document.addEventListener("submit", (event) => {
  const theme = event.submitter?.name === "theme" ? event.submitter.value : "";
  if (!event.target.matches("[data-theme-form]") || !theme) return;
  event.preventDefault();
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  for (const button of $$("[data-theme-form] [aria-pressed]"))
    button.setAttribute("aria-pressed", String(button.value === theme));
  $("#palette")?.close();
  fetch("/theme", { method: "POST", body: new URLSearchParams({ theme }) });
  document.dispatchEvent(new Event("ft:theme"));
});

// Secondary actions of the title row on small screens.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-more-actions]");
  if (!button) return;
  const open = button.parentElement.classList.toggle("open");
  button.setAttribute("aria-expanded", String(open));
});

// Forms: show immediately that they are being sent, and never send twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method === "get") return;
  if (form.classList.contains("sending")) return event.preventDefault();
  form.classList.add("sending");
});
window.addEventListener("pageshow", () => {
  for (const form of $$("form.sending")) form.classList.remove("sending");
});
document.addEventListener("input", (event) => {
  const wanted = event.target.dataset?.mustEqual;
  if (wanted === undefined) return;
  event.target.setCustomValidity(event.target.value === wanted ? "" : `Type ${wanted} to confirm`);
});

// Keyboard
const typing = (target) => target.closest?.("input, textarea, select, [contenteditable]");
let going = 0;

function moveInTable(step) {
  const rows = $$("table.list a.row-link");
  if (!rows.length) return false;
  const here = rows.indexOf(document.activeElement);
  const next = rows[here === -1 ? (step > 0 ? 0 : rows.length - 1) : here + step];
  next?.focus();
  return Boolean(next);
}

// Escape leaves the search field of a list; what was found stays.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !event.target.matches?.("[data-page-search]")) return;
  event.preventDefault();
  event.target.blur();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (Date.now() - going < 1200) {
    going = 0;
    const link = $(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      location.assign(link.href);
    }
    return;
  }
  if (event.key === "g") going = Date.now();
  else if (event.key === "/") {
    const search = $("[data-page-search]");
    if (search) search.focus();
    else $("[data-palette]")?.click();
    event.preventDefault();
  } else if (event.key === "n") $("[data-new]")?.click();
  else if (event.key === "?") $("#shortcuts")?.showModal();
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const inTable = document.activeElement?.matches("table.list a.row-link");
    if ((inTable || document.activeElement === document.body) && moveInTable(event.key === "ArrowDown" ? 1 : -1))
      event.preventDefault();
  }
});
// A confirmation takes the focus and keeps it until it is answered; the browser returns the focus on Escape.
const FOCUSABLE = "a[href], button, input:not([type=hidden]), select, textarea";
document.addEventListener(
  "toggle",
  (event) => {
    if (event.newState === "open" && event.target.matches(".confirm"))
      $(FOCUSABLE, $("form", event.target) ?? event.target)?.focus();
  },
  true,
);
document.addEventListener("keydown", (event) => {
  const box = event.key === "Tab" && $(".confirm:popover-open");
  if (!box) return;
  const stops = $$(FOCUSABLE, box);
  const at = stops.indexOf(document.activeElement);
  const next = at + (event.shiftKey ? -1 : 1);
  if (at !== -1 && stops[next]) return;
  event.preventDefault();
  stops.at(event.shiftKey ? -1 : 0)?.focus();
});
// A click on the backdrop closes a dialog.
document.addEventListener("click", (event) => {
  if (event.target instanceof HTMLDialogElement) event.target.close();
});

// A failed request shows a message; form input stays.
document.addEventListener("htmx:response:error", (event) => {
  const { response, text } = event.detail.ctx;
  if (!(response.headers.get("content-type") ?? "").includes("json")) {
    if (response.status >= 500)
      toast("The server could not process the request. Your input is kept; try again.", "bad");
    return;
  }
  const { message } = JSON.parse(text).error;
  const id = response.status >= 500 ? ` (request ${response.headers.get("x-request-id")})` : "";
  toast(`${message}${id}`, "bad");
});
document.addEventListener("htmx:error", (event) => {
  if (event.detail.ctx && !event.detail.ctx.sourceElement?.matches("[data-on]"))
    toast("The server did not respond. Check the connection and try again.", "bad");
});

function initParts() {
  mountParts();
  focusScrollers();
}
document.addEventListener("htmx:after:process", initParts);
initParts();
// The current page of a row that scrolls sideways is in view.
$(".subnav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
// A form over the page that was refused opens again, with its error.
$("[data-open]")?.showPopover();
for (const note of $$("#toasts .notice:not(.bad)")) setTimeout(() => note.remove(), 6000);
