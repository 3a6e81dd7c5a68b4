// What the reader has chosen, as texts by name. It stands in the fragment of the URL, so that reload, back and
// a copied link give the same view.

const DEFAULTS = { sort: "most", show: "all", view: "labels", opacity: "0.6" };
const WRITE_MILLISECONDS = 150; // browsers refuse to write a URL at every step of a slider

let chosen = new URLSearchParams(location.hash.slice(1));
let writeTimer = 0;

function choice(name) {
  return chosen.get(name) ?? DEFAULTS[name] ?? "";
}

function choose(name, value) {
  if (value === (DEFAULTS[name] ?? "")) chosen.delete(name);
  else chosen.set(name, value);
  clearTimeout(writeTimer);
  writeTimer = setTimeout(writeFragment, WRITE_MILLISECONDS);
}

// Writes what waits to be written; with `isNew` as a new step of the browser's history.
function writeFragment(isNew = false) {
  clearTimeout(writeTimer);
  const text = chosen.toString();
  const url = text ? `#${text}` : location.pathname + location.search;
  if (isNew === true) history.pushState(null, "", url);
  else history.replaceState(null, "", url);
}

function onStateRead(apply) {
  const read = () => {
    clearTimeout(writeTimer);
    chosen = new URLSearchParams(location.hash.slice(1));
    apply();
  };
  window.addEventListener("popstate", read);
  window.addEventListener("pagehide", () => writeFragment());
}
