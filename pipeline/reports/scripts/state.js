// What the reader has chosen, as texts by name. It stands in the fragment of the URL, so that reload, back and
// a copied link give the same view.

const DEFAULTS = { sort: "most", show: "all", view: "labels", opacity: "0.6" };
const WRITE_MILLISECONDS = 150; // browsers refuse to write a URL at every step of a slider

let chosen = new URLSearchParams(location.hash.slice(1));
let writeTimer = 0;

// What an entry may be: one of the values that the page's controls offer, or a number within bounds. A link may
// come from another page, or be typed.
const OFFERED = {
  theme: new Set(["light", "dark"]),
  sort: offeredBy("#sort option"),
  show: offeredBy("#show option"),
  view: offeredBy('input[name="view"]'),
};
const BOUNDS = { opacity: [0, 1], above: [0, 100] };

function offeredBy(selector) {
  return new Set([...document.querySelectorAll(selector)].map((element) => element.value));
}

function isPossible(name, value) {
  if (name in OFFERED) return OFFERED[name].has(value);
  if (!(name in BOUNDS)) return true;
  return value !== "" && Number(value) >= BOUNDS[name][0] && Number(value) <= BOUNDS[name][1];
}

function choice(name) {
  const value = chosen.get(name);
  return value !== null && isPossible(name, value) ? value : DEFAULTS[name] ?? "";
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
