// What a user notices without looking at the page: the count beside the bell, browser notifications, and the progress
// of a run in the title of the tab.
const EVERY_MS = 60_000;
const SOON_MS = 1_500;
const title = document.title;

/** Notices that were there when the page was opened, or have been shown. */
const known = new Set();
let first = true;
let soon = 0;

const allowed = () => "Notification" in window && Notification.permission === "granted";

/** Shows new notices outside the page. The tag keeps several open tabs from showing one twice. */
function show(notices) {
  for (const { id, title: words, body, path } of notices) {
    if (known.has(id)) continue;
    known.add(id);
    if (first || !allowed() || !document.hidden) continue;
    const shown = new Notification(words, { body, tag: id });
    shown.addEventListener("click", () => {
      window.focus();
      location.assign(path);
    });
  }
  first = false;
}

async function look() {
  const answer = await fetch("/v1/notices?unread=true&limit=100").catch(() => null);
  if (!answer?.ok) return;
  const { data } = await answer.json();
  for (const badge of document.querySelectorAll("[data-unread]")) {
    badge.hidden = data.length === 0;
    badge.textContent = data.length < 100 ? String(data.length) : "99+";
  }
  show(data);
}

if (document.querySelector("[data-unread]")) {
  void look();
  setInterval(() => void look(), EVERY_MS);
  document.addEventListener("visibilitychange", () => document.hidden || void look());
  // A job that ended has a notice a moment later.
  document.addEventListener("ft:changed", () => {
    clearTimeout(soon);
    soon = setTimeout(() => void look(), SOON_MS);
  });
}

/** `42% · name` while the run of this page is in progress. */
function showProgress() {
  const progress = document.querySelector("[data-tab-progress]")?.dataset.tabProgress;
  document.title = progress ? `${progress} · ${title}` : title;
}
showProgress();
document.addEventListener("htmx:after:swap", showProgress);

// The permission of the browser can be asked for only after a click.
const button = document.querySelector("[data-allow-notifications]");
function showPermission() {
  const state = "Notification" in window ? Notification.permission : "unsupported";
  for (const line of document.querySelectorAll("[data-permission]")) line.hidden = line.dataset.permission !== state;
  button.hidden = state !== "default";
}
if (button) {
  showPermission();
  button.addEventListener("click", async () => {
    await Notification.requestPermission();
    showPermission();
  });
}
