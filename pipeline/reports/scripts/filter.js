// Which images a share keeps, and in which order images stand. Pure functions of numbers: they know no page.

// ceil(share x num) without rounding: `share` is decimal text such as "0.07", of which 100 images keep 7.
function countOfShare(share, num) {
  const [whole, digits = ""] = share.split(".");
  const scale = 10n ** BigInt(digits.length);
  const product = BigInt(whole + digits) * BigInt(num);
  return Number((product + scale - 1n) / scale);
}

function isShare(text) {
  return /^(0\.\d{1,20}|1(\.0{1,20})?)$/.test(text) && Number(text) > 0;
}

// Places of the images with a finite uncertainty, the most certain first; equal ones by number.
function ranked(uncertainty) {
  const places = [];
  uncertainty.forEach((value, place) => Number.isFinite(value) && places.push(place));
  return places.sort((a, b) => uncertainty[a] - uncertainty[b] || a - b);
}

// The filter that keeps `share`, as `dgan filter` does: whether each is kept, how many, the largest score kept.
function filterOfShare(share, uncertainty, order) {
  const num = Math.min(countOfShare(share, uncertainty.length), order.length);
  const kept = new Uint8Array(uncertainty.length);
  for (let rank = 0; rank < num; rank++) kept[order[rank]] = 1;
  return { kept, num, threshold: num ? uncertainty[order[num - 1]] : null };
}

// The filter that the dataset has.
function filterOfDataset(kept, threshold) {
  return { kept, num: kept.reduce((sum, one) => sum + (one ? 1 : 0), 0), threshold };
}

// The class that `sort` goes by, or null.
function classOfSort(sort) {
  const match = /^class-(\d+)$/.exec(sort);
  return match && Number(match[1]);
}

// Items in the order that `sort` names; `shareOf` gives the share of an item that a class covers. Images without a
// score come last; equal ones are sorted by number.
function sortedItems(items, sort, shareOf) {
  const last = (item) => (item.uncertainty === null ? Infinity : item.uncertainty);
  const byNumber = (a, b) => a.id - b.id;
  if (sort === "most") return [...items].sort((a, b) => compare(last(a), last(b)) || byNumber(a, b));
  if (sort === "least") {
    const first = (item) => (item.uncertainty === null ? -Infinity : item.uncertainty);
    return [...items].sort((a, b) => compare(first(b), first(a)) || byNumber(a, b));
  }
  if (sort === "findings") return [...items].sort((a, b) => b.findings.length - a.findings.length || byNumber(a, b));
  const id = classOfSort(sort);
  if (id === null) return [...items].sort(byNumber);
  const share = (item) => shareOf(item, id);
  return [...items].sort((a, b) => share(b) - share(a) || byNumber(a, b));
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
