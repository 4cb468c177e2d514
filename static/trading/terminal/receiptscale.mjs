// The axes of a receipt's picture: time with breaks where nothing is told, prices at round steps, labels beside
// each other.

const HOLE = { each: 0.13, all: 0.4 };
const LEAST_SHARE = 1 / 5;
const LEAST_REACH_MS = 1000;

/** The axis of time: `stretches` {from, to, left, right} in ms and in shares of the width, `place(at)` a share.
 *  Within a stretch time is even; between two lies a break. `runs` are lists of {at}, ascending; an instant of
 *  `instants` that is far from all of them has a stretch of its own. */
export function timeAxis(runs, instants) {
  const stretches = stretchesOf(runs, instants);
  const holes = stretches.length - 1;
  const hole = holes ? Math.min(HOLE.each, HOLE.all / holes) : 0;
  const longest = Math.max(...stretches.map(lengthOf)) || 1;
  const weights = stretches.map((stretch) => Math.max(lengthOf(stretch), longest * LEAST_SHARE));
  const unit = (1 - hole * holes) / weights.reduce((sum, weight) => sum + weight, 0);
  let left = 0;
  stretches.forEach((stretch, index) => {
    Object.assign(stretch, { left, right: left + weights[index] * unit });
    left = stretch.right + hole;
  });
  return { stretches, place: (at) => placeIn(stretches, at) };
}

const lengthOf = ({ from, to }) => to - from;
const awayFrom = ({ from, to }, at) => Math.max(from - at, at - to, 0);

function stretchesOf(runs, instants) {
  const stretches = runs.map((run) => ({ from: run[0].at, to: run.at(-1).at }));
  const reach = Math.max(LEAST_REACH_MS, ...stretches.map(lengthOf));
  for (const at of instants) {
    const nearest = stretches.reduce((best, each) => (awayFrom(each, at) < awayFrom(best, at) ? each : best));
    if (awayFrom(nearest, at) > reach) stretches.push({ from: at, to: at });
    else Object.assign(nearest, { from: Math.min(nearest.from, at), to: Math.max(nearest.to, at) });
  }
  return stretches.sort((a, b) => a.from - b.from);
}

function placeIn(stretches, at) {
  const between = (from, to, left, right) => left + ((at - from) / (to - from)) * (right - left);
  for (const [index, { from, to, left, right }] of stretches.entries()) {
    if (at > to) continue;
    if (at < from) {
      const before = stretches[index - 1];
      return before ? between(before.to, from, before.right, left) : left;
    }
    return from === to ? (left + right) / 2 : between(from, to, left, right);
  }
  return stretches.at(-1).right;
}

/** The axis of prices: {least, most} with room at both ends, and the round `steps` between, as texts. */
export function priceAxis(prices, decimals, wanted = 4) {
  const unit = 10 ** -decimals;
  const [low, high] = [Math.min(...prices), Math.max(...prices)];
  const room = Math.max((high - low) * 0.1, unit * 1.5);
  const [least, most] = [low - room, high + room];
  const size = roundStep((most - least) / wanted, unit);
  const steps = [];
  for (let count = Math.ceil(least / size); count * size <= most; count += 1)
    steps.push((count * size).toFixed(decimals));
  return { least, most, steps };
}

function roundStep(size, unit) {
  const power = 10 ** Math.floor(Math.log10(size));
  return Math.max(unit, [1, 2, 5, 10].find((times) => times * power * 1.4 >= size) * power);
}

/** Put labels {x, width}, centred at x, between 0 and `width` into rows where none lies over another: adds `left` and
 *  `row`. */
export function inRows(labels, width) {
  const ends = [];
  return [...labels]
    .sort((a, b) => a.x - b.x)
    .map((label) => {
      const left = Math.max(0, Math.min(width - label.width, label.x - label.width / 2));
      const free = ends.findIndex((end) => end <= left);
      const row = free < 0 ? ends.length : free;
      ends[row] = left + label.width + 4;
      return { ...label, left, row };
    });
}
