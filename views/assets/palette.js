// The command palette: Ctrl-K opens it, the server searches, arrow keys and Enter select, Escape closes.
const palette = document.getElementById("palette");
const input = document.getElementById("palette-input");

const links = () => [...palette.querySelectorAll(".results :is(a, button)")];

/** Marks the first result, which Enter in the field opens. */
function mark() {
  const [first] = links();
  first?.setAttribute("data-selected", "");
}

function open() {
  if (!palette || palette.open) return;
  palette.showModal();
  input.value = "";
  input.focus();
  window.htmx?.trigger(input, "palette-open");
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open();
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-palette]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  open();
});
palette?.addEventListener("keydown", (event) => {
  const all = links();
  const here = all.indexOf(document.activeElement);
  if (event.key === "ArrowDown") all[Math.min(here + 1, all.length - 1)]?.focus();
  else if (event.key === "ArrowUp") (all[here - 1] ?? input).focus();
  // In a search field with text, the browser would only empty it.
  else if (event.key === "Escape") palette.close();
  else if (event.key === "Enter" && here === -1) palette.querySelector("[data-selected]")?.click();
  else {
    // Typing returns to the search field.
    if (here !== -1 && event.key.length === 1 && !event.ctrlKey && !event.metaKey) input.focus();
    return;
  }
  event.preventDefault();
});
palette?.addEventListener("htmx:after:swap", mark);
