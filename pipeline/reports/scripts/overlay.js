// Decodes the pictures of an item and paints it on a canvas: the image, the classes' colours over it, the pixels
// of a high divergence, keypoints. It knows no state: the caller says how it is to look.

const MARKED = [255, 0, 200];
const MARKED_OPACITY = 0.85;
const POINT_CANVAS = 320; // pixels across on which keypoints and their names can be read

// Colours for 0 to 255, from dark to light: black, violet, red, orange, pale yellow. They follow the square root of
// the value: most divergences are small, and would all be black.
const RAMP = rampOf([[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]]);

function rampOf(stops) {
  const ramp = new Uint8ClampedArray(3 * 256);
  for (let value = 0; value < 256; value++) {
    const place = Math.sqrt(value / 255) * (stops.length - 1);
    const lower = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      ramp[3 * value + c] = stops[lower][c] + (place - lower) * (stops[lower + 1][c] - stops[lower][c]);
    }
  }
  return ramp;
}

async function pixelsOf(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Whether a look shows the divergence. It is not asked for otherwise.
function needsDivergence(look) {
  return look.view === "divergence" || look.view === "both" || look.above !== null;
}

// The arrays of an item: `rgba`, `labels` and `divergence` a value for each pixel (null where it has none, or it is
// not asked for).
async function decoded(item, withDivergence = true) {
  const parts = [item.image, item.label, withDivergence && item.divergence].map((url) => (url ? pixelsOf(url) : null));
  const [picture, label, divergence] = await Promise.all(parts);
  const num = picture.width * picture.height;
  return {
    width: picture.width,
    height: picture.height,
    rgba: picture.data,
    // The id's lower byte is red, the higher green; of a grey picture both are the id.
    labels: label && Uint16Array.from({ length: num }, (_, i) => idAt(label.data, 4 * i)),
    divergence: divergence && Uint8Array.from({ length: num }, (_, i) => divergence.data[4 * i]),
    points: (await item.points) ?? null,
    findings: item.findings ?? [],
  };
}

function idAt(data, place) {
  const isGrey = data[place] === data[place + 1] && data[place] === data[place + 2];
  return isGrey ? data[place] : data[place] + 256 * data[place + 1];
}

// Paints `pixels` as `look` says: `view` is "picture", "labels" or "divergence"; `colors` and `isVisible` are by
// class id; `opacity` is from 0 to 1; `isMarked` says whether findings are drawn, `isLarge` whether with their
// numbers; `above` is the divergence, 0 to 255, above which pixels are marked, or null.
function paint(canvas, pixels, look) {
  const { width, height } = pixels;
  const out = new ImageData(width, height);
  if (look.view === "divergence" && pixels.divergence) paintDivergence(out.data, pixels.divergence);
  else {
    out.data.set(pixels.rgba);
    if (look.view === "labels" && pixels.labels) blendClasses(out.data, pixels.labels, look);
    if (look.above !== null && pixels.divergence) blendMarked(out.data, pixels.divergence, look.above);
  }
  const withPoints = look.view === "labels" && pixels.points;
  const withBoxes = look.isMarked && pixels.findings.some((finding) => finding.box);
  const scale = withPoints || withBoxes ? Math.max(1, Math.ceil(POINT_CANVAS / width)) : 1;
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const context = canvas.getContext("2d");
  context.putImageData(out, 0, 0);
  if (!withPoints && !withBoxes) return;
  context.imageSmoothingEnabled = false;
  context.globalCompositeOperation = "copy";
  context.drawImage(canvas, 0, 0, width, height, 0, 0, width * scale, height * scale);
  context.globalCompositeOperation = "source-over";
  if (withPoints) drawPoints(context, pixels.points, look);
  if (withBoxes) drawBoxes(context, pixels.findings, look);
}

function paintDivergence(data, divergence) {
  for (let i = 0; i < divergence.length; i++) {
    for (let c = 0; c < 3; c++) data[4 * i + c] = RAMP[3 * divergence[i] + c];
    data[4 * i + 3] = 255;
  }
}

function blendClasses(data, labels, look) {
  for (let i = 0; i < labels.length; i++) {
    if (look.isVisible[labels[i]]) blend(data, 4 * i, look.colors[labels[i]], look.opacity);
  }
}

function blendMarked(data, divergence, above) {
  for (let i = 0; i < divergence.length; i++) {
    if (divergence[i] > above) blend(data, 4 * i, MARKED, MARKED_OPACITY);
  }
}

function blend(data, place, color, opacity) {
  for (let c = 0; c < 3; c++) data[place + c] += opacity * (color[c] - data[place + c]);
}

// `points` are [x, y] as shares of width and height, or null where a point is not finite; each has its class's id.
function drawPoints(context, points, look) {
  const { width, height } = context.canvas;
  context.font = `600 ${Math.round(width / 22)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.globalAlpha = look.opacity;
  points.forEach((point, id) => {
    if (!point || !look.isVisible[id]) return;
    const [x, y] = [point[0] * width, point[1] * height];
    context.beginPath();
    context.arc(x, y, width / 50, 0, 2 * Math.PI);
    context.fillStyle = `rgb(${look.colors[id].join(" ")})`;
    context.strokeStyle = "#fff";
    context.lineWidth = width / 120;
    context.stroke();
    context.fill();
    const right = x + width / 30 + context.measureText(look.names[id]).width > width;
    context.textAlign = right ? "right" : "left";
    context.lineWidth = width / 100;
    context.strokeStyle = "rgb(0 0 0 / 70%)";
    context.strokeText(look.names[id], x + (right ? -1 : 1) * (width / 30), y);
    context.fillStyle = "#fff";
    context.fillText(look.names[id], x + (right ? -1 : 1) * (width / 30), y);
  });
  context.globalAlpha = 1;
}

function rgbOf(color) {
  return [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
}
