// Uploads by file picker or drag and drop: raw bytes with progress. Without this script the form posts as usual.
//
// <form data-upload="/datasets/upload" …><input type="file" name="file"><ul class="uploads" data-uploads></ul></form>
// The address gets PUT ?filename=… with the bytes as body, and the other fields of the form in the query. It answers
// {url} or {error: {message}}. The url of a single file is opened. Several files stay on the page, each with a link or
// its error.

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const unit = Math.min(4, Math.floor(Math.log(bytes) / Math.log(1024)) || 1);
  return `${(bytes / 1024 ** unit).toFixed(1)} ${["B", "KB", "MB", "GB", "TB"][unit]}`;
}

function row(name) {
  const item = document.createElement("li");
  item.className = "progress";
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Uploading ${name}`);
  const words = document.createElement("div");
  words.className = "words";
  const [left, right] = [document.createElement("span"), document.createElement("span")];
  left.textContent = name;
  left.className = "clip";
  right.className = "num";
  words.append(left, right);
  item.append(bar, words);
  return { item, bar, right };
}

/** Shows the error of a file in place of its progress. */
function showError(item, name, message) {
  item.replaceChildren();
  item.className = "error-line";
  item.setAttribute("role", "alert");
  item.textContent = message.startsWith(name) ? message : `${name}: ${message}`;
}

/** Shows a link to an uploaded file in place of its progress. */
function showLink(item, name, url) {
  const link = document.createElement("a");
  link.href = url;
  link.textContent = name;
  item.className = "small";
  item.setAttribute("role", "status");
  item.replaceChildren("Uploaded: ", link);
}

/** @param {boolean} alone the page of the file is opened when it was received */
function send(form, file, alone) {
  const { item, bar, right } = row(file.name);
  form.querySelector("[data-uploads]").append(item);
  const request = new XMLHttpRequest();
  const query = new URLSearchParams({ filename: file.name });
  for (const [name, value] of new FormData(form)) if (typeof value === "string") query.set(name, value);
  request.open("PUT", `${form.dataset.upload}?${query}`);
  request.responseType = "json";
  request.setRequestHeader("content-type", "application/octet-stream");
  request.setRequestHeader("accept", "application/json");
  const started = performance.now();
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = total ? loaded / total : 0;
    const left = ((total - loaded) / loaded) * ((performance.now() - started) / 1000);
    right.textContent =
      loaded === total
        ? "Received. Validating"
        : `${size(loaded)} of ${size(total)}${left > 2 && Number.isFinite(left) ? `, ${Math.round(left)} s left` : ""}`;
  });
  request.addEventListener("load", () => {
    const url = request.status < 400 ? request.response?.url : null;
    if (!url) showError(item, file.name, request.response?.error?.message ?? "The server refused the file. Try again.");
    else if (alone) location.assign(url);
    else showLink(item, file.name, url);
  });
  request.addEventListener("error", () =>
    showError(item, file.name, "The connection was lost and nothing was stored. Try again."),
  );
  request.send(file);
}

function start(form) {
  const input = form.querySelector("input[type=file]");
  const take = (chosen) => {
    const files = [...chosen];
    input.value = "";
    const list = form.querySelector("[data-uploads]");
    for (const done of list.querySelectorAll(":scope > :not(.progress)")) done.remove();
    if (files.length > 1 && !input.multiple) {
      const item = document.createElement("li");
      list.append(item);
      showError(item, "Nothing was uploaded", "Choose one file: each version is one file.");
      return;
    }
    for (const file of files) send(form, file, files.length === 1);
  };
  input.addEventListener("change", () => take(input.files));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.files.length) take(input.files);
    else input.click();
  });
  for (const name of ["dragenter", "dragover"])
    form.addEventListener(name, (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
  for (const name of ["dragleave", "drop"]) form.addEventListener(name, () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}

/** Initializes every upload form of the page once. */
export function mount() {
  for (const form of document.querySelectorAll("[data-upload]:not([data-started])")) {
    form.dataset.started = "";
    start(form);
  }
}
