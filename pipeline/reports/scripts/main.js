// Brings the gallery together: data, state, controls, cards, histogram and the large view.

const data = await loadedData();
const scores = data.all;
const order = scores ? ranked(scores.uncertainty) : [];
const binned = scores ? binsOf(scores.uncertainty, order) : null;
const placeOf = scores ? new Map(Array.from(scores.uncertainty, (_, i) => [scores.ids?.[i] ?? i, i])) : null;
const itemOf = new Map(data.items.map((item) => [item.id, item]));
const colors = [];
const names = [];
for (const entry of data.classes) {
  colors[entry.id] = rgbOf(entry.color);
  names[entry.id] = entry.name;
}
if (data.points) DEFAULTS.opacity = "1"; // a point hides little of the image

const [rows, columns] = data.shape;
document.getElementById("cards").style.setProperty("--aspect", Math.min(Math.max(columns / rows, 0.5), 2));

let filter = currentFilter();

function currentFilter() {
  if (!scores) return null;
  const share = choice("keep");
  if (isShare(share)) return filterOfShare(share, scores.uncertainty, order);
  if (scores.kept) return filterOfDataset(scores.kept, data.threshold);
  return filterOfShare("1", scores.uncertainty, order);
}

function isKept(item) {
  return filter ? Boolean(filter.kept[placeOf.get(item.id)]) : null;
}

function look() {
  const hidden = hiddenClasses();
  const above = choice("above") === "" ? null : (Number(choice("above")) / 100) * 255;
  const isVisible = colors.map((_, id) => !hidden.has(id));
  const isMarked = choice("marks") !== "off";
  return { isMarked, view: choice("view"), opacity: Number(choice("opacity")), above, isVisible, colors, names };
}

function describe(item) {
  const parts = [];
  if (item.uncertainty !== undefined) parts.push(`uncertainty ${shown(item.uncertainty)}`);
  if (item.findings) parts.push(item.findings.length ? countedFindings(item.findings.length) : "nothing found");
  const rank = scores ? order.indexOf(placeOf.get(item.id)) : -1;
  if (rank >= 0) parts.push(`place ${rank + 1} of ${order.length}, the most certain first`);
  if (filter) parts.push(isKept(item) ? "kept" : "dropped");
  return parts.join(" · ");
}

// All items in the order that is chosen. Sorting many takes a moment, which a slider must not.
let sorted = { sort: "", items: [] };
function sortedNow() {
  const wanted = choice("sort");
  const id = classOfSort(wanted);
  const isKnown = id === null || hasShares(id);
  if (!isKnown) wantShares(id, showFilter);
  const sort = isKnown ? wanted : "number";
  if (sorted.sort !== sort) sorted = { sort, items: sortedItems(data.items, sort, shareOf) };
  return sorted.items;
}

function arranged() {
  const items = sortedNow();
  const show = choice("show");
  if (!filter || show === "mixed") return items;
  const kept = items.filter(isKept);
  const dropped = items.filter((item) => !isKept(item));
  return show === "kept" ? kept : show === "dropped" ? dropped : [...kept, ...dropped];
}

function openLarge(item) {
  choose("open", String(item.id));
  writeFragment(true);
  large.show(item, cards.shownItems);
}

function turn(page) {
  choose("page", page ? String(page + 1) : "");
  showFilter();
}

const cards = new Cards(document.getElementById("cards"), look, openLarge, data.per_page ?? Infinity, turn);
const pager = new Pager((page) => {
  turn(page);
  document.getElementById("gallery").scrollIntoView();
});
const large = new LargeView(data, look, describe, (id) => {
  const before = itemOf.get(Number(choice("open")));
  choose("open", id);
  // A link in the list of findings has the focus again by itself.
  if (!id && before && !document.activeElement.matches("a.finding")) (cards.turnTo(before) ?? cards.current)?.focus();
});
const showSwitches = tieClassSwitches(data.classes, showLook);
const showViews = tieViews(showLook);

