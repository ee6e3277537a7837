// One event stream per page: keeps fragments current, feeds charts and logs, and shows a line while the connection is
// lost.
//
// body[data-stream-jobs] and body[data-stream-topics] list what to listen to, data-stream-after the last batch that the
// page contains. An element with data-on="jobs" is refreshed (htmx event "refresh") when something of that topic
// changes; "job:ID" also when that job makes progress, "evidence:ID" when it has new samples or changes its phase.
// Charts and logs listen to the document events "ft:batch" (detail: the batch) and "ft:resync" (fetch again: events
// were missed).
import { checkSession } from "./session.js";

const { streamJobs, streamTopics, streamAfter } = document.body.dataset;
const strip = document.getElementById("connection");
const HIDDEN_FOR_MS = 60_000;
const REFRESH_EVERY_MS = 1_000;

let source = null;
let lost = false;
let retry = 0;
let timer = 0;
let hiddenTimer = 0;
let seen = streamAfter ?? "";

const due = new Map();
/** Refreshes an element now, or at the end of its interval when it was refreshed recently. */
function refresh(element) {
  const last = due.get(element) ?? 0;
  const wait = last + REFRESH_EVERY_MS - Date.now();
  if (last > Date.now()) return;
  due.set(element, Math.max(Date.now(), last + REFRESH_EVERY_MS));
  setTimeout(() => element.isConnected && window.htmx?.trigger(element, "refresh", {}, false), Math.max(0, wait));
}

// A refresh that failed is tried again, so that no part stays behind until the next event.
const RETRY_MS = 2_000;
const MAX_RETRY_MS = 30_000;
const failures = new WeakMap();
function refreshAgain(event) {
  const element = event.detail.ctx?.sourceElement;
  if (!element?.matches?.("[data-on]")) return;
  const count = (failures.get(element) ?? 0) + 1;
  failures.set(element, count);
  setTimeout(() => refresh(element), Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (count - 1)));
}
document.addEventListener("htmx:error", refreshAgain);
document.addEventListener("htmx:response:error", (event) => {
  // A page that no longer exists stays gone.
  if (event.detail.ctx.response.status >= 500) refreshAgain(event);
});
document.addEventListener("htmx:after:swap", (event) => failures.delete(event.detail.ctx?.sourceElement));

function refreshAll(wanted) {
  for (const element of document.querySelectorAll("[data-on]")) {
    if (!wanted || element.dataset.on.split(" ").some(wanted)) refresh(element);
  }
}

function showStatus(text, back = false) {
  if (!strip) return;
  strip.hidden = !text;
  strip.textContent = text;
  strip.classList.toggle("back", back);
}

function connect() {
  clearTimeout(timer);
  const query = new URLSearchParams();
  if (streamJobs) query.set("jobs", streamJobs);
  if (streamTopics) query.set("topics", streamTopics);
  // The browser sends the last id only when it reconnects by itself; a new EventSource needs it in the address.
  if (seen) query.set("after", seen);
  source = new EventSource(`/v1/stream?${query}`);
  source.addEventListener("open", () => {
    retry = 0;
    // Batches are sent again from the last id. Changes of state are not, including those since the page was rendered,
    // so everything that shows one is fetched again.
    refreshAll();
    if (lost) {
      showStatus("Reconnected. Everything is up to date.", true);
      setTimeout(() => !lost && showStatus(""), 2500);
    }
    lost = false;
  });
  source.addEventListener("error", () => {
    if (!lost) {
      lost = true;
      // A short interruption is not shown.
      setTimeout(() => lost && showStatus("Connection lost. Reconnecting; jobs keep running."), 1500);
    }
    if (source?.readyState !== EventSource.CLOSED) return;
    // The server refused the stream: the session may have ended in another tab.
    void checkSession();
    retry = Math.min(retry + 1, 6);
    timer = setTimeout(connect, 500 * 2 ** retry);
  });
  source.addEventListener("batch", (event) => {
    const batch = JSON.parse(event.data);
    seen = event.lastEventId || seen;
    document.dispatchEvent(new CustomEvent("ft:batch", { detail: batch }));
    if (batch.progress || batch.phase || batch.samples?.length) refreshAll((on) => on === `job:${batch.job_id}`);
    if (batch.phase || batch.samples?.length) refreshAll((on) => on === `evidence:${batch.job_id}`);
  });
  source.addEventListener("reset", (event) => {
    seen = event.lastEventId || seen;
    refreshAll();
    document.dispatchEvent(new CustomEvent("ft:resync", { detail: JSON.parse(event.data) }));
  });
  source.addEventListener("changed", (event) => {
    const { topic, id } = JSON.parse(event.data);
    document.dispatchEvent(new CustomEvent("ft:changed", { detail: { topic, id } }));
    const ofJob = topic === "jobs" || topic === "progress" || topic === "checkpoints";
    refreshAll((on) => on === topic || (ofJob && (on === `job:${id}` || on === `evidence:${id}`)));
  });
}

function disconnect() {
  clearTimeout(timer);
  source?.close();
  source = null;
}

if (streamJobs || streamTopics) {
  connect();
  // Browsers allow six connections per server: a hidden page closes its own and catches up later.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(disconnect, HIDDEN_FOR_MS);
    else if (!source) connect();
  });
  window.addEventListener("pagehide", disconnect);
  window.addEventListener("pageshow", (event) => event.persisted && !source && connect());
}
