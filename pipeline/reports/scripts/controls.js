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

function setText(id, text) {
  const element = document.getElementById(id);
  if (element) element.textContent = text;
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
