// Where the gallery's data comes from in a page that is served: arrays of all images, then pictures as they are
// asked for. `embedded.js` has the same functions for a report.

const THUMBNAIL = 256; // pixels
const POLL_MILLISECONDS = 700;
const shares = new Map(); // by class id: a Map from the image's id to the share that the class covers
const asked = new Set(); // class ids whose shares are under way
let areCounted = false;
let query = "";
let hasDivergence = false;
let hasPoints = false;

class ServedItem {
  constructor(id, uncertainty) {
    this.id = id;
    this.uncertainty = uncertainty;
  }
  get image() {
    return `image/${this.id}?${query}&size=${THUMBNAIL}`;
  }
  get label() {
    return hasPoints ? null : `label/${this.id}?${query}&size=${THUMBNAIL}`;
  }
  get divergence() {
    return hasDivergence ? `divergence/${this.id}?${query}&size=${THUMBNAIL}` : null;
  }
  get points() {
    return hasPoints ? answered(`points/${this.id}?${query}`).then((answer) => answer.json()) : null;
  }
  get full() {
    return {
      image: `image/${this.id}?${query}`,
      label: hasPoints ? null : `label/${this.id}?${query}`,
      divergence: hasDivergence ? `divergence/${this.id}?${query}` : null,
      points: this.points,
    };
  }
}

async function loadedData() {
  const data = JSON.parse(document.getElementById("data").textContent);
  query = `key=${data.key}`;
  hasDivergence = data.largest_divergence !== null;
  hasPoints = data.points;
  if (!data.all) DEFAULTS.sort = "number";
  try {
    const all = unpacked(await (await answered(`all?${query}`)).arrayBuffer());
    const score = (i) => (all.uncertainty ? finite(all.uncertainty[i]) : undefined);
    data.items = Array.from(all.ids, (id, i) => new ServedItem(id, score(i)));
    data.all = all.uncertainty ? { uncertainty: all.uncertainty, kept: all.kept ?? null, ids: all.ids } : null;
    data.num_images = all.ids.length;
  } catch (error) {
    notice(error.message);
    data.items = [];
    data.all = null;
  }
  return data;
}

// An answer of the server. What it refuses is an error with the line that it says; `isOfAll`: no other picture can
// be had either.
async function answered(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    const ended = "dgan view has ended: start it again, and open the address that it prints";
    throw Object.assign(new Error(ended), { isOfAll: true });
  }
  if (!answer.ok) {
    const line = (await answer.text()).trim() || `the server answers ${answer.status}`;
    throw Object.assign(new Error(line), { isOfAll: answer.status === 410 });
  }
  return answer;
}

// The arrays of a binary answer, as `pipeline/viewer/packed_arrays.py` describes it.
function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const types = { Uint8Array, Uint32Array, Float32Array };
  const found = {};
  for (const { name, type, offset, length: num } of head.arrays) {
    found[name] = new types[type](buffer, 4 + length + offset, num);
  }
  return found;
}

function finite(value) {
  return Number.isFinite(value) ? value : null;
}

function notice(line) {
  const note = document.getElementById("notice");
  note.textContent = line;
  note.hidden = false;
}

function hasShares(id) {
  return shares.has(id);
}

async function wantShares(id, changed) {
  if (!areCounted || asked.has(id)) return;
  asked.add(id);
  try {
    const found = unpacked(await (await answered(`class/${id}?${query}`)).arrayBuffer());
    shares.set(id, new Map(Array.from(found.ids, (image, i) => [image, finite(found.shares[i]) ?? 0])));
    changed();
  } catch (error) {
    notice(error.message);
  }
}

function shareOf(item, id) {
  return shares.get(id).get(item.id) ?? 0;
}

// Asks how far the count of classes is, until it is done. Until then no class can be sorted by.
async function follow(changed) {
  const options = [...document.querySelectorAll('#sort option[value^="class-"]')];
  if (!options.length) return;
  for (const option of options) option.disabled = true;
  const line = document.getElementById("counting");
  while (!areCounted) {
    let progress;
    try {
      progress = await (await answered(`classes?${query}`)).json();
    } catch (error) {
      notice(error.message);
      return;
    }
    if (progress.line) notice(progress.line);
    areCounted = progress.done === progress.total;
    const percent = Math.floor((100 * progress.done) / progress.total);
    line.textContent = areCounted ? "" : `counting classes: ${percent}%`;
    if (!areCounted) await new Promise((done) => setTimeout(done, POLL_MILLISECONDS));
  }
  for (const option of options) option.disabled = false;
  changed();
}

async function whyNot(item) {
  for (const url of [item.image, item.label, item.divergence]) {
    try {
      if (url) await answered(url);
    } catch (error) {
      if (error.isOfAll) notice(error.message);
      return error.message;
    }
  }
  return "its pictures cannot be shown";
}
