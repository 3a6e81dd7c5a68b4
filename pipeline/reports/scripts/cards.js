// The gallery's cards. Only those of one page exist: they are made when their page is shown, painted while they
// are on the screen, greyed out, walked by keys.

class Cards {
  // `list` is the element of the cards; `look` gives how they are to look now; `open` opens an item large;
  // `perPage` cards make a page; `turned` is called with the number of the page that is wanted, from 0.
  constructor(list, look, open, perPage, turned) {
    this.list = list;
    this.look = look;
    this.open = open;
    this.perPage = perPage;
    this.turned = turned;
    this.shownItems = []; // of all pages
    this.pageItems = [];
    this.page = 0;
    this.cards = new Map(); // of this page, by the item's id
    this.byElement = new WeakMap();
    this.observer = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "300px" });
    list.addEventListener("keydown", (event) => this.walk(event));
  }

  get numPages() {
    return Math.max(1, Math.ceil(this.shownItems.length / this.perPage));
  }

  made(item) {
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
    score.textContent = captionOf(item);
    caption.append(number, score);
    button.append(canvases, caption);
    button.addEventListener("click", () => this.open(item));
    button.addEventListener("focus", () => this.makeCurrent(button));
    element.append(button);
    const card = { item, element, button, canvas, second, isNear: false, pixels: null, withDivergence: false };
    this.byElement.set(element, card);
    this.observer.observe(element);
    return card;
  }

  seen(entries) {
    for (const entry of entries) {
      const card = this.byElement.get(entry.target);
      card.isNear = entry.isIntersecting;
      if (card.isNear) this.paint(card);
      else card.pixels = null; // what is far away is decoded again when it comes back: memory stays small
    }
  }

  async paint(card) {
    try {
      const needed = needsDivergence(this.look());
      if (!card.pixels || (needed && !card.withDivergence)) {
        card.withDivergence = needed;
        card.pixels = decoded(card.item, needed);
      }
      const pixels = await card.pixels;
      const look = this.look();
      const isDouble = look.view === "both";
      paint(card.canvas, pixels, isDouble ? { ...look, view: "labels" } : look);
      card.second.hidden = !isDouble;
      if (isDouble) paint(card.second, pixels, { ...look, view: "divergence" });
      card.canvas.dataset.painted = "yes";
      for (const canvas of [card.canvas, card.second]) canvas.classList.toggle("small", canvas.width < 200);
    } catch {
      card.button.classList.add("failed");
      const why = await whyNot(card.item);
      card.button.title = why;
      card.button.setAttribute("aria-description", why);
    }
  }

  repaint() {
    for (const card of this.cards.values()) if (card.isNear) this.paint(card);
  }

  // Puts `items` in their order and shows a page of them, the last one where there are fewer. `isKept` says
  // which are kept, of an item.
  arrange(items, isKept, page) {
    this.shownItems = items;
    this.page = Math.min(Math.max(0, page), this.numPages - 1);
    const first = this.perPage === Infinity ? 0 : this.page * this.perPage;
    const pageItems = items.slice(first, first + this.perPage);
    const isSame = pageItems.length === this.pageItems.length && pageItems.every((item, i) => item === this.pageItems[i]);
    this.pageItems = pageItems;
    if (!isSame || !this.list.children.length) this.replace(pageItems);
    for (const card of this.cards.values()) this.describe(card, isKept(card.item));
    if (!this.list.querySelector('[tabindex="0"]') && pageItems.length) this.makeCurrent(this.buttonOf(pageItems[0]));
  }

  // Makes the cards of `items` those of the list; one that is there already stays as it is.
  replace(items) {
    const focused = document.activeElement?.dataset?.id;
    const before = this.cards;
    this.cards = new Map(items.map((item) => [item.id, before.get(item.id) ?? this.made(item)]));
    for (const [id, card] of before) if (!this.cards.has(id)) this.observer.unobserve(card.element);
    this.list.replaceChildren(...[...this.cards.values()].map((card) => card.element));
    if (focused !== undefined) this.cards.get(Number(focused))?.button.focus({ preventScroll: true });
  }

  describe({ item, button }, kept) {
    button.classList.toggle("dropped", kept === false);
    const what = item.uncertainty === undefined ? "" : "uncertainty ";
    const score = captionOf(item) && `, ${what}${captionOf(item)}`;
    const state = kept === null ? "" : kept ? ", kept" : ", dropped";
    button.setAttribute("aria-label", `Image ${item.id}${score}${state}`);
  }

  buttonOf(item) {
    return this.cards.get(item.id)?.button;
  }

  // The button that Tab goes to.
  get current() {
    return this.list.querySelector('[tabindex="0"]');
  }

  makeCurrent(button) {
    for (const other of this.list.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  // Turns to the page of an item, where it is among those that are shown. Gives its card's button.
  turnTo(item) {
    const place = this.shownItems.indexOf(item);
    if (place >= 0 && !this.cards.has(item.id)) this.turned(Math.floor(place / this.perPage));
    return this.buttonOf(item);
  }

  // Goes to a card and marks it for a moment.
  reveal(item) {
    const button = this.turnTo(item);
    for (const other of this.list.querySelectorAll(".found")) other.classList.remove("found");
    button?.classList.add("found");
    button?.scrollIntoView({ block: "center" });
    button?.focus({ preventScroll: true });
  }

  // Arrow keys go from card to card, over the page's ends too.
  walk(event) {
    const buttons = this.pageItems.map((item) => this.buttonOf(item));
    const place = buttons.indexOf(document.activeElement);
    if (place < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const top = (button) => button.parentElement.offsetTop;
    const rows = buttons.findIndex((button) => top(button) !== top(buttons[0]));
    const columns = rows < 0 ? buttons.length : rows;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const ends = { Home: 0, End: buttons.length - 1 };
    const target = event.key in ends ? ends[event.key] : place + (steps[event.key] ?? NaN);
    const first = this.shownItems.indexOf(this.pageItems[0]);
    const item = this.shownItems[first + target];
    if (!item) return;
    event.preventDefault();
    this.turnTo(item).focus();
  }
}

// What stands beside an item's number: its uncertainty, or how much was found in its annotation.
function captionOf(item) {
  if (item.findings) return item.findings.length ? countedFindings(item.findings.length) : "";
  return item.uncertainty === undefined ? "" : shown(item.uncertainty);
}

function countedFindings(num) {
  return num === 1 ? "1 finding" : `${num} findings`;
}
