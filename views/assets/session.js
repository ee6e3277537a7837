// When a session ends while a page is open: the sign-in page says so, and typed text is there again afterwards.
const SIGNED_IN = "signed-in";
const DRAFT = "draft";
const page = location.pathname;
/** Fields worth keeping: typed text and choices, no secrets, no files. */
const KEPT = "input:not([type=password], [type=hidden], [type=file], [type=search]), textarea, select";

const fieldsOf = (form) => [...form.querySelectorAll(KEPT)].filter((field) => field.name);
const isBox = (field) => field.type === "checkbox" || field.type === "radio";
/** A form by its action; several forms of a page may share one. */
const keyOf = (form) => `${new URL(form.action, location.href).pathname} ${form.id}`;

function save(form) {
  const values = fieldsOf(form).map((field) => [field.name, isBox(field) ? field.checked : field.value]);
  sessionStorage.setItem(DRAFT, JSON.stringify({ page, form: keyOf(form), values }));
}

/** Puts the values back, each into the field of that name, the second into the second. */
function restore(draft) {
  const form = [...document.querySelectorAll("main form")].find((one) => keyOf(one) === draft.form);
  if (!form) return;
  const fields = Map.groupBy(fieldsOf(form), (field) => field.name);
  for (const [name, value] of draft.values) {
    const field = fields.get(name)?.shift();
    if (!field) continue;
    if (isBox(field)) field.checked = value;
    else field.value = value;
  }
  // What depends on the values, such as a plan, is computed again.
  form.dispatchEvent(new Event("input", { bubbles: true }));
  form.dispatchEvent(new Event("change", { bubbles: true }));
  import("./app.js").then(({ toast }) => toast("What you typed before the session ended is here again"));
}

if (document.querySelector(".app")) {
  const draft = JSON.parse(sessionStorage.getItem(DRAFT) ?? "null");
  // A sign-in since then: the draft was interrupted by the end of the session and not by a submit.
  if (draft?.interrupted && draft.page === page) restore(draft);
  sessionStorage.removeItem(DRAFT);
  sessionStorage.setItem(SIGNED_IN, "yes");
  document.addEventListener("input", (event) => {
    const form = event.target.closest?.("main form[method=post]");
    if (form && event.isTrusted) save(form);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.getAttribute("action") === "/logout")
      for (const name of [SIGNED_IN, DRAFT]) sessionStorage.removeItem(name);
  });
} else if (page === "/login") {
  const draft = sessionStorage.getItem(DRAFT);
  if (draft) sessionStorage.setItem(DRAFT, JSON.stringify({ ...JSON.parse(draft), interrupted: true }));
  const note = document.querySelector("[data-ended]");
  if (note && sessionStorage.getItem(SIGNED_IN)) note.hidden = false;
}

/** Goes to the sign-in page when the session has ended; otherwise does nothing. */
export async function checkSession() {
  const answer = await fetch("/v1/me").catch(() => null);
  if (answer?.status !== 401) return;
  const query = new URLSearchParams({ next: page + location.search, ended: "1" });
  location.assign(`/login?${query}`);
}
