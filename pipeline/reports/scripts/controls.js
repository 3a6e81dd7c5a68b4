// The controls beside the gallery: each shows the state, and a change of it changes the state.

// Ties an input to the state's entry `name`; `changed` is called after each change.
function tie(id, name, changed, event = "input") {
  const input = document.getElementById(id);
  input?.addEventListener(event, () => {
    choose(name, input.value);
    changed();
  });
}

function setValue(id, value) {
  const input = document.getElementById(id);
  if (input && input.value !== value) input.value = value;
}

// Shows whether a button does something. One that is `disabled` would lose the focus, and the keys with it.
function setUsable(button, isUsable) {
  button.setAttribute("aria-disabled", String(!isUsable));
}

function setText(id, text) {
  const element = document.getElementById(id);
  if (element) element.textContent = text;
}

// A command whose `parts` are not broken over two lines at a hyphen.
function showCommand(parts) {
  const spans = parts.flatMap((text) => {
    const span = document.createElement("span");
    span.textContent = text;
    return [" ", span];
  });
  document.getElementById("filter-command")?.replaceChildren(...spans.slice(1));
}

function hiddenClasses() {
  return new Set(choice("off").split(",").filter(Boolean).map(Number));
}

function chooseHidden(hidden) {
  choose("off", [...hidden].sort((a, b) => a - b).join(","));
}

function tieClassSwitches(classes, changed) {
  const switches = [...document.querySelectorAll(".class-switch")];
  for (const box of switches) {
    box.addEventListener("change", () => {
      const hidden = hiddenClasses();
      if (box.checked) hidden.delete(Number(box.value));
      else hidden.add(Number(box.value));
      chooseHidden(hidden);
      changed();
    });
  }
  const set = (hidden) => () => {
    chooseHidden(hidden);
    changed();
  };
  document.getElementById("all-classes")?.addEventListener("click", set([]));
  document.getElementById("no-class")?.addEventListener("click", set(classes.map((entry) => entry.id)));
  return () => {
    const hidden = hiddenClasses();
    for (const box of switches) box.checked = !hidden.has(Number(box.value));
  };
}

function tieViews(changed) {
  const radios = [...document.querySelectorAll('input[name="view"]')];
  for (const radio of radios) {
    radio.addEventListener("change", () => {
      choose("view", radio.value);
      changed();
    });
  }
  return () => {
    for (const radio of radios) radio.checked = radio.value === choice("view");
  };
}

// The pages of a gallery that has more than one. Above and below the cards stands the same.
class Pager {
  // `turned` is called with the number of the page that the reader wants, from 0.
  constructor(turned) {
    this.turned = turned;
    this.page = 0;
    this.numPages = 1;
    this.bars = [...document.querySelectorAll(".pager")];
    for (const bar of this.bars) {
      bar.querySelector(".back").addEventListener("click", () => this.go(this.page - 1));
      bar.querySelector(".on").addEventListener("click", () => this.go(this.page + 1));
      const number = bar.querySelector("input");
      number.addEventListener("change", () => this.go(Number(number.value) - 1));
    }
    document.addEventListener("keydown", (event) => {
      const step = { n: 1, p: -1 }[event.key];
      const isText = event.target.matches("input[type=text], select") || document.querySelector("dialog[open]");
      if (step && !isText && !event.ctrlKey && !event.metaKey && !event.altKey) this.go(this.page + step);
    });
  }

  go(page) {
    const target = Math.min(Math.max(0, Math.round(page) || 0), this.numPages - 1);
    if (target !== this.page) this.turned(target);
    else this.show(this.page, this.numPages); // what was typed is no page
  }

  show(page, numPages) {
    [this.page, this.numPages] = [page, numPages];
    for (const bar of this.bars) {
      bar.hidden = numPages < 2;
      bar.querySelector("input").value = String(page + 1);
      bar.querySelector(".total").textContent = numPages.toLocaleString("en");
      setUsable(bar.querySelector(".back"), page > 0);
      setUsable(bar.querySelector(".on"), page < numPages - 1);
    }
  }
}
