// What was found in annotations: boxes over the pictures, the switch that hides them, and the list that jumps to
// an image. It comes before main.js, whose state begins with what this page sorts by.

const BOX_COLOR = "#ff2d87";
DEFAULTS.sort = "findings";

// `findings` have boxes [x, y, width, height] as shares of the picture, or null where the whole image is meant.
function drawBoxes(context, findings, look) {
  const { width, height } = context.canvas;
  const thick = Math.max(2, width / 110);
  findings.forEach(({ box }, place) => {
    if (!box) return;
    const [x, y, w, h] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
    for (const [color, line] of [["rgb(255 255 255 / 85%)", 2 * thick], [BOX_COLOR, thick]]) {
      context.strokeStyle = color;
      context.lineWidth = line;
      context.strokeRect(x - thick, y - thick, w + 2 * thick, h + 2 * thick);
    }
    if (look.isLarge) drawNumber(context, String(place + 1), x - 1.5 * thick, y - 1.5 * thick, width / 24);
  });
}

// The number under which the finding stands in the list below, at the corner (x, y) of its box.
function drawNumber(context, text, x, y, size) {
  context.font = `600 ${Math.round(size)}px system-ui, sans-serif`;
  context.textAlign = "left";
  context.textBaseline = "bottom";
  const across = context.measureText(text).width + size / 2;
  const left = Math.min(Math.max(x, 0), context.canvas.width - across);
  const bottom = Math.max(y, 1.1 * size);
  context.fillStyle = BOX_COLOR;
  context.fillRect(left, bottom - 1.1 * size, across, 1.1 * size);
  context.fillStyle = "#fff";
  context.fillText(text, left + size / 4, bottom);
}

const marks = document.getElementById("marks");
function showMarks() {
  if (marks) marks.checked = choice("marks") !== "off";
}
marks?.addEventListener("change", () => {
  choose("marks", marks.checked ? "" : "off");
  showLook();
});
onStateRead(showMarks);
showMarks();

for (const link of document.querySelectorAll("a.finding")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    choose("open", link.dataset.image);
    writeFragment(true);
    showLarge();
  });
}
