// Selected rows of a list: kept over pages of the list, and sent with its form.
const KEY = "picks-";

function start(form) {
  const key = KEY + form.dataset.picks;
  const picked = new Map(JSON.parse(sessionStorage.getItem(key) ?? "[]"));
  const boxes = () => [...document.querySelectorAll(`input[type=checkbox][form="${form.id}"]`)];
  const count = form.querySelector("[data-picked-count]");
  const clear = form.querySelector("[data-picks-clear]");

  /** Shows the selection, and adds hidden fields for rows of other pages. */
  function show() {
    const here = new Set(boxes().map((box) => box.value));
    for (const box of boxes()) box.checked = picked.has(box.value);
    for (const field of form.querySelectorAll("input[data-elsewhere]")) field.remove();
    for (const id of picked.keys()) {
      if (here.has(id)) continue;
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name: "ids", value: id });
      field.dataset.elsewhere = "";
      form.append(field);
    }
    form.toggleAttribute("data-some", picked.size > 0);
    count.textContent = picked.size ? `${picked.size} selected` : "";
    clear.hidden = picked.size === 0;
    sessionStorage.setItem(key, JSON.stringify([...picked]));
  }

  document.addEventListener("change", ({ target }) => {
    if (!target.matches?.(`input[type=checkbox][form="${form.id}"]`)) return;
    if (target.checked) picked.set(target.value, 1);
    else picked.delete(target.value);
    show();
  });
  clear.addEventListener("click", () => {
    picked.clear();
    show();
  });
  // What was sent is no longer selected.
  form.addEventListener("submit", () => setTimeout(() => sessionStorage.removeItem(key)));
  document.addEventListener("htmx:after:swap", show);
  show();
}

/** Initializes the form of selected rows once. */
export function mount() {
  for (const form of document.querySelectorAll("form[data-picks]:not([data-started])")) {
    form.dataset.started = "";
    start(form);
  }
}
