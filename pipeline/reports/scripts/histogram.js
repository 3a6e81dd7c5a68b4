// Draws the histogram of uncertainty over all images: what is kept in colour, what is dropped in grey, and a
// line at the threshold.

const SVG = "http://www.w3.org/2000/svg";
const NUM_BINS = 50;
const FAR = 2.5; // times the range of 98% of the scores
const PLAIN = [0.001, 100000]; // numbers that are written without a power of ten
const PLOT = { left: 2, top: 4, width: 296, height: 74 };

function shape(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// The place of each image's bin; `order` has the places of the images with a score, the most certain first. A few
// scores far above all others would press the rest into one bar: the last bin has them then (`isCut`).
function binsOf(uncertainty, order) {
  const at = (share) => uncertainty[order[Math.round(share * (order.length - 1))]] ?? 0;
  const [low, largest, most] = [at(0), at(1), at(0.98)];
  const isCut = largest - low > FAR * (most - low) && most > low;
  const high = isCut ? low + (FAR / 2) * (most - low) : largest;
  const width = (high - low) / NUM_BINS || 1;
  const place = (value) => Math.min(NUM_BINS - 1, Math.floor((value - low) / width));
  const isEmpty = order.length === 0;
  return { low, high, isCut, isEmpty, bins: uncertainty.map((value) => (Number.isFinite(value) ? place(value) : -1)) };
}

function drawHistogram(svg, binned, filter) {
  if (binned.isEmpty) {
    const middle = { x: PLOT.left + PLOT.width / 2, y: PLOT.top + PLOT.height / 2, "text-anchor": "middle" };
    svg.replaceChildren(shape("text", middle, "no image has a finite uncertainty"));
    return;
  }
  const kept = new Array(NUM_BINS).fill(0);
  const dropped = new Array(NUM_BINS).fill(0);
  binned.bins.forEach((bin, i) => bin >= 0 && (filter.kept[i] ? kept : dropped)[bin]++);
  const tallest = kept.reduce((most, one, bin) => Math.max(most, one + dropped[bin]), 1);
  const step = PLOT.width / NUM_BINS;
  const parts = [];
  const bar = (kind, bin, below, num) => {
    if (!num) return;
    const height = (num / tallest) * PLOT.height;
    const y = PLOT.top + PLOT.height - (below / tallest) * PLOT.height - height;
    parts.push(shape("rect", { class: kind, x: PLOT.left + bin * step, y, width: step - 0.6, height }));
  };
  for (let bin = 0; bin < NUM_BINS; bin++) {
    bar("kept", bin, 0, kept[bin]);
    bar("dropped", bin, kept[bin], dropped[bin]);
  }
  const bottom = PLOT.top + PLOT.height;
  parts.push(shape("line", { class: "axis", x1: PLOT.left, x2: PLOT.left + PLOT.width, y1: bottom, y2: bottom }));
  parts.push(shape("text", { x: PLOT.left, y: bottom + 14 }, shown(binned.low)));
  const end = { x: PLOT.left + PLOT.width, y: bottom + 14, "text-anchor": "end" };
  parts.push(shape("text", end, binned.isCut ? `${shown(binned.high)} and more` : shown(binned.high)));
  if (filter.threshold !== null && filter.num) {
    const share = (filter.threshold - binned.low) / (binned.high - binned.low || 1);
    const x = PLOT.left + Math.min(Math.max(share, 0), 1) * PLOT.width;
    parts.push(shape("line", { class: "threshold", x1: x, x2: x, y1: 0, y2: bottom }));
  }
  svg.replaceChildren(...parts);
}

// A number in four digits, as it is compared with others of its kind; in three and a power of ten where its zeros
// would take more room than its digits.
function shown(value) {
  if (value === null) return "not finite";
  const size = Math.abs(value);
  const isPlain = size === 0 || (size >= PLAIN[0] && size < PLAIN[1]);
  return String(isPlain ? Number(value.toPrecision(4)) : value.toExponential(2).replace("e+", "e"));
}
