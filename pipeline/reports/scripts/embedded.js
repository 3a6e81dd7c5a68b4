// Where the gallery's data comes from in a report: all of it stands in the page. `served.js` has the same functions
// for a page whose server is asked.

async function loadedData() {
  return JSON.parse(document.getElementById("data").textContent);
}

// Whether the share that a class covers is known of every item.
function hasShares() {
  return true;
}

// Gets it, and calls `changed` when it is there.
function wantShares() {}

function shareOf(item, id) {
  return item.areas[id] ?? 0;
}

// Follows what becomes known later; `changed` is called each time.
function follow() {}

// Why the pictures of an item cannot be shown, in a line.
async function whyNot() {
  return "its pictures cannot be shown";
}
