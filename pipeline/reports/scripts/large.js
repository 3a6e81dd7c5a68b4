// One image large: image, labels and divergence side by side, with the share of each class.

class LargeView {
  // `look` gives how it is to look; `describe` a line on an item; `moved` is told the id that is open, or "".
  constructor(data, look, describe, moved) {
    this.data = data;
    this.look = look;
    this.describe = describe;
    this.moved = moved;
    this.items = [];
    this.item = null;
    this.dialog = document.getElementById("large");
    this.dialog.addEventListener("close", () => this.closed());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.go(step);
    });
    document.getElementById("previous").addEventListener("click", () => this.go(-1));
    document.getElementById("next").addEventListener("click", () => this.go(1));
    document.getElementById("close").addEventListener("click", () => this.dialog.close());
  }

  show(item, items) {
    this.items = items;
    this.item = item;
    if (!this.dialog.open) this.dialog.showModal();
    this.fill();
  }

  hide() {
    if (this.dialog.open) this.dialog.close();
  }

  closed() {
    this.item = null;
    this.moved("");
  }

  go(step) {
    const next = this.items[this.items.indexOf(this.item) + step];
    if (!next) return;
    this.item = next;
    this.moved(String(next.id));
    this.fill();
  }

  async fill() {
    const { item } = this;
    const place = this.items.indexOf(item);
    document.getElementById("large-title").textContent = `Image ${item.id}`;
    document.getElementById("large-state").textContent = this.describe(item);
    setUsable(document.getElementById("previous"), place > 0);
    setUsable(document.getElementById("next"), place < this.items.length - 1);
    this.fillAreas(item.areas ?? []);
    this.fillFindings(item);
    let pixels = null;
    try {
      pixels = await decoded(item.full ?? item);
    } catch {
      const why = await whyNot(item.full ?? item);
      if (this.item === item) document.getElementById("large-state").textContent = why;
    }
    if (this.item !== item) return; // the reader has gone on meanwhile
    this.pixels = pixels;
    if (!item.areas && pixels?.labels) this.fillAreas(areasOf(pixels.labels));
    this.repaint();
  }

  repaint() {
    if (!this.item) return;
    if (!this.pixels) {
      for (const canvas of this.dialog.querySelectorAll("canvas")) canvas.getContext("2d").reset();
      return;
    }
    const look = this.look();
    const views = { picture: { above: null }, labels: {}, divergence: {} };
    for (const [view, more] of Object.entries(views)) {
      const canvas = document.getElementById(`large-${view}`);
      if (!canvas) continue;
      paint(canvas, this.pixels, { ...look, ...more, view, isLarge: true });
      canvas.classList.toggle("small", canvas.width < 300);
    }
    const scale = document.getElementById("large-scale");
    if (scale) scale.textContent = `from 0 (black) to ${shown(this.data.largest_divergence)} (pale)`;
  }

  fillFindings(item) {
    const lines = (item.findings ?? []).map((finding) => {
      const line = document.createElement("li");
      line.textContent = finding.text;
      return line;
    });
    document.getElementById("large-findings")?.replaceChildren(...lines);
  }

  // `shares` of the image that the classes cover, by id.
  fillAreas(shares) {
    const areas = shares.map((share, id) => ({ share, entry: this.data.classes[id] }));
    const present = areas.filter(({ share, entry }) => share > 0 && entry).sort((a, b) => b.share - a.share);
    document.getElementById("large-areas").replaceChildren(
      ...present.map(({ share, entry }) => {
        const line = document.createElement("li");
        const swatch = shape("svg", { class: "swatch", viewBox: "0 0 12 12", "aria-hidden": "true" });
        swatch.append(shape("rect", { width: 12, height: 12, rx: 3, fill: entry.color }));
        const name = document.createElement("bdi");
        name.className = "name";
        name.textContent = entry.name;
        line.append(swatch, " ", name, ` ${(100 * share).toFixed(1)}%`);
        return line;
      }),
    );
  }
}

// The share of `labels` that each class covers, by id.
function areasOf(labels) {
  const found = [];
  for (const label of labels) found[label] = (found[label] ?? 0) + 1;
  return Array.from(found, (num) => (num ?? 0) / labels.length);
}
