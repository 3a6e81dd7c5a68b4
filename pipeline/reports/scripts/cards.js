// The gallery's cards: made once, painted while they are on the screen, sorted, greyed out, walked by keys.

class Cards {
  // `list` is the element of the cards; `look` gives how they are to look now; `open` opens an item large.
  constructor(list, items, look, open) {
    this.list = list;
    this.look = look;
    this.shownItems = items;
    this.cards = new Map(items.map((item) => [item.id, this.made(item, open)]));
    this.observer = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "300px" });
    for (const card of this.cards.values()) this.observer.observe(card.element);
    list.addEventListener("keydown", (event) => this.walk(event));
  }

  made(item, open) {
    const element = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "card";
    button.dataset.id = item.id;
    button.tabIndex = -1;
    const canvases = document.createElement("span");
    canvases.className = "canvases";
    const canvas = document.createElement("canvas");
    const second = document.createElement("canvas");
    second.hidden = true;
    canvases.append(canvas, second);
    const caption = document.createElement("span");
    caption.className = "caption";
    const number = document.createElement("span");
    number.textContent = `#${item.id}`;
    const score = document.createElement("span");
    score.className = "score";
    score.textContent = item.uncertainty === undefined ? "" : shown(item.uncertainty);
    caption.append(number, score);
    button.append(canvases, caption);
    button.addEventListener("click", () => open(item));
    button.addEventListener("focus", () => this.makeCurrent(button));
    element.append(button);
    return { item, element, button, canvas, second, isNear: false, pixels: null };
  }

  seen(entries) {
    const byElement = new Map([...this.cards.values()].map((card) => [card.element, card]));
    for (const entry of entries) {
      const card = byElement.get(entry.target);
      card.isNear = entry.isIntersecting;
      if (card.isNear) this.paint(card);
      else card.pixels = null; // what is far away is decoded again when it comes back: memory stays small
    }
  }

  async paint(card) {
    try {
      card.pixels ??= decoded(card.item);
      const pixels = await card.pixels;
      const look = this.look();
      const isDouble = look.view === "both";
      paint(card.canvas, pixels, isDouble ? { ...look, view: "labels" } : look);
      card.second.hidden = !isDouble;
      if (isDouble) paint(card.second, pixels, { ...look, view: "divergence" });
      card.canvas.dataset.painted = "yes";
      for (const canvas of [card.canvas, card.second]) canvas.classList.toggle("small", pixels.width < 200);
    } catch {
      card.button.classList.add("failed");
      card.button.setAttribute("aria-description", "its pictures cannot be shown");
    }
  }

  repaint() {
    for (const card of this.cards.values()) if (card.isNear) this.paint(card);
  }

  // Puts `items` in their order; others are not shown. `isKept` says which are kept, of an item's id.
  arrange(items, isKept) {
    const isSame = items.length === this.shownItems.length && items.every((item, i) => item === this.shownItems[i]);
    this.shownItems = items;
    if (!isSame || !this.list.children.length) {
      const focused = document.activeElement?.dataset?.id;
      this.list.replaceChildren(...items.map((item) => this.cards.get(item.id).element));
      if (focused !== undefined) this.cards.get(Number(focused))?.button.focus({ preventScroll: true });
    }
    for (const { item, button } of this.cards.values()) {
      const kept = isKept(item);
      button.classList.toggle("dropped", kept === false);
      const score = item.uncertainty === undefined ? "" : `, uncertainty ${shown(item.uncertainty)}`;
      const state = kept === null ? "" : kept ? ", kept" : ", dropped";
      button.setAttribute("aria-label", `Image ${item.id}${score}${state}`);
    }
    if (!this.list.querySelector('[tabindex="0"]') && items.length) this.makeCurrent(this.buttonOf(items[0]));
  }

  buttonOf(item) {
    return this.cards.get(item.id).button;
  }

  makeCurrent(button) {
    for (const other of this.list.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  // Goes to a card and marks it for a moment.
  reveal(item) {
    const button = this.buttonOf(item);
    for (const other of this.list.querySelectorAll(".found")) other.classList.remove("found");
    button.classList.add("found");
    button.scrollIntoView({ block: "center" });
    button.focus({ preventScroll: true });
  }

  walk(event) {
    const buttons = this.shownItems.map((item) => this.buttonOf(item));
    const place = buttons.indexOf(document.activeElement);
    if (place < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const top = (button) => button.parentElement.offsetTop;
    const rows = buttons.findIndex((button) => top(button) !== top(buttons[0]));
    const columns = rows < 0 ? buttons.length : rows;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const ends = { Home: 0, End: buttons.length - 1 };
    const target = event.key in ends ? ends[event.key] : place + (steps[event.key] ?? NaN);
    if (!(target >= 0 && target < buttons.length)) return;
    event.preventDefault();
    buttons[target].focus();
  }
}