function showLook() {
  showSwitches();
  showViews();
  setValue("opacity", choice("opacity"));
  setText("opacity-value", `${Math.round(100 * Number(choice("opacity")))}%`);
  const above = choice("above");
  setValue("above", above === "" ? "100" : above);
  setText("above-value", above === "" ? "off" : shown((Number(above) / 100) * data.largest_divergence));
  document.getElementById("cards").classList.toggle("double", choice("view") === "both");
  cards.repaint();
  large.repaint();
}

function showFilter() {
  filter = currentFilter();
  if (filter) {
    const num = scores.uncertainty.length;
    const own = scores.kept ? (data.keep ?? "1") : "1";
    const share = isShare(choice("keep")) ? choice("keep") : own;
    setValue("keep", share);
    setText("keep-share", `${Number((100 * Number(share)).toPrecision(4))}%`);
    setText("kept-count", filter.num.toLocaleString("en"));
    setText("kept-total", `of ${countedImages(num)} kept`);
    setText("threshold-line", filter.threshold === null ? "No image is kept." : `Largest uncertainty kept: ${shown(filter.threshold)}`);
    const isOwn = scores.kept && choice("keep") === "";
    showCommand(["dgan filter", data.path, `--keep ${share}`, ...(isOwn ? data.own_options : data.filter_options)]);
    document.getElementById("own-filter").hidden = !scores.kept || choice("keep") === "";
    drawHistogram(document.getElementById("histogram"), binned, filter);
  }
  setValue("sort", choice("sort"));
  setValue("show", choice("show"));
  cards.arrange(arranged(), isKept, Number(choice("page") || 1) - 1 || 0);
  pager.show(cards.page, cards.numPages);
  setText("status", shownWords());
}

function countedImages(num) {
  return `${num.toLocaleString("en")} ${num === 1 ? "image" : "images"}`;
}

// Which images are shown, of how many.
function shownWords() {
  const [num, total] = [cards.shownItems.length, data.num_images];
  const written = (number) => number.toLocaleString("en");
  if (cards.numPages < 2) return `${written(num)} of ${countedImages(total)} shown`;
  const first = cards.page * cards.perPage;
  const others = num < total ? `, ${written(total)} in all` : "";
  return `${written(first + 1)} to ${written(first + cards.pageItems.length)} of ${written(num)} images${others}`;
}

// Another order or choice of images begins with its first page.
function showAnew() {
  choose("page", "");
  showFilter();
}

function showLarge() {
  const item = itemOf.get(Number(choice("open") || NaN));
  if (item) large.show(item, cards.shownItems);
  else large.hide();
}

function showAll() {
  showFilter();
  showLook();
  showLarge();
}

function find(text) {
  const item = itemOf.get(Number(text.trim().replace(/^#/, "") || NaN));
  if (item && !cards.shownItems.includes(item)) {
    choose("show", "all");
    showFilter();
  }
  if (item) cards.reveal(item);
  const why = scores && placeOf.has(Number(text)) ? "is not among those that this page carries; `dgan view` shows all" : "is not in this store";
  setText("status", item ? `Image ${item.id}: ${describe(item)}` : `Image ${text.trim() || "?"} ${why}`);
}

let frame = 0;
function soon(show) {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(show);
}

tie("keep", "keep", () => soon(showFilter));
tie("sort", "sort", showAnew, "change");
tie("show", "show", showAnew, "change");
tie("opacity", "opacity", showLook);
const above = document.getElementById("above");
above?.addEventListener("input", () => {
  choose("above", above.value === "100" ? "" : above.value);
  showLook();
});
document.getElementById("own-filter")?.addEventListener("click", () => {
  choose("keep", "");
  showFilter();
});
document.getElementById("find-form").addEventListener("submit", (event) => {
  event.preventDefault();
  find(document.getElementById("find").value);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input[type=text]")) return;
  event.preventDefault();
  document.getElementById("find").focus();
});
const classGroup = document.getElementById("class-group");
if (classGroup && matchMedia("(max-width: 800px)").matches) classGroup.open = false; // the images are near then
onStateRead(showAll);
showAll();
follow(showFilter);
