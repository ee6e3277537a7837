// Passkeys: a form asks the browser for a passkey, and is sent with the answer.
//
// <form data-passkey="sign_in" data-options="/passkey/options" data-autofill hidden>
//   <input type="hidden" data-state><input type="hidden" data-credential> … <div data-problem hidden></div>
// The address gets {purpose} and answers {publicKey, state} or {error: {message}}. `enroll` creates a passkey, anything
// else uses one. The form is shown where the browser knows passkeys. `data-autofill` offers them in the field of the
// address as well.
const credentials = globalThis.PublicKeyCredential;
const known = Boolean(credentials?.parseCreationOptionsFromJSON && credentials?.parseRequestOptionsFromJSON);
/** Challenges last five minutes. */
const RENEW_MS = 4 * 60_000;

const MESSAGES = {
  NotAllowedError:
    "The browser was not given a passkey: it was canceled, took too long, or there is none for this site.",
  InvalidStateError: "This device has a passkey of your account already.",
  NotSupportedError: "This device cannot create such a passkey. Try another device, a phone or a security key.",
};

/** The request in the field of the address; a click on the button ends it. */
let autofill = null;

function complain(form, text) {
  const note = form.querySelector("[data-problem]");
  note.textContent = text;
  note.hidden = !text;
}

async function ask(form) {
  const answer = await fetch(form.dataset.options, {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams({ purpose: form.dataset.passkey }),
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error?.message ?? "The server does not answer. Try again.");
  return body;
}

/** Gets a passkey and sends the form. */
async function send(form, more = {}) {
  const { publicKey, state } = await ask(form);
  const site = publicKey.rpId ?? publicKey.rp?.id;
  try {
    const credential =
      form.dataset.passkey === "enroll"
        ? await navigator.credentials.create({ publicKey: credentials.parseCreationOptionsFromJSON(publicKey) })
        : await navigator.credentials.get({ publicKey: credentials.parseRequestOptionsFromJSON(publicKey), ...more });
    form.querySelector("[data-state]").value = state;
    form.querySelector("[data-credential]").value = JSON.stringify(credential);
    form.submit();
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
    throw new Error(`Passkeys of this site belong to ${site}. Open it at that address.`);
  }
}

async function click(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const button = form.querySelector("[type=submit]");
  autofill?.abort();
  complain(form, "");
  button.disabled = true;
  try {
    await send(form);
  } catch (error) {
    complain(form, MESSAGES[error.name] ?? error.message);
    button.disabled = false;
  }
}

/** Offers passkeys where the browser fills in the address. */
async function offer(form) {
  if (!(await credentials.isConditionalMediationAvailable?.())) return;
  autofill = new AbortController();
  const { signal } = autofill;
  const timer = setTimeout(() => {
    autofill.abort();
    offer(form);
  }, RENEW_MS);
  signal.addEventListener("abort", () => clearTimeout(timer));
  // Nobody asked for it: a refusal is no news.
  await send(form, { mediation: "conditional", signal }).catch(() => {});
}

/** Finds the forms of a page. */
export function mount() {
  for (const form of document.querySelectorAll("form[data-passkey]:not([data-mounted])")) {
    form.dataset.mounted = "";
    if (!known) {
      for (const note of document.querySelectorAll("[data-no-passkey]")) note.hidden = false;
      continue;
    }
    form.hidden = false;
    form.addEventListener("submit", click);
    if (form.dataset.autofill !== undefined) offer(form);
  }
}
